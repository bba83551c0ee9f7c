"""Blur of what the flow is given, so that it cannot tell one stored answer from the others.

A bank and rendered samples are met hundreds of times in a training. Visibility, presence and peaks
of 33 landmarks name an answer as a fingerprint does, and a flow that recognises an answer knows its
error: on people it has never met it is then too sure of itself.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engines.flow.features import LAYOUT_2D
from trainer.data.rng import StepRng
from trainer.data.samples import Batch

_PROBABILITIES = ("visibility", "presence", "peak")
_BOUND = 1e-4
"""Distance of a probability from 0 and 1 at least, so that its logit is finite."""


@dataclass(frozen=True)
class JitterConfig:
    """Standard deviations of what is added."""

    points: float = 0.004
    """To landmarks, in half sizes of the person."""
    logits: float = 0.5
    """To the logits of the network's probabilities."""


def jittered(batch: Batch, config: JitterConfig, rng: StepRng) -> Batch:
    """Return the samples with other features, which are `landmarks_2d`."""
    features = batch.features.clone()
    points = features[:, LAYOUT_2D["points"]]
    features[:, LAYOUT_2D["points"]] = points + config.points * rng.normal(*points.shape)
    for name in _PROBABILITIES:
        part = features[:, LAYOUT_2D[name]]
        blurred = _blurred(part, config.logits * rng.normal(*part.shape))
        unknown = part == 0 if name == "peak" else torch.zeros_like(part, dtype=torch.bool)
        features[:, LAYOUT_2D[name]] = torch.where(unknown, part, blurred)
    return batch._replace(features=features)


def _blurred(part: Float[Tensor, "N 33"], shift: Float[Tensor, "N 33"]) -> Float[Tensor, "N 33"]:
    """Shift the logits of probabilities that are given in [-1, 1]."""
    logits = torch.logit((0.5 * (part + 1)).clamp(_BOUND, 1 - _BOUND))
    return 2 * torch.sigmoid(logits + shift) - 1
