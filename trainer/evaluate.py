"""How good a flow is on pairs with known truth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.types import LIMB_JOINTS
from trainer.data import Pairs
from trainer.flow import DIM, PoseFlow
from trainer.kinematics import Skeleton, project, view_joints
from trainer.metrics import best_of, contains, mpjpe, pa_mpjpe

HYPOTHESES = 100


@dataclass(frozen=True)
class Scores:
    """Means over pictures. Distances in millimetres; joints are the 12 of the limbs."""

    nll: float
    """Negative log density of the true body, nats."""
    entropy: float
    center_mpjpe: float
    """Of the flow's centre, pelvises together."""
    center_pa: float
    """Of the flow's centre, after Procrustes alignment."""
    mean_pa: float
    """Of the mean of the hypotheses' joints, after Procrustes alignment."""
    best_pa: float
    """Of the best of 100 hypotheses, after Procrustes alignment."""
    coverage_visible: float
    """Share of true visible joints inside their raw 90 % ellipsoid, the common distance removed."""
    coverage_hidden: float
    std_visible: float
    """Median standard deviation of visible joints."""
    std_hidden: float
    reprojection: float
    """Mean distance of hypotheses' visible joints to the truth in the picture, % of the person's size."""
    visible_accuracy: float
    """Share of joints whose visibility is told right, %."""


@torch.no_grad()
def evaluate(flow: PoseFlow, skeleton: Skeleton, pairs: Pairs, chunk: int = 250, seed: int = 1) -> Scores:
    """Score a flow on pairs; the same seed draws the same noise."""
    flow.eval()
    z = torch.randn(1, HYPOTHESES, DIM, generator=torch.Generator().manual_seed(seed))
    z[:, 0] = 0.0
    rows = [_score(flow, skeleton, pairs.rows(index), z) for index in torch.arange(pairs.size).split(chunk)]
    columns = {name: torch.cat([row[name] for row in rows]).float() for name in rows[0]}
    return Scores(**{name: _summary(name, value) for name, value in columns.items()})


def _summary(name: str, values: Tensor) -> float:
    """Medians for standard deviations, means for the rest; entries that do not apply are NaN."""
    value = values.nanmedian() if name.startswith("std") else values.nanmean()
    return round(value.item(), 3)


def _score(flow: PoseFlow, skeleton: Skeleton, batch: Pairs, z: Tensor) -> dict[str, Tensor]:
    context = flow.encoder(batch.features)
    bodies, log_q = flow.sample(context, z.expand(batch.size, -1, -1))
    joints = view_joints(skeleton, batch.R_anchor, batch.half, bodies)
    limbs, truth = joints[:, :, LIMB_JOINTS], batch.joints[:, LIMB_JOINTS]
    centered = truth - batch.joints[:, :1]
    pa = 1000 * pa_mpjpe(limbs, truth[:, None].expand_as(limbs))
    mean, cov = moments(joints)
    error = _same_distance(batch.joints[:, None], joints[:, 0])[:, 0] - joints[:, 0]
    inside = contains(cov, error)[:, LIMB_JOINTS].float()
    std = 1000 * (cov.diagonal(dim1=-2, dim2=-1).mean(-1)).sqrt()[:, LIMB_JOINTS]
    seen = batch.visible[:, LIMB_JOINTS].bool()
    miss = (project(joints, batch.half) - batch.target[:, None]).norm(dim=-1).mean(1)[:, LIMB_JOINTS]
    nan = torch.full_like(std, torch.nan)
    return {
        "nll": -flow.log_prob(context, batch.bodies())[:, 0],
        "entropy": -log_q[:, 1:].mean(1),
        "center_mpjpe": 1000 * mpjpe(limbs[:, 0] - joints[:, 0, :1], centered),
        "center_pa": pa[:, 0],
        "mean_pa": 1000 * pa_mpjpe(mean[:, LIMB_JOINTS], truth),
        "best_pa": best_of(pa, HYPOTHESES),
        "coverage_visible": torch.where(seen, inside, nan).flatten(),
        "coverage_hidden": torch.where(seen, nan, inside).flatten(),
        "std_visible": torch.where(seen, std, nan).flatten(),
        "std_hidden": torch.where(seen, nan, std).flatten(),
        "reprojection": torch.where(seen, 50 * miss, nan).flatten(),
        "visible_accuracy": 100.0 * ((context.visible_logits > 0) == batch.visible.bool()).float().mean(-1),
    }


def moments(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, J, 3) and covariance (B, J, 3, 3) of samples (B, S, J, 3), the common distance removed.

    What `engines.kernels.moments` does for one picture; here batched and differentiable.
    """
    level = _same_distance(joints, joints[:, 0])
    mean = level.mean(1)
    spread = level - mean[:, None]
    return mean, torch.einsum("bsja,bsjc->bjac", spread, spread) / joints.shape[1]


def _same_distance(joints: Tensor, reference: Tensor) -> Tensor:
    """Shift bodies (B, S, J, 3) along the ray of the reference's pelvis until the pelvises are equally far."""
    ray = torch.nn.functional.normalize(reference[:, 0], dim=-1)
    along = ((joints[:, :, 0] - reference[:, None, 0]) * ray[:, None]).sum(-1)
    return joints - along[..., None, None] * ray[:, None, None]
