r"""ProHMR (Kolotouros et al., ICCV 2021): a conditional Glow over the 144 numbers of 24 rotations
in 6D.

A layer, from noise to numbers, adds to every other number a function of the rest and of the
image, multiplies all of them by an invertible matrix, and scales and shifts each. Matrix and
scales do not know the image and the coupling only adds, so

$$\log|\det \partial x/\partial z| = \sum_\text{layers} \Big(\sum_i \log|U_{ii}| + \sum_i \log
s_i\Big)$$

is one constant: every image gets the same total volume, and an entropy has no gradient to the
encoder. Betas and camera are regressed, the same for all hypotheses. What differs from the
original: no batch normalisation or dropout inside the couplings (samples drawn in training must
come from the density that is trained), and the shared pose prior for its adversarial one.
"""

import math
from dataclasses import dataclass, field
from typing import cast

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
from trainer.model.bodies import ROT6D_DIM, Bodies, bodies_from_vector, vector_from_bodies
from trainer.model.encoder import Encoder, EncoderConfig


@dataclass(frozen=True)
class GlowConfig:
    """Sizes of the flow; the original's hidden width is 1024."""

    layers: int = 4
    hidden: int = 256
    depth: int = 2
    """Residual blocks of a coupling."""


@dataclass(frozen=True)
class ProHMRConfig:
    """Weights, all per image; those of the mode are the ones that regression has."""

    glow: GlowConfig = field(default_factory=GlowConfig)
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)
    samples: int = 1
    """Bodies drawn per image, besides the mode."""
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


