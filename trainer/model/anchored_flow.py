"""The flow that looks at 2D landmarks only and finds the body's orientation by itself.

It is `PoseFlow` with its own encoder, and with an anchor: a rotation that the encoder reads off the landmarks, about which
the orientation is drawn. The anchor is a function of the picture, and multiplication by a rotation does not change the Haar
measure, so densities stay exact. Large products run in bfloat16 while training, in float32 otherwise.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.features import NUM_POINT_FEATURES
from trainer.model import so3
from trainer.model.bodies import Bodies, rotations_from_six
from trainer.model.flow import DIM, Context, FlowConfig, PoseFlow, _soft_bound
from trainer.model.encoder import EncoderConfig
from engines.types import NUM_JOINTS


@dataclass(frozen=True)
class AnchoredConfig:
    """Sizes."""

    width: int = 768
    blocks: int = 4
    narrow: int = 256
    """Of what all couplings are told together."""
    flow: FlowConfig = FlowConfig()


class Linear(nn.Linear):
    """Multiplies in bfloat16 while training; accumulates and answers in float32."""

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
            nn.Sequential(nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, width))
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        """Encode a batch of pictures."""
        h = self.first(features)
        for block in self.blocks:
            h = h + block(h)
        return nn.functional.silu(self.norm(h))


class AnchoredFlow(PoseFlow):
    """The posterior q(body | landmarks). `Bodies.y[..., 0, :]` is relative to the anchor."""

    def __init__(self, config: AnchoredConfig) -> None:
        super().__init__(config.flow, EncoderConfig(width=8, blocks=0))
        self.encoder = PointEncoder(config.width, config.blocks)
        flow, width = config.flow, config.width
        self.conditioner = nn.ModuleDict(
            {
                "narrow": Linear(width, config.narrow),
                "inject": Linear(config.narrow, flow.couplings * 2 * flow.hidden),
                "affine": nn.Linear(width, 2 * DIM),
                "visible": nn.Linear(width, NUM_JOINTS),
                "anchor": nn.Linear(width, 6),
            }
        )
        nn.init.zeros_(self.conditioner["affine"].weight)
        nn.init.zeros_(self.conditioner["affine"].bias)
        for coupling in self._layers():
            coupling.first = Linear(coupling.kept, flow.hidden)
            coupling.second = Linear(flow.hidden, flow.hidden)
        self.std.fill_(0.3)

    def look_around(self, features: Float[Tensor, "B F"]) -> tuple[Context, Float[Tensor, "B 3 3"]]:
        """What a batch of pictures says, and the anchors."""
        h = self.encoder(features)
        parts = self.conditioner
        injected = parts["inject"](nn.functional.silu(parts["narrow"](h))).unflatten(-1, (self.config.couplings, 2, self.config.hidden))
        shift, raw = parts["affine"](h).chunk(2, -1)
        context = Context(injected, shift, _soft_bound(raw - 1.0, 5.0), parts["visible"](h))
        return context, rotations_from_six(parts["anchor"](h))

    def relative(self, R_anchor: Float[Tensor, "B 3 3"], y: Float[Tensor, "B 24 3"]) -> Float[Tensor, "B 24 3"]:
        """True rotations, row 0 given in the view, as the flow has them."""
        root = so3.log(R_anchor.mT @ so3.exp(y[:, 0]))
        return torch.cat([root[:, None], y[:, 1:]], 1)

    def take_scales(self, y: Float[Tensor, "N 24 3"], betas: Float[Tensor, "N 10"], camera: Float[Tensor, "N 3"]) -> None:
        """Mean and spread of the coordinates from true bodies; the orientation's about a good anchor."""
        y = torch.cat([torch.zeros_like(y[:, :1]), y[:, 1:]], 1)
        self.standardise(Bodies(y[:, None], betas[:, None], camera[:, None]))
        self.mean[:3], self.std[:3] = 0.0, 0.4


class OnePicture(nn.Module):
    """The flow for one picture and K noise vectors, as it is exported."""

    def __init__(self, flow: AnchoredFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, features: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """tangent (K, 24, 3), betas, camera, log_q, visible (24,), anchor (3, 3)."""
        context, R_anchor = self.flow.look_around(features)
        bodies, log_q = self.flow.sample(context, z[None])
        visible = torch.sigmoid(context.visible_logits)[0]
        return bodies.y[0], bodies.betas[0], bodies.camera[0], log_q[0], visible, R_anchor[0]
