r"""How far poses lie from the recorded ones: exact nearest neighbours, part by part.

Whole bodies of few people are a sparse sample: a new person's poses lie about as far from the
nearest recorded body as poses perturbed by 0.3 rad do (AUROC of the exact distance 0.74 to 0.86).
So the manifold is that of bodies whose limbs, head and trunk (`PARTS`) come from any recordings
(0.93 to 0.99). Its nearest neighbours fall into those of the parts, which are densely sampled.

Candidates come from one product of matrices, the dot products of quaternions with w >= 0; the best
of them in half angles is the neighbour.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engines.priors.turns import ARTICULATED
from engines.rotations import exp_so3, matrix_to_quat_wxyz
from trainer.motion.anatomy import MIRRORED_JOINTS
from trainer.synthetic.poses import PARTS

COUNT = len(ARTICULATED)
KNOWN_PARTS = tuple(tuple(joint - 1 for joint in part if joint in ARTICULATED) for part in PARTS)
"""Of the 21 joints without root and hands."""
_MIRRORED = [MIRRORED_JOINTS[joint] - 1 for joint in ARTICULATED]
_BATCH = 256


class PartNeighbours:
    """The recorded parts of bodies."""

    def __init__(
        self,
        rotvec: Float[np.ndarray, "M 23 3"],
        references: int,
        candidates: int,
        rng: np.random.Generator,
    ) -> None:
        """Take recorded poses.

        Args:
            rotvec: rotation vectors below the root.
            references: how many of them are used, drawn for each part.
            candidates: how many of the nearest by dot product are measured.
            rng: draws them.
        """
        count = min(references, len(rotvec))
        self._candidates = min(candidates, count)
        quaternions = quaternions_of(rotvec)
        self._parts = [
            quaternions[rng.permutation(len(rotvec))[:count]][:, list(part)] for part in KNOWN_PARTS
        ]

    def half_angles(
        self, queries: Float[np.ndarray, "N 21 4"], neighbours: int, power: int
    ) -> Float[np.ndarray, "N 6 k"]:
        """Return sum_j a_j^power over each part, of its nearest neighbours, nearest first.

        Args:
            queries: unit quaternions, w >= 0.
            neighbours: k.
            power: 1 or 2; by the sum the neighbours are ranked.
        """
        out = np.empty((len(queries), len(KNOWN_PARTS), neighbours), np.float32)
        for i, (part, recorded) in enumerate(zip(KNOWN_PARTS, self._parts, strict=True)):
            flat = torch.from_numpy(recorded.reshape(len(recorded), -1))
            for start in range(0, len(queries), _BATCH):
                query = queries[start : start + _BATCH, list(part)]
                dot = torch.from_numpy(query.reshape(len(query), -1)) @ flat.T
                near = dot.topk(self._candidates, sorted=False).indices.numpy()
                angle = half_angle(recorded[near], query[:, None])
                sums = np.sort((angle**power).sum(-1), 1)
                out[start : start + _BATCH, i] = sums[:, :neighbours]
        return out


def half_angle(
    a: Float[np.ndarray, "*#B 4"], b: Float[np.ndarray, "*#B 4"]
) -> Float[np.ndarray, "*B"]:
    """Return arccos |a . b|, half the angle between rotations."""
    return np.arccos(np.minimum(np.abs((a * b).sum(-1)), 1.0))


def quaternions_of(rotvec: Float[np.ndarray, "N 23 3"]) -> Float[np.ndarray, "N 21 4"]:
    """Return unit quaternions with w >= 0 of the joints but the hands."""
    return matrix_to_quat_wxyz(exp_so3(rotvec[:, :COUNT])).astype(np.float32)


Distance = Callable[[Float[np.ndarray, "N 21 4"], Float[np.ndarray, "N 21 4"]], np.ndarray]
"""Distances of perturbed quaternions, given also the poses that they were made of."""


def ndf_distance(near: PartNeighbours, neighbours: int) -> Distance:
    """Pose-NDF's: sqrt(sum_j a_j^2 / 2), the mean over the nearest bodies."""

    def distance(noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
        squares = near.half_angles(noisy, neighbours, power=2).sum(1)
        return np.sqrt(0.5 * squares).mean(1)

    return distance


def nrdf_distance(near: PartNeighbours) -> Distance:
    """NRDF's: the mean half angle to the nearest body, the clean pose being one."""

    def distance(noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
        nearest = near.half_angles(noisy, 1, power=1)[..., 0]
        angle = half_angle(noisy, clean)
        source = np.stack([angle[:, list(part)].sum(1) for part in KNOWN_PARTS], 1)
        return np.minimum(nearest, source).sum(1) / COUNT

    return distance


def ndf_noise(
    clean: Float[np.ndarray, "N 21 4"], levels: tuple[float, ...], rng: np.random.Generator
) -> Float[np.ndarray, "N 21 4"]:
    """Pose-NDF's perturbation: normal noise on quaternions, of a level drawn for each pose.

    Each quaternion is normalised for itself, and has w >= 0.
    """
    std = rng.choice(np.array(levels, np.float32), (len(clean), 1, 1))
    noisy = clean + std * rng.standard_normal(clean.shape, np.float32)
    noisy /= np.linalg.norm(noisy, axis=-1, keepdims=True)
    return np.where(noisy[..., :1] < 0, -noisy, noisy)


def nrdf_noise(
    clean: Float[np.ndarray, "N 21 4"], angle: float, rng: np.random.Generator
) -> Float[np.ndarray, "N 21 4"]:
    """NRDF's perturbation: a mean angle |N(0, angle)|, split at random, about random axes."""
    mean = np.abs(angle * rng.standard_normal((len(clean), 1, 1)))
    share = rng.random((len(clean), COUNT, 1))
    share *= COUNT / share.sum(1, keepdims=True)
    axis = rng.standard_normal((len(clean), COUNT, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    half = 0.5 * np.minimum(mean * share, np.pi)
    turn = np.concatenate([np.cos(half), np.sin(half) * axis], -1).astype(np.float32)
    noisy = _multiply(clean, turn)
    return np.where(noisy[..., :1] < 0, -noisy, noisy)


def _multiply(a: Float[np.ndarray, "*B 4"], b: Float[np.ndarray, "*B 4"]) -> np.ndarray:
    """Hamilton's product: first `b`, then `a`."""
    w, v, x, u = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    real = w * x - (v * u).sum(-1, keepdims=True)
    return np.concatenate([real, w * u + x * v + np.cross(v, u)], -1)


def mirrored_quaternions(q: Float[Tensor, "N 21 4"]) -> Float[Tensor, "N 21 4"]:
    """Exchange left and right."""
    return q[:, _MIRRORED] * q.new_tensor([1.0, 1.0, -1.0, -1.0])
