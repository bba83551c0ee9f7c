"""People in images and their labels, in the one form that every dataset is read as.

A joint's name that is also SMPL's (`engines.types.JOINT_NAMES`) means the same joint of the body.
Its exact place differs between skeletons by some centimetres, most at the hips. Names of joints
that SMPL lacks are our own. Sources of the orders: OpenPose's output documentation; SPIN's
`constants.py` (Kolotouros et al., 2019), whose 24 ground-truth joints ProHMR's "extra" ones begin.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS

GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female"}
"""How files write them; anything else is read as unknown ("")."""


# fmt: off
_ARMS = (
    "nose", "openpose_neck", "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
)
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


@dataclass(frozen=True)
class People:
    """N people in images and their labels; NaN stands for an unknown label of a row."""

    source: Path
    """The file or folder that it was read from, for messages."""
    images: tuple[Path, ...]
    """N files; existence is not checked before they are read."""
    center: Float[np.ndarray, "N 2"]
    """Middle of the box around the person, image px."""
    side: Float[np.ndarray, "N"]
    """Side of that box, image px. It holds the whole person and a margin of about a fifth."""
    rotvec: Float[np.ndarray, "N 24 3"]
    """SMPL pose, axis-angle, radians; row 0 in the camera frame."""
    betas: Float[np.ndarray, "N 10"]
    """SMPL shape, of the SMPL model of `gender` where one is given."""
    has_smpl: Bool[np.ndarray, "N"]
    """Whether pose and shape are known."""
    K: Float[np.ndarray, "N 3 3"] | None = None
    """Camera matrix, px; None where the dataset does not give it."""
    joints_cam: Float[np.ndarray, "N J 3"] | None = None
    """The dataset's own 3D joints, axes of the camera frame, metres."""
    joint_names: tuple[str, ...] = ()
    """Names of these J joints."""
    placed: bool = False
    """Whether `joints_cam` has its origin at the camera, so that more than differences of joints
    means something."""
    keypoints_2d: Float[np.ndarray, "N M 3"] | None = None
    """x and y in image px, confidence from 0 (not given) to 1."""
    keypoint_names: tuple[str, ...] = ()
    gender: tuple[str, ...] | None = None
    """N times `male`, `female` or "" (unknown); None where the dataset does not say."""

    def __post_init__(self) -> None:
        """Check the shapes that loaders give."""
        n = self.count
        shapes = {"center": (n, 2), "side": (n,), "has_smpl": (n,)}
        shapes |= {"rotvec": (n, NUM_JOINTS, 3), "betas": (n, NUM_BETAS), "K": (n, 3, 3)}
        shapes |= {
            "joints_cam": (n, len(self.joint_names), 3),
            "keypoints_2d": (n, len(self.keypoint_names), 3),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            assert value is None or value.shape == shape, f"{name} {value.shape}, not {shape}"
        assert self.gender is None or len(self.gender) == n
        assert (
            np.isfinite(self.rotvec[self.has_smpl]).all()
            and np.isfinite(self.betas[self.has_smpl]).all()
        )

    @property
    def count(self) -> int:
        """N."""
        return len(self.images)

    def rows(self, index: Int[np.ndarray, "M"]) -> "People":
        """Take some of the people."""
        arrays = (
            "center",
            "side",
            "rotvec",
            "betas",
            "has_smpl",
            "K",
            "joints_cam",
            "keypoints_2d",
        )
        given = {name: getattr(self, name) for name in arrays}
        chosen = {name: value[index] for name, value in given.items() if value is not None}
        gender = None if self.gender is None else tuple(self.gender[i] for i in index)
        return replace(self, images=tuple(self.images[i] for i in index), gender=gender, **chosen)

    def joints_as_smpl(self) -> Float[np.ndarray, "N 24 3"]:
        """The dataset's own 3D joints in SMPL's order, metres; NaN where it lacks one."""
        if self.joints_cam is None:
            return np.full((self.count, NUM_JOINTS, 3), np.nan)
        if self.joint_names == JOINT_NAMES:
            return self.joints_cam
        known = np.isfinite(self.joints_cam).all(-1).astype(np.float64)
        return in_smpl_order(self.joints_cam, self.joint_names, known)

    def keypoints_as_smpl(self) -> Float[np.ndarray, "N 24 3"]:
        """The 2D keypoints in SMPL's order; NaN where the dataset lacks one."""
        if self.keypoints_2d is None:
            return np.full((self.count, NUM_JOINTS, 3), np.nan)
        return in_smpl_order(self.keypoints_2d, self.keypoint_names, self.keypoints_2d[..., 2])


def no_smpl(
    count: int,
) -> tuple[Float[np.ndarray, "N 24 3"], Float[np.ndarray, "N 10"], Bool[np.ndarray, "N"]]:
    """`rotvec`, `betas` and `has_smpl` of people without SMPL labels."""
    return (
        np.full((count, NUM_JOINTS, 3), np.nan),
        np.full((count, NUM_BETAS), np.nan),
        np.zeros(count, bool),
    )


def in_smpl_order(
    values: Float[np.ndarray, "N J C"], names: tuple[str, ...], confidence: Float[np.ndarray, "N J"]
) -> Float[np.ndarray, "N 24 C"]:
    """Sort joints by name into SMPL's order; NaN where one is missing or its confidence is 0.

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
