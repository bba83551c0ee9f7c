"""Conditional variational autoencoder (Sharma et al., ICCV 2019): a small latent, decoded beside
the image's vector.

The latent's prior is a standard normal whatever the image. Under `3d` a recognition network sees
the true body and the image; reconstruction and divergence are the usual bound. As draws come from
the prior, not from recognition, bodies decoded from the prior's centre are drawn to the true body
too (the hybrid objective of Sohn et al., NIPS 2015).

Under `2d-vis` there is no true body to recognise. The recognition network then sees the image
alone, and the bound is that of the visible 2D joints and the prior; bodies decoded from the
latent's prior have to explain the same. Nothing in this rewards
spread: the decoder may ignore the latent.
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
from trainer.model.bodies import BODY_DIM, BodySamples, bodies_from_vector, vector_from_bodies
from trainer.model.encoder import Encoder, EncoderConfig


@dataclass(frozen=True)
class CVAEConfig:
    """Sizes and weights."""

    latent: int = 32
    hidden: int = 512
    samples: int = 2
    """Under `2d-vis`: bodies decoded from the latent's prior, beside its centre."""
    divergence: float = 1 / 24
    """Weight of the divergence from the latent's prior. `Loss3DConfig` takes means over 24 joints,
    so 1/24 weighs nats as nats.
    """
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)


class Recognition(nn.Module):
    """q(z | image, what is known of the body): a diagonal Gaussian, standard normal at the
    start.
    """

    def __init__(self, config: CVAEConfig, inputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, config.hidden), nn.SiLU())
        self.last = nn.Linear(config.hidden, 2 * config.latent)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, inputs: Float[Tensor, "B I"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log standard deviation; the latter never leaves [-5, 5]."""
        mean, raw = self.last(self.layers(inputs)).chunk(2, -1)
        return mean, 5.0 * torch.tanh(raw / 5.0)


class Decoder(nn.Module):
    """The image's vector and a latent to a body's numbers, starting near the T-pose."""

    def __init__(self, config: CVAEConfig, width: int) -> None:
        super().__init__()
        self.from_image = nn.Linear(width, config.hidden)
        self.from_latent = nn.Linear(config.latent, config.hidden)
        self.middle = nn.Linear(config.hidden, config.hidden)
        self.last = nn.Linear(config.hidden, BODY_DIM)
        rest = vector_from_bodies(
            BodySamples(torch.zeros(1, 1, 24, 3), torch.zeros(1, 1, 10), torch.zeros(1, 1, 3))
        )
        with torch.no_grad():
            self.last.weight.mul_(0.02)
            self.last.bias.copy_(rest[0, 0])

    def forward(self, h: Float[Tensor, "B W"], z: Float[Tensor, "B S Z"]) -> BodySamples:
        """(B, S) bodies."""
        u = nn.functional.silu(self.from_image(h)[:, None] + self.from_latent(z))
        u = u + nn.functional.silu(self.middle(u))
        return bodies_from_vector(self.last(u))


class CVAE(Method):
    """Recognition, decoder and their bound."""

    def __init__(
        self, supervision: Supervision, priors: Priors, config: CVAEConfig, encoder: EncoderConfig
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.encoder = Encoder(encoder)
        self.recognition = Recognition(
            config, encoder.width + (BODY_DIM if supervision == "3d" else 0)
        )
        self.decoder = Decoder(config, encoder.width)

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """The bound of a batch, and the same for bodies from the latent's prior."""
        h = self.encoder(batch.features)
        mean, log_std = self.recognition(self._recognised(batch, h))
        z = rng.normal(batch.size, 2 + self.config.samples, self.config.latent)
        z[:, 0] = 0.0
        recognised = mean[:, None] + log_std[:, None].exp() * z[:, 1:2]
        bodies = self.decoder(h, torch.cat([recognised, z[:, :1], z[:, 2:]], 1))
        divergence = _divergence(mean, log_std).mean()
        loss = self._loss_2d if self.supervision == "2d-vis" else self._loss_3d
        total, losses = loss(batch, bodies)
        losses["divergence"] = divergence
        return total + self.config.divergence * divergence, losses

    def _recognised(self, batch: Batch, h: Float[Tensor, "B W"]) -> Float[Tensor, "B I"]:
        if self.supervision == "2d-vis":
            return h
        return torch.cat([h, vector_from_bodies(batch.bodies())[:, 0]], -1)

    def _loss_2d(self, batch: Batch, bodies: BodySamples) -> tuple[Tensor, Losses]:
        """Reprojection and prior: of the recognised body, and of the mean of those from the
        latent's prior.
        """
        joints = self.priors.joints(batch, bodies)
        recognised, more = self.priors.loss_2d(
            batch, bodies.at(0), joints[:, :1], self.config.loss_2d
        )
        samples, losses = self.priors.loss_2d(
            batch, bodies.at(slice(1, None)), joints[:, 1:], self.config.loss_2d
        )
        return recognised + samples, Losses(
            losses | {"recognised_reprojection": more["reprojection"]}
        )

    def _loss_3d(self, batch: Batch, bodies: BodySamples) -> tuple[Tensor, Losses]:
        """3D loss and reprojection: of the recognised body, and of that from the prior's centre."""
        config = self.config
        bodies = bodies.at(slice(2))
        joints = self.priors.joints(batch, bodies)
        recognised, more = self.priors.loss_3d(batch, bodies.at(0), joints[:, :1], config.loss_3d)
        center, losses = self.priors.loss_3d(batch, bodies.at(1), joints[:, 1:], config.loss_3d)
        losses["reprojection"] = self.priors.reprojection(batch, joints, config.loss_2d).mean()
        losses["recognised_joints"] = more["joints"]
        return recognised + center + 2 * config.loss_3d.reprojection * losses[
            "reprojection"
        ], losses

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Latents from the prior, decoded; number 0 is its centre.

        There is no density: the bodies of an image lie on a surface of as many dimensions as the
        latent has.
        """
        z = rng.normal(batch.size, count, self.config.latent)
        z[:, 0] = 0.0
        return Samples(self.decoder(self.encoder(batch.features), z), None)


def _divergence(mean: Float[Tensor, "B Z"], log_std: Float[Tensor, "B Z"]) -> Float[Tensor, "B"]:
    """KL from the standard normal to a diagonal Gaussian, nats."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).sum(-1)
