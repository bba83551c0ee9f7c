"""What every dataset is read as: one row a person in a picture."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS
from trainer.datasets.skeletons import in_smpl_order

GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female"}
"""How files write them; anything else is read as not known ("")."""


@dataclass(frozen=True)
class People:
    """N people in pictures and what is known of them. NaN stands for what is not known of a row."""

    source: Path
    """The file or folder that it was read from, for messages."""
    images: tuple[Path, ...]
    """N pictures; existence is not checked before they are read."""
    center: Float[np.ndarray, "N 2"]
    """Middle of the box around the person, image px."""
    side: Float[np.ndarray, "N"]
    """Side of that box, image px. It holds the whole person with a margin of about a fifth."""
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
    """Of these J joints (`trainer.datasets.skeletons`)."""
    placed: bool = False
    """True where `joints_cam` has its origin at the camera; False where only differences between
    joints mean something.
    """
    keypoints_2d: Float[np.ndarray, "N M 3"] | None = None
    """x and y in image px, confidence from 0 (not given) to 1."""
    keypoint_names: tuple[str, ...] = ()
    gender: tuple[str, ...] | None = None
    """N times `male`, `female` or "" (not known); None where the dataset does not say."""

    def __post_init__(self) -> None:
        """Loaders answer for their shapes."""
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
        """Some of the people."""
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
        """The dataset's own 3D joints by name in SMPL's order, metres; NaN where it has none of
        that name.
        """
        if self.joints_cam is None:
            return np.full((self.count, NUM_JOINTS, 3), np.nan)
        if self.joint_names == JOINT_NAMES:
            return self.joints_cam
        known = np.isfinite(self.joints_cam).all(-1).astype(np.float64)
        return in_smpl_order(self.joints_cam, self.joint_names, known)

    def keypoints_as_smpl(self) -> Float[np.ndarray, "N 24 3"]:
        """The 2D keypoints by name in SMPL's order; NaN where there is none of that name."""
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
