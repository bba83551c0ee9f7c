"""Poses that priors learn from and are measured on: motion capture, split by subject."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from engines.types import JOINT_NAMES
from trainer.motion.anatomy import mirror_pose
from trainer.motion.poses import SPLITS, Poses, Split

UNMEASURED = tuple(
    i for i, name in enumerate(JOINT_NAMES) if name.split("_")[-1] in ("collar", "hand")
)
"""Joints that never move in the recordings."""


@dataclass(frozen=True)
class PoseSamples:
    """Distinct poses of each split, and where they come from."""

    poses: Path
    """The file, made by `python -m trainer.mocap`."""
    splits: dict[Split, Float[np.ndarray, "_ 23 3"]]
    """Rotation vectors below the root, radians."""

    @staticmethod
    def load(poses: Path, step_rad: float) -> "PoseSamples":
        """Read the poses of all splits.

        Args:
            poses: the file.
            step_rad: see `distinct_poses`.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        recorded = Poses.load(poses)
        splits: dict[Split, np.ndarray] = {}
        for split in SPLITS:
            rotvec, clip = recorded.of(split)
            splits[split] = distinct_poses(rotvec[:, 1:], clip, step_rad)
        return PoseSamples(poses, splits)


def distinct_poses(
    poses: Float[np.ndarray, "N 23 3"], clip: Int[np.ndarray, "N"], step_rad: float
) -> Float[np.ndarray, "M 23 3"]:
    """Drop frames almost equal to the last one kept of their clip, so that a pause counts once.

    Args:
        poses: rotation vectors, radians.
        clip: number of each frame's clip.
        step_rad: a frame is taken when some joint has turned by this much since the last one.
    """
    kept: list[int] = []
    for i in range(len(poses)):
        new_clip = not kept or clip[i] != clip[kept[-1]]
        if new_clip or np.linalg.norm(poses[i] - poses[kept[-1]], axis=-1).max() > step_rad:
            kept.append(i)
    return poses[kept]


def mirrored(poses: Float[np.ndarray, "N 23 3"]) -> Float[np.ndarray, "N 23 3"]:
    """Exchange left and right of poses without root."""
    return mirror_pose(with_root(poses))[:, 1:]


def with_root(poses: Float[np.ndarray, "N 23 3"]) -> Float[np.ndarray, "N 24 3"]:
    """Put a root in front that is not turned."""
    return np.concatenate([np.zeros_like(poses[:, :1]), poses], axis=1)
