"""The flow that looks at 2D landmarks only and finds the body's orientation by itself.

Like `trainer.model.flow`: z -> affine couplings -> affine by context -> standardise -> x ->
SO(3)^24 x R^13. Two things differ. An anchor, a rotation that the encoder reads off the landmarks,
is what the orientation is relative to; multiplication by a rotation does not change the Haar
measure, so densities stay exact. And the couplings leave zero where it is: what a coupling would
shift at zero is taken off everywhere. So the flow's centre (z = 0), which users read as best
estimate, is the affine part alone: a plain regression that no coupling disturbs, and that costs no
pass through the couplings to train.

Large products run in bfloat16 while training, in float32 otherwise.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.features import NUM_POINT_FEATURES
from engines.types import NUM_BETAS, NUM_JOINTS
from trainer.model import so3
from trainer.model.bodies import Bodies, rotations_from_six
from trainer.model.flow import DIM, ROT


@dataclass(frozen=True)
class AnchoredConfig:
    """Sizes."""

    width: int = 512
    blocks: int = 4
    """Residual blocks of the encoder."""
    narrow: int = 192
    """Of what all couplings are told together."""
    couplings: int = 8
    hidden: int = 128
    max_log_scale: float = 2.0
    seed: int = 7
    """Draws the fixed permutations between couplings."""


class Look(NamedTuple):
    """What a picture says, computed once for all its hypotheses."""

    R_anchor: Float[Tensor, "B 3 3"]
    injected: Float[Tensor, "B C 2 H"]
    shift: Float[Tensor, "B D"]
    log_scale: Float[Tensor, "B D"]
    visible_logits: Float[Tensor, "B 24"]


class Linear(nn.Linear):
    """Multiplies in bfloat16 while training; answers in float32."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        low = torch.bfloat16
        return nn.functional.linear(input.to(low), self.weight.to(low)).float() + self.bias


class PointEncoder(nn.Module):
    """A residual MLP over `engines.features.observe_points`."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = Linear(NUM_POINT_FEATURES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, width)
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        """Encode a batch of pictures."""
        h = self.first(features)
        for block in self.blocks:
            h = h + block(h)
        return nn.functional.silu(self.norm(h))


class ZeroCoupling(nn.Module):
    """Half of the numbers scale and shift the other half; where all are zero they stay."""

    def __init__(self, config: AnchoredConfig) -> None:
        super().__init__()
        self.kept, self.bound = DIM // 2, config.max_log_scale
        self.first = Linear(self.kept, config.hidden)
        self.second = Linear(config.hidden, config.hidden)
        self.last = Linear(config.hidden, 2 * (DIM - self.kept))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, kept: Float[Tensor, "B S A"], injected: Float[Tensor, "B 2 H"]
    ) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the other half."""
        once, again = injected[:, None].unbind(2)
        with_zero = torch.cat([torch.zeros_like(kept[:, :1]), kept], 1)
        h = nn.functional.silu(self.first(with_zero) + once)
        h = nn.functional.silu(self.second(h) + again)
        raw, shift = self.last(h).chunk(2, -1)
        return self.bound * torch.tanh(raw[:, 1:] / self.bound), shift[:, 1:] - shift[:, :1]


