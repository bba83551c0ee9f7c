"""Every value of the tables for one method on one benchmark.

Joints are the 12 of the limbs. Pixels are those of the 256 px crop that the landmark network saw.
Uncertainty is the method's own: not calibrated, the common distance along the viewing ray removed.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from calib import metrics as reliability
from engines.covariance import squared_mahalanobis
from engines.errors import PenumbraError
from engines.fitting.fit import HypothesisFitter
from engines.kernels import Skeleton
from trainer.data.samples import Batch
from trainer.evaluation import metrics
from trainer.evaluation.predictions import Predictions, predict
from trainer.methods.method import Method

BEST_OF = (1, 5, 10, 25, 100)
QUANTISED = (5, 10, 25)
_SMALLEST_GROUP = 10
"""Numbers of occluded joints that fewer images have do not count for the rank of the entropy."""


@dataclass(frozen=True)
class MeasureConfig:
    """How it is measured."""

    hypotheses: int = 100
    """At least 3; what needs more than there are is left out."""
    diverse: int = 25
    """Hypotheses that AH, WH, PJD and RD are taken of."""
    quantised_images: int = 100
    """Images that the quantised selection is done on, evenly spread: its k-means is slow."""
    confident_share: float = 0.8
    """Share of joints that count as confident."""
    wrong_m: float = 0.15
    """An error from which a joint is wrong, metres."""
    floor_m: float = 0.004
    """Added to every axis of a covariance: a method without spread would have none."""
    seed: int = 11
    temperature: float = 1.0
    """Standard deviation of the noise that hypotheses are made of; 1 is the method as trained."""
    fit: bool = False
    """Fit the hypotheses of every method to the visible landmarks first."""


def measure(method: Method, samples: Batch, config: MeasureConfig) -> dict[str, float | None]:
    """Measure one method; None stands for values that do not apply.

    Raises:
        PenumbraError: there are too few hypotheses to say anything about a spread.
    """
    if config.hypotheses < 3:
        raise PenumbraError(
            f"measure.hypotheses: must be at least 3, not {config.hypotheses}, to have a spread;"
            " ask for more."
        )
    fitter = None
    if config.fit:
        J_template, J_shapedirs = (part.cpu().numpy() for part in method.priors.skeleton)
        fitter = HypothesisFitter(Skeleton(J_template, J_shapedirs), config.hypotheses)
    predictions = predict(
        method, samples, config.hypotheses, config.seed, fitter, config.temperature
    )
    values = accuracy(predictions, config)
    values |= diversity(predictions, config)
    values |= uncertainty(predictions, config)
    return {
        name: round(value, 4) if math.isfinite(value) else None for name, value in values.items()
    }


def accuracy(predictions: Predictions, config: MeasureConfig) -> dict[str, float]:
    """Errors of the best estimate, of the best of n and of the best of a quantised n, mm."""
    target = predictions.target[:, None].expand_as(predictions.joints)
    pa = 1000 * metrics.pa_mpjpe(predictions.joints, target)
    mpjpe = 1000 * metrics.mpjpe(predictions.joints, target)
    some = torch.linspace(0, len(pa) - 1, min(config.quantised_images, len(pa))).long()
    names = [f"{name}_{n}" for n in BEST_OF for name in ("pa_best", "mpjpe_of_pa_best")]
    names += ["pa_best_25_of_those", *(f"pa_quantised_{n}" for n in QUANTISED)]
    values = dict.fromkeys(names, math.nan)
    for n in (n for n in BEST_OF if n <= config.hypotheses):
        # The same hypothesis in both columns: no two minima in one row.
        index = metrics.best_index(pa, n)
        values[f"pa_best_{n}"] = metrics.choose(pa, index).mean().item()
        values[f"mpjpe_of_pa_best_{n}"] = metrics.choose(mpjpe, index).mean().item()
        if n == 25:
            values["pa_best_25_of_those"] = metrics.choose(pa, index)[some].mean().item()
    for n in (n for n in QUANTISED if n <= config.hypotheses):
        chosen = metrics.quantise(predictions.joints[some], n, root=None)
        values[f"pa_quantised_{n}"] = pa[some].gather(1, chosen).min(1).values.mean().item()
    return values


def diversity(predictions: Predictions, config: MeasureConfig) -> dict[str, float]:
    """Agreement on visible joints, difference in occluded ones."""
    some = slice(0, config.diverse)
    visible = predictions.visible.bool()
    errors = metrics.pixel_errors(predictions.pixels[:, some], predictions.target_pixels)
    worst = metrics.worst_of(metrics.per_image(errors, visible))
    pjd_2d = metrics.pjd(predictions.pixels[:, some])
    pjd_3d = metrics.pjd(predictions.joints[:, some])
    spread = metrics.sample_diversity(predictions.joints)
    consistency = metrics.sample_input_consistency(
        predictions.pixels[:, 1:], predictions.target_pixels, visible
    )
    return {
        "ah_px": metrics.group_mean(errors, visible).item(),
        "wh_px": metrics.weighted_mean(worst, visible.sum(-1)).item(),
        "pjd_2d_visible_px": metrics.group_mean(pjd_2d, visible).item(),
        "pjd_3d_occluded_mm": 1000 * metrics.group_mean(pjd_3d, ~visible).item(),
        "rd": metrics.rd(pjd_2d, pjd_3d, visible, ~visible).item(),
        "consistency_px": consistency.item(),
        "spread_visible_mm": 1000 * metrics.group_mean(spread, visible).item(),
        "spread_occluded_mm": 1000 * metrics.group_mean(spread, ~visible).item(),
    }


def uncertainty(predictions: Predictions, config: MeasureConfig) -> dict[str, float]:
    """Calibration metrics: how well the predicted spread describes the errors."""
    target = predictions.level_target
    center = predictions.level_joints[:, 0]
    draws = predictions.level_joints[:, 1:]
    cov = metrics.sample_moments(predictions.level_joints).cov + config.floor_m**2 * torch.eye(3)
    error = (target - center).norm(dim=-1)
    # Rounded, so that rounding errors do not rank.
    std = (cov.diagonal(dim1=-2, dim2=-1).sum(-1) / 3).sqrt().round(decimals=6)
    d2 = squared_mahalanobis(cov.double().numpy(), (target - center).double().numpy())
    everywhere = torch.ones_like(predictions.visible, dtype=torch.bool)
    tau = metrics.operating_point(std, everywhere, config.confident_share)
    rates = metrics.error_rates(error, std, everywhere, config.wrong_m, tau)
    sparsification = reliability.sparsification(error.flatten().numpy(), std.flatten().numpy())
    ranks = reliability.spearman_within_joint(error.numpy(), std.numpy())
    values = {
        "nll": metrics.gaussian_nll(center, cov, target).mean().item(),
        "energy_mm": 1000 * metrics.energy_score(draws, target).mean().item(),
        "energy_body_mm": 1000 * metrics.body_energy_score(draws, target).mean().item(),
        "confident_error": 100 * rates.confident_error,
        "ece": float(reliability.expected_calibration_error(d2)),
        "ause": float(sparsification.ause),
        "spearman": _mean_of_known(ranks),
        "entropy_rank": entropy_rank(predictions),
        "entropy_rank_images": reliability.spearman(
            predictions.num_occluded.numpy(), predictions.entropy.numpy()
        ),
    }
    visible = predictions.visible.bool()
    values |= _coverage(d2, everywhere.numpy(), "")
    values |= _coverage(d2, visible.numpy(), "_visible")
    return values | _coverage(d2, ~visible.numpy(), "_occluded")


def entropy_rank(predictions: Predictions) -> float:
    """Spearman's correlation of the number of occluded joints with the entropy.

    The entropy is the mean over the images that have so many.
    """
    numbers, sizes = predictions.num_occluded.unique(return_counts=True)
    counts = numbers[sizes >= _SMALLEST_GROUP]
    means = [predictions.entropy[predictions.num_occluded == n].mean().item() for n in counts]
    return reliability.spearman(counts.numpy(), np.array(means))


def _coverage(d2: Float[np.ndarray, "B J"], group: np.ndarray, suffix: str) -> dict[str, float]:
    """Shares (%) of a group inside its ellipsoids; NaN where a benchmark has no such joint."""
    levels = reliability.LEVELS
    shares = reliability.coverage(d2[group]) if group.any() else np.full(len(levels), np.nan)
    return {
        f"coverage_{100 * level:.0f}{suffix}": 100 * float(share)
        for level, share in zip(levels, shares, strict=True)
    }


def _mean_of_known(values: Float[np.ndarray, "J"]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
