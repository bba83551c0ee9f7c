"""An estimated body as the network's input.

Everything is expressed in the body's own axes, those of its pelvis, and so is the network's output:
turning body and camera together turns the answer with them and changes nothing else. What the
network knows of the camera are its axes as the body sees them: cameras mostly stand upright.
"""

import numpy as np
from jaxtyping import Float

from engines.types import NUM_JOINTS

LAYOUT: dict[str, int] = {
    "joints": 3 * (NUM_JOINTS - 1),
    "camera_up": 3,
    "camera_forward": 3,
    "ray": 3,
    "log_std": 3 * NUM_JOINTS,
    "visible": NUM_JOINTS,
}
"""Length of each part of the feature vector, in their order."""
NUM_FEATURES = sum(LAYOUT.values())
_FLOOR_M = 0.005
_USUAL_M = 0.1


def gravity_features(
    R_cam_root: Float[np.ndarray, "*B 3 3"],
    joints: Float[np.ndarray, "*B 24 3"],
    joint_cov: Float[np.ndarray, "*B 24 3 3"],
    joint_visible: Float[np.ndarray, "*B 24"],
) -> Float[np.ndarray, "*B F"]:
    """Encode estimates of people.

    Args:
        R_cam_root: orientation of the pelvis in the camera frame.
        joints: camera frame, metres.
        joint_cov: calibrated, the common distance kept apart, camera frame, square metres.
        joint_visible: probability that each joint is visible.
    """
    pelvis = joints[..., 0, :]
    ray = pelvis / np.maximum(np.linalg.norm(pelvis, axis=-1, keepdims=True), 1e-6)
    relative = (joints[..., 1:, :] - joints[..., :1, :]) @ R_cam_root  # row vectors: R^T x
    in_root = R_cam_root[..., None, :, :]
    variance = np.einsum("...ia,...ij,...ja->...a", in_root, joint_cov, in_root, optimize=False)
    log_std = 0.5 * np.log(np.maximum(variance, 0.0) + _FLOOR_M**2) - np.log(_USUAL_M)
    parts = {
        "joints": relative.reshape(*relative.shape[:-2], -1),
        "camera_up": -R_cam_root[..., 1, :],  # R^T (0, -1, 0)
        "camera_forward": R_cam_root[..., 2, :],
        "ray": np.einsum("...ia,...i->...a", R_cam_root, ray),
        "log_std": log_std.reshape(*log_std.shape[:-2], -1),
        "visible": 2.0 * joint_visible - 1.0,
    }
    return np.concatenate([parts[name] for name in LAYOUT], -1).astype(np.float32)
