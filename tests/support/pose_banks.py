"""Poses without motion capture: small random rotations about the T-pose, and a file of them."""

from pathlib import Path

import numpy as np

from engines.body import BodyModel
from trainer.synthetic.poses import PoseBank


def random_poses(count: int = 40, seed: int = 0) -> np.ndarray:
    """Standing people, the last eighth of them seated."""
    rotvec = np.random.default_rng(seed).normal(0, 0.2, (count, 24, 3))
    rotvec[:, 0] = 0.0
    rotvec[-(count // 8) :, 1:3] = (-1.5, 0.0, 0.0)
    return rotvec


def pose_bank(body: BodyModel) -> PoseBank:
    """A bank of one clip."""
    rotvec = random_poses()
    return PoseBank.of(rotvec, np.zeros(len(rotvec), int), body)


def write_poses(path: Path) -> Path:
    """Write a file of `trainer.mocap` with two clips, of training and of validation subjects."""
    rotvec = random_poses().astype(np.float32)
    half = np.repeat([0, 1], len(rotvec) // 2)
    rotvec = np.concatenate([rotvec[::2], rotvec[1::2]])
    np.savez(
        path,
        rotvec=rotvec,
        transl=np.zeros((len(rotvec), 3), np.float32),
        clip=half,
        split=half.astype(np.int8),
        clip_names=np.array(["a", "b"]),
    )
    return path
