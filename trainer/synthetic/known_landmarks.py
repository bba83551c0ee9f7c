"""Where the landmarks of known bodies are, and whether rendered samples show them."""

import numpy as np
from jaxtyping import Float, Int

from engines.body import BodyModel
from engines.rotations import exp_so3
from engines.types import PARENTS
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.synthetic import landmark_sites as sites
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

_FACE = slice(0, 11)


def landmark_positions(
    rotvec: Float[np.ndarray, "N 24 3"],
    betas: Float[np.ndarray, "N 10"],
    pelvis: Float[np.ndarray, "N 3"],
    body: BodyModel,
) -> Float[np.ndarray, "N 33 3"]:
    """Return the landmarks of posed bodies, camera frame, metres."""
    joints = joints_in_camera(rotvec, betas, pelvis, body)
    R = exp_so3(rotvec.astype(np.float64))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            R[:, joint] = R[:, parent] @ R[:, joint]
    offset = (R[:, sites.BONE] @ sites.OFFSET_M[:, :, None].astype(np.float64))[..., 0]
    return joints[:, sites.JOINT] + offset


def landmark_states(
    records: RawRecords, px: Float[np.ndarray, "N 33 2"]
) -> Int[np.ndarray, "N 33"]:
    """Return which landmarks of rendered samples are visible, occluded, or outside the image.

    A landmark is visible where its joint is; those of the face, which the network knows from
    behind, wherever they are in the image.

    Args:
        records: as stored.
        px: true landmarks, image px.
    """
    low, high = records["window"][:, None, :2], records["window"][:, None, 2:]
    inside = ((px >= low) & (px < high)).all(-1)
    visible = records["joint_visible"].astype(bool)[:, sites.JOINT]
    visible[:, _FACE] = True
    return np.where(inside, np.where(visible, VISIBLE, OCCLUDED), OUTSIDE)
