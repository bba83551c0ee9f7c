"""Which joint is which: the orders that datasets keep their joints in.

A name that is also SMPL's (`engines.types.JOINT_NAMES`) means the same joint of the body. Its exact
place differs between skeletons by some centimetres, most at the hips. Names of joints that SMPL
lacks are our own. Sources: OpenPose's output documentation; SPIN's `constants.py` (Kolotouros et
al., 2019), whose 24 ground-truth joints ProHMR's "extra" ones begin.
"""

import numpy as np
from jaxtyping import Float

from engines.types import JOINT_NAMES

# fmt: off
_ARMS = ("nose", "openpose_neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist")
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
COCO_18: tuple[str, ...] = _ARMS + _LEGS + _FACE
"""OpenPose's 18 points: 3DPW's `poses2d`."""
BODY_25: tuple[str, ...] = (
    *_ARMS, "mid_hip", *_LEGS, *_FACE,
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)
"""OpenPose's 25 points."""
EXTRA_19: tuple[str, ...] = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "lsp_neck", "head_top", "pelvis", "thorax", "h36m_spine", "h36m_jaw", "h36m_head",
)
"""The first 14 are those of LSP, on which Human3.6M and 3DPW are usually scored."""
SPIN_24: tuple[str, ...] = (*EXTRA_19, "nose", "left_eye", "right_eye", "left_ear", "right_ear")
# fmt: on


def in_smpl_order(
    values: Float[np.ndarray, "N J C"], names: tuple[str, ...], confidence: Float[np.ndarray, "N J"]
) -> Float[np.ndarray, "N 24 C"]:
    """Joints by name in SMPL's order; NaN where no joint has the name or its confidence is 0.

    Args:
        values: anything that is given per joint.
        names: of the J joints; where one occurs twice, each row takes the more confident of the
            two.
        confidence: 0 for what is not given.
    """
    assert values.shape[1] == len(names) == confidence.shape[1], (
        values.shape,
        len(names),
        confidence.shape,
    )
    out = np.full((len(values), len(JOINT_NAMES), values.shape[2]), np.nan)
    row = np.arange(len(values))
    for joint, wanted in enumerate(JOINT_NAMES):
        columns = np.flatnonzero([name == wanted for name in names])
        if len(columns):
            best = columns[confidence[:, columns].argmax(1)]
            known = confidence[row, best] > 0
            out[known, joint] = values[row, best][known]
    return out
