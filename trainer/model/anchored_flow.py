r"""The live system's flow: it takes 2D landmarks only and estimates the body's orientation itself.

As `trainer.model.flow`, z -> affine couplings -> affine by context -> standardise -> x ->
$SO(3)^{24} \times \mathbb{R}^{13}$. Two things differ. First, the orientation is relative to an
anchor, a rotation that the encoder estimates from the landmarks; multiplication by a rotation does
not change the Haar measure, so densities stay exact. Second, couplings map zero to zero: what a
coupling would shift at zero is subtracted everywhere. So the flow's centre (z = 0), which users
read as the best estimate, is the affine part alone: a regression that no coupling disturbs, and
that is trained without a pass through the couplings.

Large products run in bfloat16 while training, in float32 otherwise.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.flow.features import NUM_FEATURES_2D
from engines.types import NUM_BETAS, NUM_JOINTS
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.flow import DIM, ROT, log_standard_normal

ANCHOR_STD_RAD = 0.4
"""Standard deviation of the orientation about the anchor that a flow starts with."""


@dataclass(frozen=True)
class AnchoredFlowConfig:
    """Sizes of the network."""

    width: int = 512
    blocks: int = 4
    """Residual blocks of the encoder."""
    narrow: int = 192
    """Width of the vector that all couplings are conditioned on."""
    couplings: int = 8
    hidden: int = 128
    """Width inside a coupling: this is paid for every hypothesis, the encoder only once a frame."""
    max_log_scale: float = 2.0
    """Bound of a coupling's log scale."""
    seed: int = 7
    """Draws the fixed permutations between couplings."""


class AnchoredContext(NamedTuple):
    """What the flow takes from an image, computed once for all its hypotheses."""

    R_anchor: Float[Tensor, "B 3 3"]
    """Rotation from the body to the view, as the encoder estimates it."""
    injected: Float[Tensor, "B C 2 H"]
    """What is added inside each coupling."""
    shift: Float[Tensor, "B D"]
    log_scale: Float[Tensor, "B D"]
    visible_logits: Float[Tensor, "B 24"]

    def rows(self, index: Tensor) -> "AnchoredContext":
        """Select images by number."""
        return AnchoredContext(*(part[index] for part in self))


class Bfloat16Linear(nn.Linear):
    """A linear layer that multiplies in bfloat16 while training; its results are float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer."""
        if not self.training:
            return super().forward(input)
        weight = self.weight.to(torch.bfloat16)
        return nn.functional.linear(input.to(torch.bfloat16), weight).float() + self.bias


