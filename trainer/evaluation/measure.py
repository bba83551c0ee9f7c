"""Everything that the tables say about one method on one benchmark.

Joints are the 12 of the limbs. Pixels are those of the 256 px crop that the landmark network saw.
Uncertainty is the method's
own: no calibration, the common distance along the viewing ray removed (see the README).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from calib import metrics as reliability
from engines.body import BodyModel
from engines.covariance import squared_mahalanobis
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.evaluation import metrics
from trainer.methods.method import Method
from trainer.model.bodies import Bodies

BEST_OF = (1, 5, 10, 25, 100)
QUANTISED = (5, 10, 25)
_CHUNK = 200


@dataclass(frozen=True)
class MeasureConfig:
    """How it is measured."""

    hypotheses: int = 100
    """At least 3; what needs more than there are is left out."""
    diverse: int = 25
    """Hypotheses that AH, WH, PJD and RD are taken of."""
    quantised_pictures: int = 100
    """Pictures that the quantised selection is done on, evenly spread: its k-means is slow."""
    confident_share: float = 0.8
    """Share of joints that count as confident."""
    wrong_m: float = 0.15
    """An error from which a joint is wrong, metres."""
    floor_m: float = 0.004
    """Added to every axis of a covariance: a method without spread would have none."""
    seed: int = 11


@dataclass(frozen=True)
class Judged:
    """Hypotheses of all pictures beside the truth; limb joints, metres, pelvises of every body at
    the origin, or px.
    """

    joints: Float[Tensor, "B N J 3"]
    truth: Float[Tensor, "B J 3"]
    pixels: Float[Tensor, "B N J 2"]
    truth_pixels: Float[Tensor, "B J 2"]
    level: Float[Tensor, "B N J 3"]
    """In the view, all bodies as far as the best estimate."""
    level_truth: Float[Tensor, "B J 3"]
    visible: Float[Tensor, "B J"]
    hidden_joints: Float[Tensor, "B"]
    """How many of all 24 cannot be seen."""
    entropy: Float[Tensor, "B"]
    """Mean negative log density of the draws; NaN where the method has no density."""


@torch.no_grad()
def judge(method: Method, pairs: Batch, config: MeasureConfig) -> Judged:
    """Draw hypotheses for every picture."""
    parts = [
        _judge(method, pairs.rows(rows), StepRng(config.seed, i), config.hypotheses)
        for i, rows in enumerate(torch.arange(pairs.size).split(_CHUNK))
    ]
    return Judged(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _judge(method: Method, batch: Batch, rng: StepRng, count: int) -> tuple[Tensor, ...]:
    drawn = method.draw(batch, count, rng)
    joints = method.priors.joints(batch, drawn.bodies)
    truth, limbs = batch.joints[:, None], list(LIMB_JOINTS)
    return (
        (joints - joints[:, :, :1])[:, :, limbs],
        (truth - truth[:, :, :1])[:, 0, limbs],
        _crop_px(batch.crop_from_view, joints)[:, :, limbs],
        _crop_px(batch.crop_from_view, truth)[:, 0, limbs],
        metrics.same_distance(joints, joints[:, 0])[:, :, limbs],
        metrics.same_distance(truth, joints[:, 0])[:, 0, limbs],
        batch.visible[:, limbs].bool(),
        (1 - batch.visible).sum(-1),
        -drawn.log_q[:, 1:].mean(1)
        if drawn.log_q is not None
        else torch.full_like(batch.half_size, torch.nan),
    )


def _crop_px(
    H: Float[Tensor, "B 3 3"], points: Float[Tensor, "B S J 3"]
) -> Float[Tensor, "B S J 2"]:
    homogeneous = torch.einsum("bij,bskj->bski", H, points)
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp_min(0.05)


@torch.no_grad()
def surface_error(method: Method, pairs: Batch, body: BodyModel) -> float:
    """PVE of the best estimate on the full mesh, pelvises together; millimetres, mean over
    pictures.
    """
    errors = []
    for rows in torch.arange(pairs.size).split(_CHUNK):
        batch = pairs.rows(rows)
        best = method.draw(batch, 1, StepRng(0, 0)).bodies
        # Both as the anchor has them: the rotation that they lack is the same, and distances do not
        # see it.
        skins = [_skin(body, bodies) for bodies in (best, batch.bodies())]
        errors.append(
            metrics.pve(skins[0], skins[1], torch.zeros(len(rows), 3), torch.zeros(len(rows), 3))
        )
    return 1000 * torch.cat(errors).mean().item()


def _skin(body: BodyModel, bodies: Bodies) -> Float[Tensor, "B V 3"]:
    """With the pelvis at the origin."""
    shaped = body.shaped(bodies.betas[:, 0].numpy())
    posed = shaped.posed(bodies.rotvec[:, 0].numpy(), -shaped.rest_joints[..., 0, :])
    return torch.from_numpy(posed.vertices())


def measure(method: Method, pairs: Batch, config: MeasureConfig) -> dict[str, float | None]:
    """All values of one method; None where one does not apply.

    Raises:
        PenumbraError: if there are too few hypotheses to say anything about a spread.
    """
    if config.hypotheses < 3:
        raise PenumbraError(
            f"--measure.hypotheses {config.hypotheses} have no spread; ask for at least 3."
        )
    judged = judge(method, pairs, config)
    values = accuracy(judged, config) | diversity(judged, config) | trust(judged, config)
    return {
        name: round(value, 4) if math.isfinite(value) else None for name, value in values.items()
    }


def accuracy(judged: Judged, config: MeasureConfig) -> dict[str, float]:
    """Of one estimate and of the best of n; millimetres."""
    truth = judged.truth[:, None].expand_as(judged.joints)
    pa, raw = (
        1000 * metrics.pa_mpjpe(judged.joints, truth),
        1000 * metrics.mpjpe(judged.joints, truth),
    )
    some = torch.linspace(0, len(pa) - 1, min(config.quantised_pictures, len(pa))).long()
    names = [f"{name}_{n}" for n in BEST_OF for name in ("pa_best", "mpjpe_of_pa_best")]
    values = dict.fromkeys(
        [*names, "pa_best_25_of_those", *(f"pa_quantised_{n}" for n in QUANTISED)], math.nan
    )
    for n in (n for n in BEST_OF if n <= config.hypotheses):
        # The same hypothesis in both columns: no two minima in one row.
        index = metrics.best_index(pa, n)
        values[f"pa_best_{n}"] = metrics.choose(pa, index).mean().item()
        values[f"mpjpe_of_pa_best_{n}"] = metrics.choose(raw, index).mean().item()
        if n == 25:
            values["pa_best_25_of_those"] = metrics.choose(pa, index)[some].mean().item()
    for n in (n for n in QUANTISED if n <= config.hypotheses):
        chosen = metrics.quantise(judged.joints[some], n, root=None)
        values[f"pa_quantised_{n}"] = pa[some].gather(1, chosen).min(1).values.mean().item()
    return values


def diversity(judged: Judged, config: MeasureConfig) -> dict[str, float]:
    """Agreement on what is seen, difference in what is not."""
    some, seen = slice(0, config.diverse), judged.visible.bool()
    errors = metrics.pixel_errors(judged.pixels[:, some], judged.truth_pixels)
    pjd_2d, pjd_3d = metrics.pjd(judged.pixels[:, some]), metrics.pjd(judged.joints[:, some])
    worst = metrics.worst_of(metrics.per_picture(errors, seen))
    return {
        "ah_px": metrics.group_mean(errors, seen).item(),
        "wh_px": metrics.weighted_mean(worst, seen.sum(-1)).item(),
        "pjd_2d_visible_px": metrics.group_mean(pjd_2d, seen).item(),
        "pjd_3d_hidden_mm": 1000 * metrics.group_mean(pjd_3d, ~seen).item(),
        "rd": metrics.rd(pjd_2d, pjd_3d, seen, ~seen).item(),
        "consistency_px": metrics.sample_input_consistency(
            judged.pixels[:, 1:], judged.truth_pixels, seen
        ).item(),
        "spread_visible_mm": 1000
        * metrics.group_mean(metrics.sample_diversity(judged.joints), seen).item(),
        "spread_hidden_mm": 1000
        * metrics.group_mean(metrics.sample_diversity(judged.joints), ~seen).item(),
    }


def entropy_rank(judged: Judged, smallest: int = 10) -> float:
    """Spearman's correlation of the number of hidden joints with the mean entropy of the pictures
    that have so many.
    """
    counts = [
        int(n)
        for n in judged.hidden_joints.unique()
        if (judged.hidden_joints == n).sum() >= smallest
    ]
    means = [judged.entropy[judged.hidden_joints == n].mean().item() for n in counts]
    return reliability.spearman(np.array(counts), np.array(means))


def _mean_of_known(values: Float[np.ndarray, "J"]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan


def trust(judged: Judged, config: MeasureConfig) -> dict[str, float]:
    """How far the spread can be trusted."""
    center = judged.level[:, 0]
    cov = metrics.sample_moments(judged.level).cov + config.floor_m**2 * torch.eye(3)
    error = (judged.level_truth - center).norm(dim=-1)
    std = (
        (cov.diagonal(dim1=-2, dim2=-1).sum(-1) / 3).sqrt().round(decimals=6)
    )  # rounding errors shall not rank
    d2 = squared_mahalanobis(cov.double().numpy(), (judged.level_truth - center).double().numpy())
    everywhere, seen = torch.ones_like(judged.visible, dtype=torch.bool), judged.visible.bool()
    tau = metrics.operating_point(std, everywhere, config.confident_share)
    rates = metrics.error_rates(error, std, everywhere, config.wrong_m, tau)
    draws = judged.level[:, 1:]
    values = {
        "nll": metrics.gaussian_nll(center, cov, judged.level_truth).mean().item(),
        "energy_mm": 1000 * metrics.energy_score(draws, judged.level_truth).mean().item(),
        "energy_body_mm": 1000 * metrics.body_energy_score(draws, judged.level_truth).mean().item(),
        "confident_error": 100 * rates.confident_error,
        "ece": float(reliability.expected_calibration_error(d2)),
        "ause": float(
            reliability.sparsification(error.flatten().numpy(), std.flatten().numpy()).ause
        ),
        "spearman": _mean_of_known(reliability.spearman_within_joint(error.numpy(), std.numpy())),
        "entropy_rank": entropy_rank(judged),
        "entropy_rank_pictures": reliability.spearman(
            judged.hidden_joints.numpy(), judged.entropy.numpy()
        ),
    }
    for name, group in (("", everywhere), ("_visible", seen), ("_hidden", ~seen)):
        known = bool(group.any())  # a benchmark may hide nothing
        shares = (
            reliability.coverage(d2[group.numpy()])
            if known
            else np.full(len(reliability.LEVELS), np.nan)
        )
        values |= {
            f"coverage_{100 * level:.0f}{name}": 100 * float(share)
            for level, share in zip(reliability.LEVELS, shares, strict=True)
        }
    return values
