"""A short score of a method on samples with ground truth, for training.

`trainer.evaluate` makes the tables.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engines.types import LIMB_JOINTS
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.evaluation.metrics import (
    best_of,
    contains,
    mpjpe,
    pa_mpjpe,
    published_moments,
    same_distance,
)
from trainer.methods.method import Method
from trainer.model.kinematics import project

HYPOTHESES = 100


@dataclass(frozen=True)
class Scores:
    """Means over images. Distances in millimetres; joints are the 12 of the limbs."""

    nll: float | None
    """Negative log density of the true body, nats; None where the method has no density."""
    entropy: float | None
    """Mean negative log density of the method's own samples, nats; None where it has no density."""
    estimate_mpjpe: float | None
    """Error of the best estimate, pelvises together."""
    estimate_pa: float | None
    """Error of the best estimate, after Procrustes alignment."""
    mean_pa: float | None
    """Error of the mean of the hypotheses' joints, after Procrustes alignment."""
    best_pa: float | None
    """Error of the best of 100 hypotheses, after Procrustes alignment."""
    coverage_visible: float | None
    """Share of true visible joints inside their 90 % ellipsoid before calibration, the common
    distance removed."""
    coverage_occluded: float | None
    std_visible: float | None
    """Median standard deviation of visible joints."""
    std_occluded: float | None
    reprojection: float | None
    """Mean distance of hypotheses' visible joints to the ground truth in the image, % of the
    person's size."""

    @staticmethod
    def unknown() -> "Scores":
        """Scores before anything was scored."""
        return Scores(*[None] * len(fields(Scores)))


@torch.no_grad()
def score(method: Method, samples: Batch, chunk: int = 250, seed: int = 1) -> Scores:
    """Score a method on samples; the same seed draws the same noise."""
    method.eval()
    device = method.priors.J_template.device
    chunks = torch.arange(samples.size).split(chunk)
    rows = [
        _score(method, samples.rows(index).to(device), StepRng(seed, i, device=device))
        for i, index in enumerate(chunks)
    ]
    columns = {name: torch.cat([row[name] for row in rows]).float() for name in rows[0]}
    return Scores(**{name: _summarise(name, value) for name, value in columns.items()})


def _summarise(name: str, values: Tensor) -> float | None:
    """Medians for standard deviations, means for the rest; entries that do not apply are NaN."""
    value = (values.nanmedian() if name.startswith("std") else values.nanmean()).item()
    return None if value != value else round(value, 3)


def _score(method: Method, batch: Batch, rng: StepRng) -> dict[str, Tensor]:
    hypotheses = method.draw(batch, HYPOTHESES, rng)
    joints = method.priors.joints(batch, hypotheses.bodies)
    log_prob = method.log_prob(batch)
    log_q = hypotheses.log_q
    unknown = torch.full((batch.size,), torch.nan, device=joints.device)
    return {
        "nll": unknown if log_prob is None else -log_prob,
        "entropy": unknown if log_q is None else -log_q[:, 1:].mean(1),
        **_errors(batch, joints),
        **_spread(batch, joints),
    }


def _errors(batch: Batch, joints: Tensor) -> dict[str, Tensor]:
    """Distances to the ground truth, millimetres."""
    limbs = joints[:, :, LIMB_JOINTS]
    target = batch.joints[:, LIMB_JOINTS]
    pa = 1000 * pa_mpjpe(limbs, target[:, None].expand_as(limbs))
    mean = published_moments(joints).mean[:, LIMB_JOINTS]
    estimate = limbs[:, 0] - joints[:, 0, :1]
    return {
        "estimate_mpjpe": 1000 * mpjpe(estimate, target - batch.joints[:, :1]),
        "estimate_pa": pa[:, 0],
        "mean_pa": 1000 * pa_mpjpe(mean, target),
        "best_pa": best_of(pa, HYPOTHESES),
    }


def _spread(batch: Batch, joints: Tensor) -> dict[str, Tensor]:
    """Coverage, standard deviations and reprojection, of visible joints or of occluded ones."""
    cov = published_moments(joints).cov
    error = same_distance(batch.joints[:, None], joints[:, 0])[:, 0] - joints[:, 0]
    inside = contains(cov, error)[:, LIMB_JOINTS].float()
    std = 1000 * cov.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt()[:, LIMB_JOINTS]
    away = (project(joints, batch.half_size) - batch.target[:, None]).norm(dim=-1).mean(1)
    visible = batch.visible[:, LIMB_JOINTS].bool()
    nan = torch.full_like(std, torch.nan)
    return {
        "coverage_visible": torch.where(visible, inside, nan).flatten(),
        "coverage_occluded": torch.where(visible, nan, inside).flatten(),
        "std_visible": torch.where(visible, std, nan).flatten(),
        "std_occluded": torch.where(visible, nan, std).flatten(),
        "reprojection": torch.where(visible, 50 * away[:, LIMB_JOINTS], nan).flatten(),
    }
