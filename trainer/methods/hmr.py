"""Deterministic regression (HMR, Kanazawa et al., CVPR 2018): one body per image.

Our prior stands in for its adversarial one; the rotations are regressed in 6D, as its successors
do.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import (
    Loss2DConfig,
    Loss3DConfig,
    Losses,
    Method,
    Priors,
    Samples,
    Supervision,
)
from trainer.model.bodies import BODY_DIM, BodySamples, bodies_from_vector, vector_from_bodies
from trainer.model.encoder import Encoder, EncoderConfig


@dataclass(frozen=True)
class HMRConfig:
    """Weights."""

    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)


class Regressor(nn.Module):
    """The encoder and one linear layer to the numbers of `count` bodies, starting at the T-pose."""

    def __init__(self, encoder: EncoderConfig, count: int = 1) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.head = nn.Linear(encoder.width, count * BODY_DIM)
        rest = vector_from_bodies(
            BodySamples(torch.zeros(1, 1, 24, 3), torch.zeros(1, 1, 10), torch.zeros(1, 1, 3))
        )
        with torch.no_grad():
            self.head.weight.mul_(0.02)
            self.head.bias.copy_(rest[0, 0].repeat(count))

    def forward(self, batch: Batch) -> BodySamples:
        """(B, count) bodies."""
        return bodies_from_vector(
            self.head(self.encoder(batch.features)).unflatten(-1, (-1, BODY_DIM))
        )


class HMR(Method):
    """One regressed body; all hypotheses are that one."""

    def __init__(
        self, supervision: Supervision, priors: Priors, config: HMRConfig, encoder: EncoderConfig
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.regressor = Regressor(encoder)

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """Distance to the true body and reprojection under `3d`; reprojection and prior under
        `2d-vis`.
        """
        bodies = self.regressor(batch)
        joints = self.priors.joints(batch, bodies)
        loss_2d, losses = self.priors.loss_2d(batch, bodies, joints, self.config.loss_2d)
        if self.supervision == "2d-vis":
            return loss_2d, losses
        loss_3d, more = self.priors.loss_3d(batch, bodies, joints, self.config.loss_3d)
        return loss_3d + self.config.loss_3d.reprojection * losses["reprojection"], Losses(
            losses | more
        )

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """The same body `count` times."""
        bodies = self.regressor(batch)
        return Samples(
            BodySamples(*(part.expand(-1, count, *part.shape[2:]) for part in bodies)), None
        )
