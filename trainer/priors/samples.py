"""Poses that priors learn from and are measured on: motion capture, split by subject."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engines.types import JOINT_NAMES, NUM_JOINTS
from trainer.model import so3
from trainer.motion.anatomy import mirror_pose
from trainer.motion.poses import SPLITS, Poses, Split
from trainer.synthetic.poses import PARTS

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


class PoseSource:
    """Endless poses to train on: those of a split and their mirror images, limbs recombined.

    The recordings are of a few people; a network learns their poses by heart and calls other
    people's implausible. Limbs that come from several frames show it more.
    """

    def __init__(self, poses: Float[np.ndarray, "N 23 3"], recombined: float) -> None:
        """Take poses.

        Args:
            poses: rotation vectors below the root.
            recombined: probability of each of `PARTS` to come from another frame.
        """
        self.rotvec = torch.from_numpy(np.concatenate([poses, mirrored(poses)]).astype(np.float32))
        self.recombined = recombined

    def draw(self, count: int, rng: torch.Generator) -> Float[Tensor, "B 23 3"]:
        """Draw poses as recorded."""
        rows = torch.randint(len(self.rotvec), (count, len(PARTS)), generator=rng)
        other = torch.rand(rows.shape, generator=rng) < self.recombined
        first = torch.randint(len(self.rotvec), (count, 1), generator=rng)
        rows = torch.where(other, rows, first)
        out = torch.empty(count, NUM_JOINTS - 1, 3)
        for part, row in zip(PARTS, rows.T, strict=True):
            joints = [joint - 1 for joint in part]
            out[:, joints] = self.rotvec[row][:, joints]
        return out


@dataclass(frozen=True)
class Smoothing:
    """Noise that gives recordings a density: knees are pure hinges there, collars do not move."""

    smooth_rad: float = 0.05
    """Standard deviation of the turn of each joint, per axis."""
    unmeasured_rad: float = 0.1
    """The same of collars and hands."""

    def __call__(
        self, rotvec: Float[Tensor, "B 23 3"], rng: torch.Generator
    ) -> Float[Tensor, "B 23 3"]:
        """Turn joints at random."""
        std = torch.full((NUM_JOINTS - 1, 1), self.smooth_rad)
        std[[joint - 1 for joint in UNMEASURED]] = self.unmeasured_rad
        turn = std * torch.randn(rotvec.shape, generator=rng)
        return so3.log(so3.exp(rotvec) @ so3.exp(turn))