class AdditiveCoupling(nn.Module):
    """Half of the numbers shift the other half."""

    def __init__(self, config: GlowConfig, width: int, first: int) -> None:
        super().__init__()
        self.kept, self.moved = slice(first, None, 2), slice(1 - first, None, 2)
        self.inputs = nn.Linear(ROT6D_DIM // 2, config.hidden)
        self.context = nn.Linear(width, config.hidden, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Linear(config.hidden, config.hidden),
                nn.ReLU(),
                nn.Linear(config.hidden, config.hidden),
            )
            for _ in range(config.depth)
        )
        self.last = nn.Linear(config.hidden, ROT6D_DIM // 2)
        with torch.no_grad():
            self.last.weight.mul_(0.02)
            self.last.bias.zero_()

    def forward(
        self, u: Float[Tensor, "B S 144"], h: Float[Tensor, "B W"], sign: float
    ) -> Float[Tensor, "B S 144"]:
        """Add the shift, or with `sign` -1 take it away again."""
        v = self.inputs(u[..., self.kept]) + self.context(h)[:, None]
        for block in self.blocks:
            v = v + block(v)
        out = u.clone()
        out[..., self.moved] = u[..., self.moved] + sign * self.last(v)
        return out


class GlowLayer(nn.Module):
    """Coupling, matrix L U, scale and shift."""

    def __init__(self, config: GlowConfig, width: int, first: int) -> None:
        super().__init__()
        self.coupling = AdditiveCoupling(config, width, first)
        self.off_diagonal = nn.Parameter(torch.zeros(ROT6D_DIM, ROT6D_DIM))
        self.log_diagonal = nn.Parameter(torch.zeros(ROT6D_DIM))
        self.log_scale = nn.Parameter(torch.zeros(ROT6D_DIM))
        self.shift = nn.Parameter(torch.zeros(ROT6D_DIM))

    def log_volume(self) -> Float[Tensor, ""]:
        """Log volume of `forward`, at every u and for every image; the coupling's is zero."""
        return self.log_diagonal.sum() + self.log_scale.sum()

    def forward(
        self, u: Float[Tensor, "B S 144"], h: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B S 144"]:
        """One step from noise towards numbers."""
        lower, upper = self._factors()
        v = self.coupling(u, h, 1.0) @ (lower @ upper).mT
        return v * self.log_scale.exp() + self.shift

    def inverse(
        self, u: Float[Tensor, "B S 144"], h: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B S 144"]:
        """One step from numbers towards noise."""
        lower, upper = self._factors()
        v = ((u - self.shift) * (-self.log_scale).exp()).flatten(0, -2).mT
        v = torch.linalg.solve_triangular(lower, v, upper=False, unitriangular=True)
        v = torch.linalg.solve_triangular(upper, v, upper=True)
        return self.coupling(v.mT.reshape(u.shape), h, -1.0)

    def _factors(self) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(self.log_diagonal)
        return (
            self.off_diagonal.tril(-1) + one.diag(),
            self.off_diagonal.triu(1) + self.log_diagonal.exp().diag(),
        )


class Glow(nn.Module):
    """Noise z ~ N(0, I) to the 6D numbers of 24 rotations."""

    def __init__(self, config: GlowConfig, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GlowLayer(config, width, i % 2) for i in range(config.layers))

    def forward(
        self, h: Float[Tensor, "B W"], z: Float[Tensor, "B S 144"]
    ) -> Float[Tensor, "B S 144"]:
        """Map noise to numbers; z = 0 gives the mode, because the volume is constant."""
        for layer in self.layers:
            z = layer(z, h)
        return z

    def inverse(
        self, h: Float[Tensor, "B W"], rot6d: Float[Tensor, "B S 144"]
    ) -> Float[Tensor, "B S 144"]:
        """Numbers to noise."""
        for layer in reversed(self._layers()):
            rot6d = layer.inverse(rot6d, h)
        return rot6d

    def log_volume(self) -> Float[Tensor, ""]:
        """log |det| of noise to numbers, which no image changes."""
        return torch.stack([layer.log_volume() for layer in self._layers()]).sum()

    def log_prob(
        self, h: Float[Tensor, "B W"], rot6d: Float[Tensor, "B S 144"]
    ) -> Float[Tensor, "B S"]:
        """Log density in the 144 numbers; not one of poses, as many numbers mean the same
        rotations.
        """
        z = self.inverse(h, rot6d)
        return (
            -0.5 * z.square().sum(-1) - 0.5 * ROT6D_DIM * math.log(2 * math.pi) - self.log_volume()
        )

    @torch.no_grad()
    def normalise(self, h: Float[Tensor, "B W"], rot6d: Float[Tensor, "B 1 144"]) -> None:
        """Choose scales and shifts so that these numbers have mean 0 and spread 1 after each layer
        (ActNorm).
        """
        for layer in reversed(self._layers()):
            layer.shift.copy_(rot6d[:, 0].mean(0))
            layer.log_scale.copy_(rot6d[:, 0].std(0).clamp_min(1e-2).log())
            rot6d = layer.inverse(rot6d, h)

    def _layers(self) -> list[GlowLayer]:
        return [cast(GlowLayer, layer) for layer in self.layers]


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

    def _bodies(self, h: Float[Tensor, "B W"], rot6d: Float[Tensor, "B S 144"]) -> Bodies:
        rest = self.head(h)[:, None].expand(-1, rot6d.shape[1], -1)
        return bodies_from_vector(torch.cat([rot6d, rest], -1))


def _rot6d(bodies: Bodies) -> Float[Tensor, "B S 144"]:
    return vector_from_bodies(bodies)[..., :ROT6D_DIM]


def _distance_from_orthonormal(rot6d: Float[Tensor, "B S 144"]) -> Float[Tensor, "B S"]:
    """Squared distance of A^T A from the identity, A the two columns of a rotation; mean over
    joints and entries.
    """
    a, b = rot6d.unflatten(-1, (-1, 2, 3)).unbind(-2)
    on = ((a * a).sum(-1) - 1).square() + ((b * b).sum(-1) - 1).square()
    return ((on + 2 * (a * b).sum(-1).square()) / 4).mean(-1)
