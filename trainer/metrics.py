"""How good a distribution over bodies is, in the field's own terms. Plain torch, metres in and out.

`PA` means after Procrustes alignment: the similarity (rotation, scale, translation) that brings the estimate closest to the
truth (Gower, Generalized Procrustes Analysis, 1975).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calib.covariance import chi_square_3


class Similarity(NamedTuple):
    """x -> scale * R x + t."""

    R: Float[Tensor, "*B 3 3"]
    scale: Float[Tensor, "*B"]
    t: Float[Tensor, "*B 3"]

    def apply(self, points: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B J 3"]:
        """Move points."""
        return self.scale[..., None, None] * points @ self.R.mT + self.t[..., None, :]


def procrustes(points: Float[Tensor, "*B J 3"], truth: Float[Tensor, "*B J 3"]) -> Similarity:
    """The similarity without reflection that minimises the squared distance of `points` to `truth`."""
    mean_p, mean_t = points.mean(-2, keepdim=True), truth.mean(-2, keepdim=True)
    p, t = points - mean_p, truth - mean_t
    U, S, Vt = torch.linalg.svd(t.mT @ p)
    sign = torch.ones_like(S)
    sign[..., 2] = torch.sign(torch.linalg.det(U @ Vt))
    R = (U * sign[..., None, :]) @ Vt
    scale = (S * sign).sum(-1) / (p * p).sum((-1, -2)).clamp_min(1e-12)
    return Similarity(R, scale, (mean_t - scale[..., None, None] * mean_p @ R.mT)[..., 0, :])


def mpjpe(joints: Float[Tensor, "*B J 3"], truth: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B"]:
    """Mean distance over joints as given; put pelvises together first where the field does so."""
    return (joints - truth).norm(dim=-1).mean(-1)


def pa_mpjpe(joints: Float[Tensor, "*B J 3"], truth: Float[Tensor, "*B J 3"]) -> Float[Tensor, "*B"]:
    """Mean distance over joints after Procrustes alignment."""
    return mpjpe(procrustes(joints, truth).apply(joints), truth)


def best_of(errors: Float[Tensor, "B N"], n: int) -> Float[Tensor, "B"]:
    """The smallest of the first n errors: the hypotheses must be in random order."""
    return errors[:, :n].min(-1).values


def contains(cov: Float[Tensor, "*B 3 3"], error: Float[Tensor, "*B 3"], level: float = 0.9) -> Bool[Tensor, "*B"]:
    """Whether the error lies inside the ellipsoid that should hold a share `level` of a Gaussian of this covariance.

    One millimetre is added to each axis: without the common distance the pelvis has no spread along the ray.
    """
    cov = cov + 1e-6 * torch.eye(3, dtype=cov.dtype, device=cov.device)
    squared = (error[..., None, :] @ torch.linalg.solve(cov, error[..., None]))[..., 0, 0]
    return squared <= chi_square_3(level)
