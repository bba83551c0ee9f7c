"""Left and right of a pose, and the joint angles that a body can take."""

import numpy as np
from jaxtyping import Bool, Float

from engines.types import JOINT_NAMES

SIDES = {"left": "right", "right": "left"}
MIRRORED_JOINTS: tuple[int, ...] = tuple(
    JOINT_NAMES.index("_".join(SIDES.get(word, word) for word in name.split("_")))
    for name in JOINT_NAMES
)
"""The joint that takes each one's place in a mirror."""

_LARGEST_ANGLE_RAD = {
    "head": 1.6,
    "left_ankle": 1.6,
    "right_ankle": 1.6,
    "left_wrist": 1.9,
    "right_wrist": 1.9,
}
_OVEREXTENSION_RAD = 0.35
_BACKWARD_AXES = {
    "left_elbow": (0, 1, 0),
    "right_elbow": (0, -1, 0),
    "left_knee": (-1, 0, 0),
    "right_knee": (-1, 0, 0),
}
"""The axis about which each hinge would have to turn to bend the wrong way."""


def mirror_pose(rotvec: Float[np.ndarray, "*B 24 3"]) -> Float[np.ndarray, "*B 24 3"]:
    """Mirror a pose in the plane x = 0 of the body and of the world.

    Left and right joints change places.
    """
    return rotvec[..., list(MIRRORED_JOINTS), :] * np.array([1, -1, -1], rotvec.dtype)


def plausible(rotvec: Float[np.ndarray, "*B 24 3"]) -> Bool[np.ndarray, "*B"]:
    """Tell poses that a body can take from those that it cannot.

    The recordings contain some of the latter: a foot or the head turned round, elbows bent
    backwards.
    """
    ok = np.ones(rotvec.shape[:-2], bool)
    for name, limit in _LARGEST_ANGLE_RAD.items():
        ok &= np.linalg.norm(rotvec[..., JOINT_NAMES.index(name), :], axis=-1) < limit
    for name, axis in _BACKWARD_AXES.items():
        ok &= rotvec[..., JOINT_NAMES.index(name), :] @ np.array(axis) < _OVEREXTENSION_RAD
    return ok
