"""Distances of a body to the ground truth: as it is, and after the best similarity.

`PA` means after Procrustes alignment: rotation, scale and translation (Gower, Generalized
Procrustes Analysis, 1975).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Similarity(NamedTuple):
    """x -> scale * R x + t."""

    R: Float[Tensor, "*B 3 3"]
    scale: Float[Tensor, "*B"]
    t: Float[Tensor, "*B 3"]

    def apply(self, points: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B J 3"]:
        """Move points."""
        return self.scale[..., None, None] * points @ self.R.mT + self.t[..., None, :]


def procrustes(points: Float[Tensor, "*B J 3"], target: Float[Tensor, "*B J 3"]) -> Similarity:
    """Fit the similarity without reflection that brings `points` closest to `target`."""
    mean_p = points.mean(-2, keepdim=True)
    mean_t = target.mean(-2, keepdim=True)
    p = points - mean_p
    t = target - mean_t
    U, S, Vt = torch.linalg.svd(t.mT @ p)
    sign = torch.ones_like(S)
    sign[..., 2] = torch.sign(torch.linalg.det(U @ Vt))
    R = (U * sign[..., None, :]) @ Vt
    scale = (S * sign).sum(-1) / (p * p).sum((-1, -2)).clamp_min(1e-12)
    return Similarity(R, scale, (mean_t - scale[..., None, None] * mean_p @ R.mT)[..., 0, :])


def centred(joints: Float[Tensor, "*B J D"], root: int = 0) -> Float[Tensor, "*B J D"]:
    """Joints relative to joint number `root`, the pelvis unless told otherwise."""
    return joints - joints[..., root : root + 1, :]


def joint_errors(
    joints: Float[Tensor, "*B J 3"], target: Float[Tensor, "*B J 3"]
) -> Float[Tensor, "*B J"]:
    """The distance of each joint; put pelvises together before (`centred`) where the field does."""
    return (joints - target).norm(dim=-1)


def pa_joint_errors(
    joints: Float[Tensor, "*B J 3"], target: Float[Tensor, "*B J 3"]
) -> Float[Tensor, "*B J"]:
    """The distance of each joint after the Procrustes alignment of all of them."""
    return joint_errors(procrustes(joints, target).apply(joints), target)


def mpjpe(joints: Float[Tensor, "*B J 3"], target: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B"]:
    """Mean distance over joints; put pelvises together before (`centred`) where the field does."""
    return joint_errors(joints, target).mean(-1)


def pa_mpjpe(
    joints: Float[Tensor, "*B J 3"], target: Float[Tensor, "*B J 3"]
) -> Float[Tensor, "*B"]:
    """Mean distance over joints after Procrustes alignment."""
    return pa_joint_errors(joints, target).mean(-1)


def pve(
    vertices: Float[Tensor, "*B V 3"],
    target: Float[Tensor, "*B V 3"],
    pelvis: Float[Tensor, "*B 3"],
    true_pelvis: Float[Tensor, "*B 3"],
) -> Float[Tensor, "*B"]:
    """Mean distance over vertices (per-vertex error) with pelvises put together.

    As 3DPW's and EMDB's tables have it; HuManiFlow's plain PVE leaves pelvises where they are.
    """
    return joint_errors(vertices - pelvis[..., None, :], target - true_pelvis[..., None, :]).mean(
        -1
    )


def same_distance(
    joints: Float[Tensor, "B N J 3"], reference: Float[Tensor, "B J 3"]
) -> Float[Tensor, "B N J 3"]:
    """Shift bodies along the ray to the reference's pelvis until all pelvises are equally far."""
    ray = torch.nn.functional.normalize(reference[:, 0], dim=-1)
    along = ((joints[:, :, 0] - reference[:, None, 0]) * ray[:, None]).sum(-1)
    return joints - along[..., None, None] * ray[:, None, None]
