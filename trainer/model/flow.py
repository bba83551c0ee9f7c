r"""The conditional normalising flow over a whole body: orientation, 23 joint rotations, shape and
camera.

A body is a point of $SO(3)^{24} \times \mathbb{R}^{10} \times \mathbb{R}^3$. The flow works on 85
real numbers
$x$ = (24 x 3 rotation coordinates, 10 betas, 3 camera numbers) and maps noise $z \sim N(0, I)$ to
them in one pass:

    z -> affine couplings (scale and shift depend on the context) -> affine by context ->
    standardise -> x -> SO(3)

Every log-determinant depends on the image through the context, so the volume of the posterior
does too: an entropy term reaches the encoder, and occluded joints can spread while visible ones do
not. `trainer.model.so3` has the rotation part, `trainer.model.bodies` says what the numbers mean.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.types import NUM_BETAS, NUM_JOINTS
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.encoder import Encoder, EncoderConfig

ROT = 3 * NUM_JOINTS
DIM = ROT + NUM_BETAS + 3


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of the network."""

    couplings: int = 8
    hidden: int = 192
    """Width inside a coupling: this is paid for every hypothesis, the encoder only once a frame."""
    max_log_scale: float = 2.0
    """Bound of a coupling's log scale."""
    seed: int = 7
    """Draws the fixed permutations between couplings."""


class Context(NamedTuple):
    """What the flow takes from an image, computed once for all its hypotheses."""

    injected: Float[Tensor, "B C 2 H"]
    """What is added inside each coupling."""
    shift: Float[Tensor, "B D"]
    log_scale: Float[Tensor, "B D"]
    visible_logits: Float[Tensor, "B 24"]