class AnchoredFlow(nn.Module):
    """The posterior q(body | landmarks). Row 0 of `Bodies.y` is relative to the anchor."""

    mean: Tensor
    std: Tensor
    radius: Tensor
    order: Tensor
    back: Tensor

    def __init__(self, config: AnchoredConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.encoder = PointEncoder(width, config.blocks)
        self.narrow = Linear(width, config.narrow)
        self.inject = Linear(config.narrow, config.couplings * 2 * config.hidden)
        self.affine = nn.Linear(width, 2 * DIM)
        self.visible = nn.Linear(width, NUM_JOINTS)
        self.anchor = nn.Linear(width, 6)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        self.couplings = nn.ModuleList(ZeroCoupling(config) for _ in range(config.couplings))
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("std", torch.ones(DIM))
        # The orientation may be half a turn off the anchor: its ball overlaps itself there.
        self.register_buffer("radius", torch.tensor([1.5 * math.pi] + [math.pi] * (NUM_JOINTS - 1)))
        generator = torch.Generator().manual_seed(config.seed)
        order = torch.stack(
            [torch.randperm(DIM, generator=generator) for _ in range(config.couplings)]
        )
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort(-1))

    def look(self, features: Float[Tensor, "B F"]) -> Look:
        """What a batch of pictures says."""
        h = self.encoder(features)
        injected = self.inject(nn.functional.silu(self.narrow(h)))
        shift, raw = self.affine(h).chunk(2, -1)
        log_scale = 5.0 * torch.tanh((raw - 1.0) / 5.0)
        shape = (self.config.couplings, 2, self.config.hidden)
        return Look(
            rotations_from_six(self.anchor(h)),
            injected.unflatten(-1, shape),
            shift,
            log_scale,
            self.visible(h),
        )

    def take_scales(
        self, y: Float[Tensor, "N 24 3"], betas: Float[Tensor, "N 10"], camera: Float[Tensor, "N 3"]
    ) -> None:
        """Mean and spread of the coordinates from true bodies; the orientation's as about a good
        anchor.
        """
        x = self._coordinates(Bodies(y, betas, camera))
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-2))
        self.mean[:3], self.std[:3] = 0.0, 0.4

    def center(self, look: Look) -> Bodies:
        """The bodies that z = 0 gives, (B, 1, ...)."""
        return self._bodies((look.shift * self.std + self.mean)[:, None])[0]

    def sample(self, look: Look, z: Float[Tensor, "B S D"]) -> tuple[Bodies, Float[Tensor, "B S"]]:
        """Noise to bodies, and their log density, rotations against the Haar measure.

        Where the orientation is more than a quarter turn off the anchor the twin branch of `so3` is
        left out of it.
        """
        u, log_det = z, self.std.log().sum() + look.log_scale.sum(-1, keepdim=True)
        injected = look.injected.unbind(1)  # one gradient for all, not a mostly empty one for each
        for i, coupling in enumerate(self.couplings):
            kept, moved = u[..., self.order[i]].split((DIM // 2, DIM - DIM // 2), -1)
            log_scale, shift = coupling(kept, injected[i])
            u = torch.cat([kept, moved * log_scale.exp() + shift], -1)
            log_det = log_det + log_scale.sum(-1)
        x = (u * look.log_scale[:, None].exp() + look.shift[:, None]) * self.std + self.mean
        bodies, volume = self._bodies(x)
        return bodies, _log_normal(z) - log_det - volume

    def log_prob(self, look: Look, bodies: Bodies, twins: bool = True) -> Float[Tensor, "B S"]:
        """Log density of bodies, rotations against the Haar measure; exact with `twins`, else the
        principal branch.
        """
        log_q = self._log_branch(look, bodies)
        if not twins:
            return log_q
        other = so3.twin(bodies.y[..., :1, :])
        exists = other[..., 0, :].norm(dim=-1) < 0.9995 * self.radius[0]
        log_twin = self._log_branch(
            look, bodies._replace(y=torch.cat([other, bodies.y[..., 1:, :]], -2))
        )
        return torch.logaddexp(log_q, torch.where(exists, log_twin, -torch.inf))

    def relative(
        self, R_anchor: Float[Tensor, "B 3 3"], y: Float[Tensor, "B 24 3"]
    ) -> Float[Tensor, "B 24 3"]:
        """True rotations, row 0 given in the view, as the flow has them."""
        root = so3.log(R_anchor.mT @ so3.exp(y[:, 0]))
        return torch.cat([root[:, None], y[:, 1:]], 1)

    def _log_branch(self, look: Look, bodies: Bodies) -> Float[Tensor, "B S"]:
        x = self._coordinates(bodies)
        u = ((x - self.mean) / self.std - look.shift[:, None]) * (-look.log_scale[:, None]).exp()
        log_det = look.log_scale.sum(-1, keepdim=True) + self.std.log().sum()
        injected = look.injected.unbind(1)
        for i in reversed(range(len(self.couplings))):
            kept, moved = u.split((DIM // 2, DIM - DIM // 2), -1)
            log_scale, shift = self.couplings[i](kept, injected[i])
            u = torch.cat([kept, (moved - shift) * (-log_scale).exp()], -1)[..., self.back[i]]
            log_det = log_det + log_scale.sum(-1)
        return _log_normal(u) - log_det - self._bodies(x)[1]

    def _bodies(self, x: Float[Tensor, "B S D"]) -> tuple[Bodies, Float[Tensor, "B S"]]:
        """Coordinates to bodies, and the log volume of that."""
        rotations = x[..., :ROT].unflatten(-1, (NUM_JOINTS, 3))
        y = so3.squeeze(rotations, self.radius)
        volume = so3.squeeze_log_det(rotations, self.radius) + so3.exp_log_det(y)
        return Bodies(y, x[..., ROT : ROT + NUM_BETAS], x[..., ROT + NUM_BETAS :]), volume.sum(-1)

    def _coordinates(self, bodies: Bodies) -> Float[Tensor, "*B D"]:
        return torch.cat(
            [so3.unsqueeze(bodies.y, self.radius).flatten(-2), bodies.betas, bodies.camera], -1
        )


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


class OnePicture(nn.Module):
    """The flow for one picture and K noise vectors, as it is exported."""

    def __init__(self, flow: AnchoredFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, features: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """tangent (K, 24, 3), betas, camera, log_q, visible (24,), anchor (3, 3)."""
        look = self.flow.look(features)
        bodies, log_q = self.flow.sample(look, z[None])
        visible = torch.sigmoid(look.visible_logits)[0]
        return bodies.y[0], bodies.betas[0], bodies.camera[0], log_q[0], visible, look.R_anchor[0]
