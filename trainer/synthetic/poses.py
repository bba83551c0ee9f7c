"""Poses to draw from: motion capture, balanced over clips and kinds of poses, half mirrored.

The recordings are of a few people. A flow that only meets their poses learns them by heart and is
too sure of what other people do, so limbs are recombined from several frames, and every joint is
turned a little.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engines.body import BodyModel, joints_only
from engines.types import JOINT_NAMES, NUM_JOINTS
from trainer.model import quaternions as quat
from trainer.motion.anatomy import mirror_pose
from trainer.motion.poses import Poses, Split

_ARM, _LEG = ("collar", "shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")
PARTS: tuple[tuple[int, ...], ...] = (
    *(
        tuple(JOINT_NAMES.index(f"{side}_{name}") for name in limb)
        for limb in (_ARM, _LEG)
        for side in ("left", "right")
    ),
    tuple(JOINT_NAMES.index(name) for name in ("neck", "head")),
    tuple(JOINT_NAMES.index(name) for name in ("spine1", "spine2", "spine3")),
)
"""Joints that come from one frame together: the four limbs, the head, the trunk."""
_SEATED_WEIGHT = 4.0
"""How much more often than its clip's share a seated pose is drawn, in addition."""
_REACHING_WEIGHT = 1.5


class PoseBank(NamedTuple):
    """M poses, and how often each is drawn."""

    quaternions: Float[Tensor, "M 24 4"]
    cumulative: Float[Tensor, "M"]
    """Cumulative probabilities."""
    seated: Int[Tensor, "S"]
    """Rows of the seated poses."""

    @classmethod
    def load(cls, poses: Path, split: Split, body: BodyModel) -> "PoseBank":
        """Read the poses of a split.

        A clip weighs as the root of its length; seated poses weigh 5 times and reaching ones 2.5
        times as much as others of their clip.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        rotvec, clip = Poses.load(poses).of(split)
        return cls.of(rotvec, clip, body)

    @classmethod
    def of(
        cls, rotvec: Float[np.ndarray, "N 24 3"], clip: Int[np.ndarray, "N"], body: BodyModel
    ) -> "PoseBank":
        """Make a bank of poses (world y up) and the numbers of their clips."""
        _, which, length = np.unique(clip, return_inverse=True, return_counts=True)
        seated, reaching = classify(rotvec, body)
        weight = length[which] ** -0.5 * (1 + _SEATED_WEIGHT * seated + _REACHING_WEIGHT * reaching)
        both = np.concatenate([rotvec, mirror_pose(rotvec)])
        quaternions = quat.exp(torch.tensor(both, dtype=torch.float32).permute(2, 0, 1))
        cumulative = torch.tensor(np.concatenate([weight, weight])).cumsum(0)
        return cls(
            quaternions.permute(1, 2, 0).contiguous(),
            (cumulative / cumulative[-1]).float(),
            torch.tensor(np.flatnonzero(np.concatenate([seated, seated]))),
        )

    def draw(
        self,
        seated: Bool[Tensor, "N"],
        recombined: float,
        joint_rad: tuple[float, float],
        rng: torch.Generator,
    ) -> Float[Tensor, "24 4 N"]:
        """Draw poses.

        Args:
            seated: where to draw from the seated poses.
            recombined: probability of each of `PARTS` to come from another frame.
            joint_rad: range of the standard deviation of the rotations that are added to all
                joints but the root; each pose has its own, uniformly distributed.
            rng: random numbers.
        """
        count = len(seated)
        rows = self._rows(count, rng)
        if len(self.seated):
            which = torch.randint(len(self.seated), (count,), generator=rng)
            rows = torch.where(seated, self.seated[which], rows)
        rotations = self.quaternions[rows].permute(1, 2, 0).contiguous()
        for part in PARTS:
            other = torch.rand(count, generator=rng) < recombined
            rows = self._rows(int(other.sum()), rng)
            for joint in part:
                rotations[joint][:, other] = self.quaternions[rows, joint].T
        low, high = joint_rad
        std = low + (high - low) * torch.rand(count, generator=rng)
        turn = std * torch.randn(3, NUM_JOINTS, count, generator=rng)
        turn[:, 0] = 0.0
        turned = quat.multiply(rotations.permute(1, 0, 2), quat.exp(turn))
        return turned.permute(1, 0, 2).contiguous()

    def _rows(self, count: int, rng: torch.Generator) -> Int[Tensor, "N"]:
        """Draw row numbers by the poses' weights."""
        rows = torch.searchsorted(self.cumulative, torch.rand(count, generator=rng))
        return rows.clamp_max(len(self.cumulative) - 1)


def classify(
    rotvec: Float[np.ndarray, "N 24 3"], body: BodyModel
) -> tuple[Bool[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
    """Tell who sits or crouches, and who reaches up or leans far over.

    Seated: both hips are bent over 50 degrees. Reaching: a wrist is above the head, or the trunk
    is tilted over 40 degrees.
    """
    joints = joints_only(body, rotvec, np.zeros((len(rotvec), 10)), np.zeros((len(rotvec), 3)))
    at = {name: joints[:, joint] for joint, name in enumerate(JOINT_NAMES)}
    trunk = _unit(at["neck"] - at["pelvis"])
    thighs = [_unit(at[f"{side}_knee"] - at[f"{side}_hip"]) for side in ("left", "right")]
    bent = [(thigh * -trunk).sum(-1) < math.cos(math.radians(50)) for thigh in thighs]
    highest = np.maximum(at["left_wrist"][:, 1], at["right_wrist"][:, 1])
    leaning = trunk[:, 1] < math.cos(math.radians(40))
    return bent[0] & bent[1], (highest > at["head"][:, 1]) | leaning


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
