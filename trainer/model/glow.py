r"""A conditional Glow over the 144 numbers of 24 rotations in 6D (ProHMR, Kolotouros et al., ICCV
2021).

A layer, from noise to numbers, adds to every other number a function of the rest and of the
image, multiplies all of them by an invertible matrix, and scales and shifts each. Matrix and
scales do not know the image and the coupling only adds, so

$$\log|\det \partial x/\partial z| = \sum_\text{layers} \Big(\sum_i \log|U_{ii}| + \sum_i \log
s_i\Big)$$

is one constant: every image gets the same total volume, and an entropy has no gradient to the
encoder. What differs from the original: no batch normalisation or dropout inside the couplings
(samples drawn in training must come from the density that is trained).
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainer.model.bodies import ROT6D_DIM


@dataclass(frozen=True)
class GlowConfig:
    """Sizes of the flow; the original's hidden width is 1024."""

    layers: int = 4
    hidden: int = 256
    depth: int = 2
    """Residual blocks of a coupling."""


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
