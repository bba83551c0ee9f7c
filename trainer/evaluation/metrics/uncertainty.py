"""Metrics of predicted uncertainty: proper scores and confident errors.

Coverage, calibration error, sparsification and rank correlation are in `calib`. Give scores of the
distribution the random draws (`joints[:, 1:]`): the best estimate is not one of them.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.covariance import chi_square_3
from trainer.evaluation.metrics.alignment import same_distance

FLOOR = 1e-6
"""(1 mm)^2, added to every variance: a distribution that is flat, or one point, then still has a
density.
"""


def contains(
    cov: Float[Tensor, "*B 3 3"], error: Float[Tensor, "*B 3"], level: float = 0.9
) -> Bool[Tensor, "*B"]:
    """Tell whether errors lie inside the ellipsoid that holds a share `level` of a Gaussian.

    One millimetre is added to each axis: without the common distance the pelvis has no spread along
    the ray.
    """
    cov = cov + FLOOR * torch.eye(3, dtype=cov.dtype, device=cov.device)
    squared = (error[..., None, :] @ torch.linalg.solve(cov, error[..., None]))[..., 0, 0]
    return squared <= chi_square_3(level)


class Moments(NamedTuple):
    """Mean and covariance of each joint over hypotheses."""

    mean: Float[Tensor, "B J 3"]
    cov: Float[Tensor, "B J 3 3"]
    """Square metres."""


def sample_moments(joints: Float[Tensor, "B N J 3"]) -> Moments:
    """Mean and unbiased covariance of each joint.

    Remove the common distance before, if it should not count.
    """
    assert joints.shape[1] > 1, "one hypothesis has no covariance"
    mean = joints.mean(1)
    offset = joints - mean[:, None]
    return Moments(mean, torch.einsum("bnja,bnjc->bjac", offset, offset) / (joints.shape[1] - 1))


def published_moments(joints: Float[Tensor, "B N J 3"]) -> Moments:
    """Moments as the live system takes them before calibration (`engines.flow.statistics`).

    All hypotheses are moved to the best estimate's distance, number 0 is one of them, and the sum
    is divided by N.
    """
    mean, cov = sample_moments(same_distance(joints, joints[:, 0]))
    return Moments(mean, cov * (1 - 1 / joints.shape[1]))


def gaussian_nll(
    mean: Float[Tensor, "*B 3"], cov: Float[Tensor, "*B 3 3"], target: Float[Tensor, "*B 3"]
) -> Float[Tensor, "*B"]:
    """Negative log density of the ground truth under a Gaussian, nats per coordinate, in float64.

    (d^2 + ln det(2 pi cov)) / 6 with d the Mahalanobis distance: a third of the density's, which
    has three coordinates. One millimetre is added to each axis as in `contains`, so nothing is
    below -5.99.

    Args:
        mean: metres.
        cov: square metres, symmetric.
        target: metres.
    """
    cov = cov.double() + FLOOR * torch.eye(3, dtype=torch.float64, device=cov.device)
    root = torch.linalg.cholesky(cov)
    error = (target - mean).double()[..., None]
    squared = torch.linalg.solve_triangular(root, error, upper=False).square().sum((-1, -2))
    log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (squared + log_det + 3 * math.log(2 * math.pi)) / 6


def energy_score(
    joints: Float[Tensor, "B N J D"], target: Float[Tensor, "B J D"], unbiased: bool = True
) -> Float[Tensor, "B J"]:
    """The energy score of each joint, metres; small is good.

    E|X - y| - E|X - X'| / 2 for independent draws X, X' (Gneiting and Raftery, Strictly Proper
    Scoring Rules, 2007, equation 22). The expectation over pairs is taken in one of two ways:

    - unbiased (N (N - 1) pairs of different hypotheses, Ferro's fair score, 2014): on average the
      score of the distribution that the hypotheses were drawn from, however few were drawn, so
      methods with different N can be compared. May be negative.
    - otherwise the V-statistic (all N^2 pairs): the score of the finite set taken as the forecast
      itself, never negative, but larger by E|X - X'| / 2N for the distribution behind it. A
      deterministic method is its own
      distribution: N = 1 has the error itself.
    """
    # one joint at a time: N^2 pairs of all joints would take gigabytes
    scores = [_energy(joints[:, :, j], target[:, j], unbiased) for j in range(joints.shape[2])]
    return torch.stack(scores, -1)


def body_energy_score(
    joints: Float[Tensor, "B N J D"], target: Float[Tensor, "B J D"], unbiased: bool = True
) -> Float[Tensor, "B"]:
    """The energy score of the whole body as one vector of J * D coordinates, metres.

    Unlike the joints' it sees which joints go together. Grows with sqrt(J). `unbiased` as in
    `energy_score`.
    """
    return _energy(joints.flatten(2), target.flatten(1), unbiased)


def _energy(
    samples: Float[Tensor, "B N F"], target: Float[Tensor, "B F"], unbiased: bool
) -> Float[Tensor, "B"]:
    count = samples.shape[1]
    assert count > 1 or not unbiased, (
        "one hypothesis has no unbiased energy score; the V-statistic is its error"
    )
    pairs = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist").sum((-1, -2))
    error = (samples - target[:, None]).norm(dim=-1).mean(-1)
    return error - pairs / (2 * count * (count - 1 if unbiased else count))


@dataclass(frozen=True)
class ErrorRates:
    """Shares of errors and of confident joints; NaN where nothing fulfils the condition."""

    confident_error: float
    """P(error > delta | std < tau): how often confidence is misplaced."""
    false_positive: float
    """P(std < tau and error > delta): how often a joint is both."""
    recall: float
    """P(std >= tau | error > delta): the share of errors that were announced."""
    confident: float
    """P(std < tau): the share of confident joints."""
    entries: int
    """How many joints of images were counted."""


def error_rates(
    error: Float[Tensor, "B J"],
    std: Float[Tensor, "B J"],
    group: Bool[Tensor, "B J"],
    delta: float,
    tau: float,
) -> ErrorRates:
    """Confident errors, false positives and announced errors over all entries of a group.

    Args:
        error: of the best estimate, metres.
        std: what the method says it is, metres.
        group: the entries to count.
        delta: an error above it is one, metres; 0.15 (the PCK of MPI-INF-3DHP) and 0.05 are usual.
        tau: a standard deviation below it is confident, metres; see `operating_point`.
    """
    assert not error[group].isnan().any() and not std[group].isnan().any()
    wrong = error[group] > delta
    confident = std[group] < tau
    both = int((wrong & confident).sum())
    count = int(group.sum())
    return ErrorRates(
        confident_error=_share(both, int(confident.sum())),
        false_positive=_share(both, count),
        recall=_share(int(wrong.sum()) - both, int(wrong.sum())),
        confident=_share(int(confident.sum()), count),
        entries=count,
    )


def operating_point(
    std: Float[Tensor, "B J"], group: Bool[Tensor, "B J"], share: float = 0.8
) -> float:
    """Smallest tau (m) with at least this share of the group's standard deviations below it.

    Equal standard deviations are confident together or not at all, so the confident share
    (`ErrorRates.confident`) may be larger.
    """
    values = std[group].sort().values
    assert len(values) and 0 < share <= 1
    last = values[math.ceil(share * len(values)) - 1]
    return float(torch.nextafter(last, torch.full_like(last, math.inf)))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
