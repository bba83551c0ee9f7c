"""A short score of a method on pairs with known truth, for training; `trainer.evaluate` makes the
tables.
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
    """Means over pictures. Distances in millimetres; joints are the 12 of the limbs."""

    nll: float | None
    """Negative log density of the true body, nats; None where the method has no density."""
    entropy: float | None
    """Mean negative log density of the method's own samples, nats; None where it has no density."""
    center_mpjpe: float | None
    """Of the best estimate, pelvises together."""
    center_pa: float | None
    """Of the best estimate, after Procrustes alignment."""
    mean_pa: float | None
    """Of the mean of the hypotheses' joints, after Procrustes alignment."""
    best_pa: float | None
    """Of the best of 100 hypotheses, after Procrustes alignment."""
    coverage_visible: float | None
    """Share of true visible joints inside their raw 90 % ellipsoid, the common distance removed."""
    coverage_hidden: float | None
    std_visible: float | None
    """Median standard deviation of visible joints."""
    std_hidden: float | None
    reprojection: float | None
    """Mean distance of hypotheses' visible joints to the truth in the picture, % of the person's
    size.
    """

    @staticmethod
    def unknown() -> "Scores":
        """Before anything was scored."""
        return Scores(*[None] * len(fields(Scores)))


@torch.no_grad()
def score(method: Method, pairs: Batch, chunk: int = 250, seed: int = 1) -> Scores:
    """Score a method on pairs; the same seed draws the same noise."""
    method.eval()
    device = method.priors.J_template.device
    chunks = torch.arange(pairs.size).split(chunk)
    rows = [
        _score(method, pairs.rows(index).to(device), StepRng(seed, i, device=device))
        for i, index in enumerate(chunks)
    ]
    columns = {name: torch.cat([row[name] for row in rows]).float() for name in rows[0]}
    return Scores(**{name: _summary(name, value) for name, value in columns.items()})


def _summary(name: str, values: Tensor) -> float | None:
    """Medians for standard deviations, means for the rest; entries that do not apply are NaN."""
    value = (values.nanmedian() if name.startswith("std") else values.nanmean()).item()
    return None if value != value else round(value, 3)


def _score(method: Method, batch: Batch, rng: StepRng) -> dict[str, Tensor]:
    drawn = method.draw(batch, HYPOTHESES, rng)
    joints = method.priors.joints(batch, drawn.bodies)
    limbs, truth = joints[:, :, LIMB_JOINTS], batch.joints[:, LIMB_JOINTS]
    centered = truth - batch.joints[:, :1]
    pa = 1000 * pa_mpjpe(limbs, truth[:, None].expand_as(limbs))
    mean, cov = published_moments(joints)
    error = same_distance(batch.joints[:, None], joints[:, 0])[:, 0] - joints[:, 0]
    inside = contains(cov, error)[:, LIMB_JOINTS].float()
    std = 1000 * (cov.diagonal(dim1=-2, dim2=-1).mean(-1)).sqrt()[:, LIMB_JOINTS]
    seen = batch.visible[:, LIMB_JOINTS].bool()
    miss = (
        (project(joints, batch.half_size) - batch.target[:, None])
        .norm(dim=-1)
        .mean(1)[:, LIMB_JOINTS]
    )
    nan = torch.full_like(std, torch.nan)
    log_prob = method.log_prob(batch)
    return {
        "nll": -log_prob if log_prob is not None else nan[:, 0],
        "entropy": -drawn.log_q[:, 1:].mean(1) if drawn.log_q is not None else nan[:, 0],
        "center_mpjpe": 1000 * mpjpe(limbs[:, 0] - joints[:, 0, :1], centered),
        "center_pa": pa[:, 0],
        "mean_pa": 1000 * pa_mpjpe(mean[:, LIMB_JOINTS], truth),
        "best_pa": best_of(pa, HYPOTHESES),
        "coverage_visible": torch.where(seen, inside, nan).flatten(),
        "coverage_hidden": torch.where(seen, nan, inside).flatten(),
        "std_visible": torch.where(seen, std, nan).flatten(),
        "std_hidden": torch.where(seen, nan, std).flatten(),
        "reprojection": torch.where(seen, 50 * miss, nan).flatten(),
    }
