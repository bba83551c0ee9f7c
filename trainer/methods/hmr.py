"""Deterministic regression (HMR, Kanazawa et al., CVPR 2018): one body a picture.

Our prior stands in for its adversarial one; the rotations are regressed in 6D, as its successors
do.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import (
    EvidenceConfig,
    Losses,
    Method,
    Priors,
    Samples,
    Supervision,
    TruthConfig,
)
from trainer.model.bodies import NUMBERS, Bodies, bodies_from_numbers, numbers_from_bodies
from trainer.model.encoder import Encoder, EncoderConfig


@dataclass(frozen=True)
class HMRConfig:
    """Weights."""

    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    truth: TruthConfig = field(default_factory=TruthConfig)


class Regressor(nn.Module):
    """The encoder and one linear layer to the numbers of `count` bodies, starting at the T-pose."""

    def __init__(self, encoder: EncoderConfig, count: int = 1) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.head = nn.Linear(encoder.width, count * NUMBERS)
        rest = numbers_from_bodies(
            Bodies(torch.zeros(1, 1, 24, 3), torch.zeros(1, 1, 10), torch.zeros(1, 1, 3))
        )
        with torch.no_grad():
            self.head.weight.mul_(0.02)
            self.head.bias.copy_(rest[0, 0].repeat(count))

    def forward(self, batch: Batch) -> Bodies:
        """(B, count) bodies."""
        return bodies_from_numbers(
            self.head(self.encoder(batch.features)).unflatten(-1, (-1, NUMBERS))
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
        """Distance to the truth and reprojection under `3d`; reprojection and prior under
        `2d-vis`.
        """
        bodies = self.regressor(batch)
        joints = self.priors.joints(batch, bodies)
        evidence, terms = self.priors.evidence(batch, bodies, joints, self.config.evidence)
        if self.supervision == "2d-vis":
            return evidence, terms
        truth, more = self.priors.truth(batch, bodies, joints, self.config.truth)
        return truth + self.config.truth.reprojection * terms["reprojection"], Losses(terms | more)

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """The same body `count` times."""
        bodies = self.regressor(batch)
        return Samples(Bodies(*(part.expand(-1, count, *part.shape[2:]) for part in bodies)), None)
