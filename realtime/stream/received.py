"""A received message as the arrays that `engines` works on.

Needs NumPy and jaxtyping, which plain subscribing does not.

    with Subscriber() as stream:
        for message in stream:
            for person in message.people:
                posterior = reweight(hypotheses_of(person), NonPenetration(floor, surface))
                cov = covariance_of(person)  # about person.joints, camera frame, m^2
"""

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics
from engines.covariance import cov_from_six
from engines.errors import PenumbraError
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


def covariance_of(person: PersonMessage) -> Float[np.ndarray, "24 3 3"]:
    """The covariance of each joint about `person.joints`, camera frame, square metres.

    It includes the displacement that all joints share, by which they err together: `joint_cov` +
    `common_cov`.

    Raises:
        PenumbraError: the publisher is older than version 2.2 and sends no `common_cov`.
    """
    if person.common_cov is None:
        raise PenumbraError("person: has no common_cov; update the publisher to version 2.2.")
    shared = cov_from_six(np.asarray(person.common_cov))
    return cov_from_six(np.asarray(person.joint_cov)) + shared


def intrinsics_of(message: PoseMessage) -> Intrinsics:
    """The publisher's camera."""
    (fx, _, cx), (_, fy, cy), _ = message.camera_matrix
    source = message.source if message.camera_calibrated else "assumed"
    return Intrinsics(fx, fy, cx, cy, message.image_size, message.camera_distortion, source)
