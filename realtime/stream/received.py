"""A received message as the arrays that `engines` works on.

Needs NumPy and jaxtyping, which plain subscribing does not.

    with Subscriber() as stream:
        for message in stream:
            for person in message.people:
                posterior = reweight(hypotheses_of(person), NonPenetration(floor, surface))
"""

import numpy as np

from engines.camera import Intrinsics
from engines.types import NUM_JOINTS, Hypotheses
from realtime.stream.message import PersonMessage, PoseMessage


def hypotheses_of(person: PersonMessage) -> Hypotheses:
    """The bodies of a person, camera frame, metres."""
    sent = person.hypotheses
    orient, pose = np.asarray(sent.global_orient), np.asarray(sent.body_pose)
    count = len(orient)
    return Hypotheses(
        rotvec=np.concatenate([orient, pose], axis=1).reshape(count, NUM_JOINTS, 3),
        betas=np.asarray(sent.betas),
        transl=np.asarray(sent.transl),
        joints=np.asarray(sent.joints),
        log_q=np.asarray(sent.log_q),
        weights=np.asarray(sent.weights),
    )


def intrinsics_of(message: PoseMessage) -> Intrinsics:
    """The publisher's camera."""
    (fx, _, cx), (_, fy, cy), _ = message.camera_matrix
    source = message.source if message.camera_calibrated else "assumed"
    return Intrinsics(fx, fy, cx, cy, message.image_size, message.camera_distortion, source)
