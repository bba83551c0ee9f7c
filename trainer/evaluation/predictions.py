"""Hypotheses of a method for every image of a benchmark, beside the ground truth.

Joints are the 12 of the limbs. Pixels are those of the 256 px crop that the landmark network saw.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.body import BodyModel
from engines.fitting.fit import HypothesisFitter
from engines.types import LIMB_JOINTS
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.estimation.fitted import fit_bodies
from trainer.evaluation.metrics import pve, same_distance
from trainer.methods.method import Method
from trainer.model.bodies import BodySamples

_CHUNK = 200
"""Images of which hypotheses are drawn at a time."""


@dataclass(frozen=True)
class Predictions:
    """Hypotheses of B images, and their ground truth.

    Positions are in metres with every body's own pelvis at the origin, or in px.
    """

    joints: Float[Tensor, "B N J 3"]
    target: Float[Tensor, "B J 3"]
    pixels: Float[Tensor, "B N J 2"]
    target_pixels: Float[Tensor, "B J 2"]
    level_joints: Float[Tensor, "B N J 3"]
    """In the view, all bodies moved to the distance of the best estimate."""
    level_target: Float[Tensor, "B J 3"]
    visible: Bool[Tensor, "B J"]
    num_occluded: Float[Tensor, "B"]
    """How many of all 24 joints are occluded."""
    entropy: Float[Tensor, "B"]
    """Mean negative log density of the draws; NaN where the method has no density."""


@torch.no_grad()
def predict(
    method: Method,
    samples: Batch,
    hypotheses: int,
    seed: int,
    fitter: HypothesisFitter | None = None,
    temperature: float = 1.0,
) -> Predictions:
    """Draw hypotheses for every image.

    Args:
        method: that draws them.
        samples: B images.
        hypotheses: N, the best estimate among them.
        seed: of the noise.
        fitter: fits them to the landmarks, if there is one.
        temperature: standard deviation of the noise; 1 is what the method was trained with.
    """
    parts = [
        _predict(method, samples.rows(rows), hypotheses, StepRng(seed, i, std=temperature), fitter)
        for i, rows in enumerate(torch.arange(samples.size).split(_CHUNK))
    ]
    return Predictions(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@torch.no_grad()
def surface_error(method: Method, samples: Batch, body: BodyModel) -> float:
    """PVE of the best estimate on the full mesh, pelvises together; mm, mean over images."""
    errors = []
    for rows in torch.arange(samples.size).split(_CHUNK):
        batch = samples.rows(rows)
        best = method.draw(batch, 1, StepRng(0, 0)).bodies
        # Both in the frame of the anchor: the rotation to the view is the same, and distances do
        # not depend on it.
        estimated = _surface(body, best)
        true = _surface(body, batch.bodies())
        origin = torch.zeros(len(rows), 3)
        errors.append(pve(estimated, true, origin, origin))
    return 1000 * torch.cat(errors).mean().item()


def _predict(
    method: Method, batch: Batch, count: int, rng: StepRng, fitter: HypothesisFitter | None
) -> tuple[Tensor, ...]:
    """The fields of `Predictions` for one batch, in their order."""
    hypotheses = method.draw(batch, count, rng)
    if fitter is not None:
        fitted = fit_bodies(fitter, method.priors.skeleton, batch, hypotheses.bodies)
        hypotheses = hypotheses._replace(bodies=fitted)
    joints = method.priors.joints(batch, hypotheses.bodies)
    target = batch.joints[:, None]
    limbs = list(LIMB_JOINTS)
    unknown = torch.full((batch.size,), torch.nan)
    log_q = hypotheses.log_q
    return (
        (joints - joints[:, :, :1])[:, :, limbs],
        (target - target[:, :, :1])[:, 0, limbs],
        _to_crop(batch.crop_from_view, joints)[:, :, limbs],
        _to_crop(batch.crop_from_view, target)[:, 0, limbs],
        same_distance(joints, joints[:, 0])[:, :, limbs],
        same_distance(target, joints[:, 0])[:, 0, limbs],
        batch.visible[:, limbs].bool(),
        (1 - batch.visible).sum(-1),
        unknown if log_q is None else -log_q[:, 1:].mean(1),
    )


def _to_crop(
    H: Float[Tensor, "B 3 3"], points: Float[Tensor, "B S J 3"]
) -> Float[Tensor, "B S J 2"]:
    homogeneous = torch.einsum("bij,bskj->bski", H, points)
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp_min(0.05)


def _surface(body: BodyModel, bodies: BodySamples) -> Float[Tensor, "B V 3"]:
    """Vertices of the first body of each image, metres, the pelvis at the origin."""
    shaped = body.shaped(bodies.betas[:, 0].numpy())
    posed = shaped.posed(bodies.rotvec[:, 0].numpy(), -shaped.rest_joints[..., 0, :])
    return torch.from_numpy(posed.vertices())