class Conditioner(nn.Module):
    """One linear layer from the encoder's vector to everything that the flow takes from the
    image.
    """

    def __init__(self, config: FlowConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.inject = nn.Linear(width, config.couplings * 2 * config.hidden)
        self.affine = nn.Linear(width, 2 * DIM)
        self.visible = nn.Linear(width, NUM_JOINTS)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(self, h: Float[Tensor, "B W"]) -> Context:
        """The context of a batch of images."""
        injected = self.inject(h).unflatten(-1, (self.config.couplings, 2, self.config.hidden))
        shift, raw = self.affine(h).chunk(2, -1)
        return Context(injected, shift, _soft_bound(raw - 1.0, 5.0), self.visible(h))


class AffineCoupling(nn.Module):
    """Half of the numbers scale and shift the other half."""

    def __init__(self, config: FlowConfig, dim: int = DIM) -> None:
        """Initialise to the identity on `dim` numbers."""
        super().__init__()
        self.kept = dim // 2
        self.bound = config.max_log_scale
        self.first = nn.Linear(self.kept, config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden)
        self.last = nn.Linear(config.hidden, 2 * (dim - self.kept))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def scale_and_shift(
        self, kept: Float[Tensor, "B S A"], injected: Float[Tensor, "B 2 H"]
    ) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the other half."""
        h = nn.functional.silu(self.first(kept) + injected[:, None, 0])
        h = nn.functional.silu(self.second(h) + injected[:, None, 1])
        raw, shift = self.last(h).chunk(2, -1)
        return _soft_bound(raw, self.bound), shift


class PoseFlow(nn.Module):
    """The posterior q(body | features)."""

    mean: Tensor
    std: Tensor
    radius: Tensor
    permutations: Tensor

    def __init__(self, config: FlowConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(encoder)
        self.conditioner = Conditioner(config, encoder.width)
        self.couplings = nn.ModuleList(
            AffineCoupling(self.config) for _ in range(self.config.couplings)
        )
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("std", torch.ones(DIM))
        # The orientation may be half a turn off the anchor, so its ball overlaps itself there; a
        # body joint never is.
        self.register_buffer("radius", torch.tensor([1.5 * math.pi] + [math.pi] * (NUM_JOINTS - 1)))
        generator = torch.Generator().manual_seed(self.config.seed)
        order = [torch.randperm(DIM, generator=generator) for _ in range(self.config.couplings)]
        self.register_buffer("permutations", torch.stack(order))

    def encode(self, features: Float[Tensor, "B F"]) -> Context:
        """Encode the features of a batch of images."""
        return self.conditioner(self.encoder(features))

    def standardise(self, bodies: BodySamples) -> None:
        """Take mean and spread of the flow's coordinates from a sample of bodies (B, 1, ...)."""
        x = self._coordinates(bodies)[:, 0]
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-2))

    def sample(
        self, context: Context, z: Float[Tensor, "B S D"]
    ) -> tuple[BodySamples, Float[Tensor, "B S"]]:
        """Map noise to bodies.

        Returns:
            The bodies and their log density, rotations against the Haar measure. Where the
            orientation is more than a quarter turn off the anchor the twin branch of `so3` is left
            out of it (`log_prob` has both).
        """
        u, log_det = z, self.std.log().sum() + context.log_scale.sum(-1, keepdim=True)
        for i, coupling in enumerate(self._layers()):
            u = u[..., self.permutations[i]]
            kept, moved = u[..., : coupling.kept], u[..., coupling.kept :]
            log_scale, shift = coupling.scale_and_shift(kept, context.injected[:, i])
            u = torch.cat([kept, moved * log_scale.exp() + shift], -1)
            log_det = log_det + log_scale.sum(-1)
        u = u * context.log_scale[:, None].exp() + context.shift[:, None]
        x = u * self.std + self.mean
        rotations = x[..., :ROT].unflatten(-1, (NUM_JOINTS, 3))
        y = so3.radial_tanh(rotations, self.radius)
        volume = so3.radial_tanh_log_det(rotations, self.radius) + so3.exp_log_det(y)
        log_q = log_standard_normal(z) - log_det - volume.sum(-1)
        return BodySamples(y, x[..., ROT : ROT + NUM_BETAS], x[..., ROT + NUM_BETAS :]), log_q

    def log_prob(self, context: Context, bodies: BodySamples) -> Float[Tensor, "B S"]:
        """Exact log density of bodies, rotations against the Haar measure."""
        log_q = self._log_branch(context, bodies)
        root = bodies.rotvec[..., 0, :]
        has_twin = (root.norm(dim=-1) > math.pi / 2 + 1e-3).any(
            -1
        )  # one pass for the images that need it
        if not has_twin.any():
            return log_q
        rows = has_twin.nonzero()[:, 0]
        y = bodies.rotvec[rows]
        other = so3.twin(y[..., :1, :])
        exists = other[..., 0, :].norm(dim=-1) < 0.9995 * self.radius[0]
        twins = BodySamples(
            torch.cat([other, y[..., 1:, :]], -2), bodies.betas[rows], bodies.camera[rows]
        )
        log_twin = self._log_branch(Context(*(part[rows] for part in context)), twins)
        log_twin = torch.where(exists, log_twin, torch.full_like(log_twin, -torch.inf))
        return log_q.index_put((rows,), torch.logaddexp(log_q[rows], log_twin))

    def _log_branch(self, context: Context, bodies: BodySamples) -> Float[Tensor, "B S"]:
        z, x, log_det = self._invert(context, bodies)
        rotations = x[..., :ROT].unflatten(-1, (NUM_JOINTS, 3))
        volume = so3.radial_tanh_log_det(rotations, self.radius) + so3.exp_log_det(bodies.rotvec)
        return log_standard_normal(z) - log_det - volume.sum(-1)

    def _invert(self, context: Context, bodies: BodySamples) -> tuple[Tensor, Tensor, Tensor]:
        """BodySamples to noise; also the flow's coordinates x and the log volume of z -> x."""
        x = self._coordinates(bodies)
        u = ((x - self.mean) / self.std - context.shift[:, None]) * (
            -context.log_scale[:, None]
        ).exp()
        log_det = context.log_scale.sum(-1, keepdim=True) + self.std.log().sum()
        for i, coupling in reversed(list(enumerate(self._layers()))):
            kept, moved = u[..., : coupling.kept], u[..., coupling.kept :]
            log_scale, shift = coupling.scale_and_shift(kept, context.injected[:, i])
            u = torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1)
            u = u[..., torch.argsort(self.permutations[i])]
            log_det = log_det + log_scale.sum(-1)
        return u, x, log_det

    def _layers(self) -> list[AffineCoupling]:
        return [cast(AffineCoupling, layer) for layer in self.couplings]

    def _coordinates(self, bodies: BodySamples) -> Float[Tensor, "B S D"]:
        return torch.cat(
            [so3.radial_atanh(bodies.rotvec, self.radius).flatten(-2), bodies.betas, bodies.camera],
            -1,
        )


def log_standard_normal(z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """Log density of N(0, I), nats."""
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def _soft_bound(raw: Tensor, bound: float) -> Tensor:
    """Identity near zero, never beyond `bound`."""
    return bound * torch.tanh(raw / bound)