class Encoder2D(nn.Module):
    """A residual MLP over the features `landmarks_2d`."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = Bfloat16Linear(NUM_FEATURES_2D, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                Bfloat16Linear(width, width),
                nn.SiLU(),
                Bfloat16Linear(width, width),
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        """Encode the landmark features of a batch of images."""
        h = self.first(features)
        for block in self.blocks:
            h = h + block(h)
        return nn.functional.silu(self.norm(h))


class CenteredCoupling(nn.Module):
    """Half of the numbers scale and shift the other half; where all are zero they stay zero."""

    def __init__(self, config: AnchoredFlowConfig) -> None:
        super().__init__()
        self.kept = DIM // 2
        self.bound = config.max_log_scale
        self.first = Bfloat16Linear(self.kept, config.hidden)
        self.second = Bfloat16Linear(config.hidden, config.hidden)
        self.last = Bfloat16Linear(config.hidden, 2 * (DIM - self.kept))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def scale_and_shift(
        self,
        kept: Float[Tensor, "B S A"],
        first: Float[Tensor, "B H"],
        second: Float[Tensor, "B H"],
    ) -> tuple[Float[Tensor, "B S M"], Float[Tensor, "B S M"]]:
        """Return log scale and shift of the other half.

        Args:
            kept: the half that stays.
            first, second: what is added in the two hidden layers.
        """
        at_zero = (self.first.bias + first)[:, None]
        h = nn.functional.silu(torch.cat([at_zero, self.first(kept) + first[:, None]], 1))
        h = nn.functional.silu(self.second(h) + second[:, None])
        raw, shift = self.last(h).chunk(2, -1)
        return self.bound * torch.tanh(raw[:, 1:] / self.bound), shift[:, 1:] - shift[:, :1]


class AnchoredFlow(nn.Module):
    """The posterior q(body | landmarks). Row 0 of its rotations is relative to the anchor."""

    mean: Tensor
    std: Tensor
    radius: Tensor
    order: Tensor
    back: Tensor

    def __init__(self, config: AnchoredFlowConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = Encoder2D(width, config.blocks)
        self.narrow = Bfloat16Linear(width, config.narrow)
        self.inject = Bfloat16Linear(config.narrow, config.couplings * 2 * config.hidden)
        self.affine = nn.Linear(width, 2 * DIM)
        self.visible = nn.Linear(width, NUM_JOINTS)
        self.anchor = nn.Linear(width, 6)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        self.couplings = nn.ModuleList(CenteredCoupling(config) for _ in range(config.couplings))
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("std", torch.ones(DIM))
        # The orientation may be half a turn off the anchor, so its ball overlaps itself there; a
        # body joint never is.
        self.register_buffer("radius", torch.tensor([1.5 * math.pi] + [math.pi] * (NUM_JOINTS - 1)))
        generator = torch.Generator().manual_seed(config.seed)
        order = [torch.randperm(DIM, generator=generator) for _ in range(config.couplings)]
        self.register_buffer("order", torch.stack(order))
        self.register_buffer("back", self.order.argsort(-1))

    def encode(self, features: Float[Tensor, "B F"]) -> AnchoredContext:
        """Encode the features of a batch of images."""
        h = self.encoder(features)
        injected = self.inject(nn.functional.silu(self.narrow(h)))
        injected = injected.unflatten(-1, (self.config.couplings, 2, self.config.hidden))
        shift, raw = self.affine(h).chunk(2, -1)
        log_scale = 5.0 * torch.tanh((raw - 1.0) / 5.0)
        R_anchor = _rotmat_from_6d(self.anchor(h))
        return AnchoredContext(R_anchor, injected, shift, log_scale, self.visible(h))

    def standardise(self, bodies: BodySamples) -> None:
        """Take mean and spread of the flow's coordinates from a sample of bodies (B, 1, ...).

        Those of the orientation are as about a good anchor, whatever the bodies are relative to.
        """
        x = self._coordinates(bodies)[:, 0]
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-2))
        self.mean[:3] = 0.0
        self.std[:3] = ANCHOR_STD_RAD

    def center(self, context: AnchoredContext) -> BodySamples:
        """Return the bodies (B, 1, ...) that z = 0 gives."""
        return self._bodies((context.shift * self.std + self.mean)[:, None])[0]

    def sample(
        self, context: AnchoredContext, z: Float[Tensor, "B S D"]
    ) -> tuple[BodySamples, Float[Tensor, "B S"]]:
        """Map noise to bodies.

        Returns:
            The bodies and their log density, rotations against the Haar measure. Where the
            orientation is more than a quarter turn off the anchor the twin branch of `so3` is left
            out of it (`log_prob` has both).
        """
        u, log_det = z, self.std.log().sum() + context.log_scale.sum(-1, keepdim=True)
        for i, coupling in enumerate(self._layers()):
            u = u[..., self.order[i]]
            kept, moved = u[..., : coupling.kept], u[..., coupling.kept :]
            injected = context.injected[:, i]
            log_scale, shift = coupling.scale_and_shift(kept, injected[:, 0], injected[:, 1])
            u = torch.cat([kept, moved * log_scale.exp() + shift], -1)
            log_det = log_det + log_scale.sum(-1)
        u = u * context.log_scale[:, None].exp() + context.shift[:, None]
        bodies, volume = self._bodies(u * self.std + self.mean)
        return bodies, log_standard_normal(z) - log_det - volume

    def log_prob(
        self, context: AnchoredContext, bodies: BodySamples, twins: bool = True
    ) -> Float[Tensor, "B S"]:
        """Log density of bodies, rotations against the Haar measure.

        Args:
            context: of the images.
            bodies: relative to its anchors.
            twins: whether to add the second branch that an orientation more than a quarter turn
                off the anchor has; exact only with it.
        """
        log_q = self._log_branch(context, bodies)
        if not twins:
            return log_q
        other = so3.twin(bodies.rotvec[..., :1, :])
        exists = other[..., 0, :].norm(dim=-1) < 0.9995 * self.radius[0]
        rotvec = torch.cat([other, bodies.rotvec[..., 1:, :]], -2)
        log_twin = self._log_branch(context, bodies._replace(rotvec=rotvec))
        return torch.logaddexp(log_q, torch.where(exists, log_twin, -torch.inf))

    def _log_branch(self, context: AnchoredContext, bodies: BodySamples) -> Float[Tensor, "B S"]:
        x = self._coordinates(bodies)
        u = ((x - self.mean) / self.std - context.shift[:, None]) * (
            -context.log_scale[:, None]
        ).exp()
        log_det = context.log_scale.sum(-1, keepdim=True) + self.std.log().sum()
        # `unbind` and `split` have one gradient for all parts, an index one of zeros for each.
        injected = [layer.unbind(1) for layer in context.injected.unbind(1)]
        for i, coupling in reversed(list(enumerate(self._layers()))):
            kept, moved = u.split((DIM // 2, DIM - DIM // 2), -1)
            log_scale, shift = coupling.scale_and_shift(kept, *injected[i])
            u = torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1)[..., self.back[i]]
            log_det = log_det + log_scale.sum(-1)
        return log_standard_normal(u) - log_det - self._bodies(x)[1]

    def _bodies(self, x: Float[Tensor, "B S D"]) -> tuple[BodySamples, Float[Tensor, "B S"]]:
        """Map the flow's coordinates to bodies; also the log volume of that map."""
        rotations = x[..., :ROT].unflatten(-1, (NUM_JOINTS, 3))
        y = so3.radial_tanh(rotations, self.radius)
        volume = so3.radial_tanh_log_det(rotations, self.radius) + so3.exp_log_det(y)
        return BodySamples(y, x[..., ROT : ROT + NUM_BETAS], x[..., ROT + NUM_BETAS :]), volume.sum(
            -1
        )

    def _coordinates(self, bodies: BodySamples) -> Float[Tensor, "B S D"]:
        rotations = so3.radial_atanh(bodies.rotvec, self.radius)
        return torch.cat([rotations.flatten(-2), bodies.betas, bodies.camera], -1)

    def _layers(self) -> list[CenteredCoupling]:
        return [cast(CenteredCoupling, layer) for layer in self.couplings]


def relative_to(R_anchor: Float[Tensor, "B 3 3"], bodies: BodySamples) -> BodySamples:
    """Express bodies whose orientation is given in the view relative to anchors in it."""
    root = so3.log(R_anchor[:, None].mT @ so3.exp(bodies.rotvec[..., 0, :]))
    return bodies._replace(rotvec=torch.cat([root[..., None, :], bodies.rotvec[..., 1:, :]], -2))


def in_view(R_anchor: Float[Tensor, "B 3 3"], bodies: BodySamples) -> BodySamples:
    """Invert `relative_to`."""
    return relative_to(R_anchor.mT, bodies)


def _rotmat_from_6d(rot6d: Float[Tensor, "B 6"]) -> Float[Tensor, "B 3 3"]:
    """Gram-Schmidt, as `trainer.model.bodies` has it, of operators that all our engines have."""
    a, b = rot6d[:, :3], rot6d[:, 3:]
    x = _unit(a)
    y = _unit(b - (x * b).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def _unit(v: Tensor) -> Tensor:
    return v / ((v * v).sum(-1, keepdim=True) + 1e-12).sqrt()
