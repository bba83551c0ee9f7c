r"""HuMoR's networks in torch, scaled down: conditional prior, encoder, decoder with latent skips.

    prior    x_{t-1}          -> mean, log std of z
    encoder  x_{t-1}, y_t     -> the same, only for training
    decoder  x_{t-1}, z       -> y_t, the step to the next body, and contacts

What HuMoR's decoder predicts twice (joints beside rotations, velocities beside both) follows here
from the step by kinematics, so that $p(y_t \mid x_{t-1}, z)$ is a density: normal, with one
standard deviation for each number (sigma-VAE: Rybkin et al., 2021). The decoder corrects the last
step, damped, which is exact for constant velocity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from engines.priors.motion.layout import CONTACTS, FPS, NUM_STATE, STEP, part

LOG_STD_RANGE = (-6.0, 2.0)
"""Bounds of the logarithm of the latent's standard deviation."""
LEAST_METRES = 0.002
LEAST_RADIANS = 0.004
"""Least standard deviations of a step: hinges of the recorded skeleton are stiffer than knees."""
LEAST_INPUT_STD = 0.05
"""Least scale of an input, so that small ones are not blown up."""


class Latent(NamedTuple):
    """Independent normals."""

    mean: Float[Tensor, "*B L"]
    log_std: Float[Tensor, "*B L"]

    def sample(self) -> Float[Tensor, "*B L"]:
        """Draw once, differentiably."""
        return self.mean + self.log_std.exp() * torch.randn_like(self.mean)

    def divergence(self, prior: "Latent") -> Float[Tensor, "*B"]:
        """KL(self || prior), nats."""
        ratio = 2 * (self.log_std - prior.log_std)
        away = (self.mean - prior.mean) / prior.log_std.exp()
        return 0.5 * (ratio.exp() + away.square() - 1 - ratio).sum(-1)


@dataclass(frozen=True)
class Widths:
    """Sizes of the networks."""

    latent: int = 32
    prior: tuple[int, ...] = (320, 320)
    encoder: tuple[int, ...] = (384, 384)
    decoder: tuple[int, ...] = (448, 448)


class HumorNetwork(nn.Module):
    """The three networks, the scales of what goes in and out, and the decoder's deviations."""

    rest: Tensor
    mean: Tensor
    std: Tensor
    least: Tensor
    scale: Tensor

    def __init__(
        self,
        widths: Widths,
        rest: Float[Tensor, "22 3"],
        states: Float[Tensor, "N F"],
        steps: Float[Tensor, "N 63"],
    ) -> None:
        """Take the scales from some states and steps of a body with these rest joints."""
        super().__init__()
        latent = widths.latent
        self.latent = latent
        self.register_buffer("rest", rest)
        self.register_buffer("mean", states.mean(0))
        self.register_buffer("std", states.std(0).clamp_min(LEAST_INPUT_STD))
        least = torch.full((STEP,), LEAST_RADIANS)
        least[:3] = LEAST_METRES
        self.register_buffer("least", least)
        self.register_buffer("scale", torch.maximum(steps.std(0), least))
        self.damping = nn.Parameter(torch.full((STEP,), 0.9))
        self.log_sigma = nn.Parameter(torch.log(0.3 * self.scale.clone()))
        self.prior_layers = _layers(NUM_STATE, widths.prior, 2 * latent)
        self.encoder_layers = _layers(NUM_STATE + STEP, widths.encoder, 2 * latent)
        self.decoder_layers = _layers(
            NUM_STATE + latent, widths.decoder, STEP + len(CONTACTS), skip=latent
        )
        with torch.no_grad():
            self.decoder_layers[-1].get_parameter("weight").mul_(0.1)

    def standardised(self, state: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
        """Scale a state as the networks read it."""
        return (state - self.mean) / self.std

    def prior(self, x: Float[Tensor, "*B F"]) -> Latent:
        """Return what is expected of the latent after a standardised state."""
        return _latent(_through(self.prior_layers, x))

    def encode(self, x: Float[Tensor, "*B F"], step: Float[Tensor, "*B 63"]) -> Latent:
        """Return what the step says of the latent."""
        return _latent(_through(self.encoder_layers, torch.cat([x, step / self.scale], -1)))

    def decode(
        self, state: Float[Tensor, "*B F"], x: Float[Tensor, "*B F"], z: Float[Tensor, "*B L"]
    ) -> tuple[Float[Tensor, "*B 63"], Float[Tensor, "*B 4"]]:
        """Return the step and the logits of the contacts; `x` is the standardised state."""
        out = _through(self.decoder_layers, x, z)
        return self.damping * last_step(state) + self.scale * out[..., :STEP], out[..., STEP:]

    @property
    def sigma(self) -> Float[Tensor, "63"]:
        """The standard deviation of a step, given state and latent."""
        return torch.maximum(self.log_sigma.exp(), self.least)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Everything but the encoder, by name."""
        arrays = {name: getattr(self, name) for name in ("mean", "std", "scale", "damping")}
        arrays["sigma"] = self.sigma
        for name, layers in (("prior", self.prior_layers), ("decoder", self.decoder_layers)):
            for i, layer in enumerate(layers):
                # The decoder's contacts only help in training: see engines.priors.motion.contact.
                last = name == "decoder" and i + 1 == len(layers)
                rows = slice(STEP if last else None)
                arrays[f"{name}.{i}.weight"] = layer.get_parameter("weight")[rows]
                arrays[f"{name}.{i}.bias"] = layer.get_parameter("bias")[rows]
        return {name: tensor.detach().numpy() for name, tensor in arrays.items()}


def last_step(state: Float[Tensor, "*B F"]) -> Float[Tensor, "*B 63"]:
    """The step that led to a state, its displacement in the axes after it."""
    names = ("root_velocity", "root_rate", "rates")
    return torch.cat([state[..., part(name)] for name in names], -1) / FPS


def _layers(inputs: int, hidden: tuple[int, ...], outputs: int, skip: int = 0) -> nn.ModuleList:
    widths = [inputs, *hidden, outputs]
    return nn.ModuleList(
        nn.Linear(before + (skip if i else 0), after)
        for i, (before, after) in enumerate(pairwise(widths))
    )


def _through(layers: nn.ModuleList, x: Tensor, skip: Tensor | None = None) -> Tensor:
    for i, layer in enumerate(layers):
        x = layer(x if skip is None else torch.cat([x, skip], -1))
        if i + 1 < len(layers):
            x = functional.silu(x)
    return x


def _latent(out: Tensor) -> Latent:
    mean, log_std = out.chunk(2, -1)
    return Latent(mean, log_std.clamp(*LOG_STD_RANGE))
