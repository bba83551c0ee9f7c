"""ProHMR (Kolotouros et al., ICCV 2021): a conditional Glow over rotations, and its objective.

Betas and camera are regressed, the same for all hypotheses. What differs from the original, besides
the flow: the shared pose prior for its adversarial one.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
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
from trainer.model.bodies import ROT6D_DIM, BodySamples, bodies_from_vector, vector_from_bodies
from trainer.model.encoder import Encoder, EncoderConfig
from trainer.model.glow import Glow, GlowConfig


@dataclass(frozen=True)
class ProHMRConfig:
    """Weights, all per image; those of the mode are the ones that regression has."""

    glow: GlowConfig = field(default_factory=GlowConfig)
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)
    samples: int = 1
    """BodySamples drawn per image, besides the mode."""
    samples_2d: float = 0.1
    """Weight of reprojection and prior of the drawn bodies, besides the mode's: the original's
    ratio.
    """
    likelihood: float = 0.1
    """Under `3d`. In our units the original has 0.67 by its ratio to the 2D joints, 0.01 by that to
    the 3D ones.
    """
    blur: float = 0.005
    """Standard deviation of noise on the true 6D numbers, which lie on a surface that has no
    volume.
    """
    orthonormal: float = 10.0
    """Weight of the squared distance of the 6D columns' products from the identity: the original's
    ratio to the likelihood.
    """


class ProHMR(Method):
    """The flow over rotations, and one regressed shape and camera."""

    def __init__(
        self, supervision: Supervision, priors: Priors, config: ProHMRConfig, encoder: EncoderConfig
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.encoder = Encoder(encoder)
        self.glow = Glow(config.glow, encoder.width)
        self.head = nn.Sequential(
            nn.Linear(encoder.width, 512), nn.ReLU(), last := nn.Linear(512, 13)
        )
        with torch.no_grad():
            last.weight.mul_(0.02)
            last.bias.zero_()

    def prepare(self, batch: Batch) -> None:
        """Scale the flow's layers: by true bodies under `3d`, else by the pose prior's."""
        bodies = batch.bodies() if self.supervision == "3d" else self.priors.sample(batch.size)
        with torch.no_grad():
            h = self.encoder(batch.features)
        self.glow.normalise(h, _rot6d(bodies).to(h))

    def log_volume(self, batch: Batch) -> Float[Tensor, "B"]:
        """log |det| of noise to 6D numbers for each image: one constant, whatever the image."""
        return self.glow.log_volume().expand(batch.size)

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """Point terms on the mode, reprojection and prior also on samples, and the likelihood under
        `3d`.
        """
        config = self.config
        h = self.encoder(batch.features)
        z = rng.normal(batch.size, 1 + config.samples, ROT6D_DIM)
        z[:, 0] = 0.0
        rot6d = self.glow(h, z)
        bodies = self._bodies(h, rot6d)
        joints = self.priors.joints(batch, bodies)
        mode, losses = self.priors.loss_2d(batch, bodies.at(0), joints[:, :1], config.loss_2d)
        samples, more = self.priors.loss_2d(
            batch, bodies.at(slice(1, None)), joints[:, 1:], config.loss_2d
        )
        losses["samples_reprojection"] = more["reprojection"]
        losses["orthonormal"] = _distance_from_orthonormal(rot6d).mean()
        loss_2d = mode + config.samples_2d * samples
        total = config.orthonormal * losses["orthonormal"]
        if self.supervision == "2d-vis":
            return total + loss_2d, losses
        loss_3d, more = self.priors.loss_3d(batch, bodies.at(0), joints[:, :1], config.loss_3d)
        rot6d_true = _rot6d(batch.bodies())
        losses["likelihood"] = -self.glow.log_prob(
            h, rot6d_true + config.blur * rng.normal(batch.size, 1, ROT6D_DIM)
        ).mean()
        total = (
            total
            + loss_3d
            + config.loss_3d.reprojection * loss_2d
            + config.likelihood * losses["likelihood"]
        )
        return total, Losses(losses | more)

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Noise through the flow; number 0 is its mode.

        No density is given: that of the 144 numbers is not one of poses. Each rotation has a
        three-dimensional set of 6D numbers, and the flow's density integrated over these sets has
        no closed form.
        """
        z = rng.normal(batch.size, count, ROT6D_DIM)
        z[:, 0] = 0.0
        h = self.encoder(batch.features)
        return Samples(self._bodies(h, self.glow(h, z)), None)

    def _bodies(self, h: Float[Tensor, "B W"], rot6d: Float[Tensor, "B S 144"]) -> BodySamples:
        rest = self.head(h)[:, None].expand(-1, rot6d.shape[1], -1)
        return bodies_from_vector(torch.cat([rot6d, rest], -1))


def _rot6d(bodies: BodySamples) -> Float[Tensor, "B S 144"]:
    return vector_from_bodies(bodies)[..., :ROT6D_DIM]


def _distance_from_orthonormal(rot6d: Float[Tensor, "B S 144"]) -> Float[Tensor, "B S"]:
    """Squared distance of A^T A from the identity, A the two columns of a rotation; mean over
    joints and entries.
    """
    a, b = rot6d.unflatten(-1, (-1, 2, 3)).unbind(-2)
    on = ((a * a).sum(-1) - 1).square() + ((b * b).sum(-1) - 1).square()
    return ((on + 2 * (a * b).sum(-1).square()) / 4).mean(-1)
