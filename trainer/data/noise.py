"""Noise on what the landmark network said: renders are cleaner than the world."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.flow.features import LAYOUT, NUM_FEATURES
from trainer.data.rng import StepRng


@dataclass(frozen=True)
class NoiseConfig:
    """Standard deviations added to the features."""

    points: float = 0.006
    """Share of half the person's size."""
    depth: float = 0.025
    world: float = 0.008
    """Metres."""
    confidence: float = 0.05
    """Visibility and presence, in [-1, 1]."""


def with_noise(features: Tensor, config: NoiseConfig, rng: StepRng) -> Tensor:
    """Perturb features (their order is `engines.flow.features.landmark_features`'s); each image
    has its own strength.
    """
    std = torch.zeros(NUM_FEATURES)
    for part, value in (
        ("points", config.points),
        ("depth", config.depth),
        ("visibility", config.confidence),
        ("presence", config.confidence),
        ("world", config.world),
    ):
        std[LAYOUT[part]] = value
    std = std.to(features.device)
    count = len(features)
    return features + 2 * rng.uniform(count, 1) * std * rng.normal(count, features.shape[1])
