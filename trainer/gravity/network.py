"""The gravity network in torch, its objective, and its weights as `engines.gravity` reads them."""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.gravity.features import LAYOUT, NUM_FEATURES
from engines.gravity.network import LOG_STD_RANGE, MAX_SLANT, NUM_OUTPUTS

_STARTS = dict(zip(LAYOUT, np.cumsum([0, *LAYOUT.values()]), strict=False))
_UP = slice(_STARTS["camera_up"], _STARTS["camera_up"] + 3)
_FORWARD = slice(_STARTS["camera_forward"], _STARTS["camera_forward"] + 3)
_ROLL = 0.35


class TrainedNetwork(nn.Module):
    """Features to a direction in body axes and the Cholesky factor of its covariance."""

    def __init__(self, features: Float[Tensor, "N F"], hidden: tuple[int, ...]) -> None:
        """Take the features' scales from `features`."""
        super().__init__()
        self.mean = features.mean(0)
        self.std = features.std(0).clamp_min(1e-3)
        widths = (NUM_FEATURES, *hidden, NUM_OUTPUTS)
        steps = [step for pair in pairwise(widths) for step in (nn.Linear(*pair), nn.SiLU())]
        self._layers = nn.Sequential(*steps[:-1])

    def forward(
        self, features: Float[Tensor, "N F"]
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3 3"]]:
        """Return unit vectors, and L with the covariance L L^T (across the vectors)."""
        out = self._layers((features - self.mean) / self.std)
        std = out[:, 3:6].clamp(*LOG_STD_RANGE).exp()
        slant = MAX_SLANT * out[:, 6:9].tanh()
        zero = torch.zeros_like(std[:, 0])
        rows = (
            (std[:, 0], zero, zero),
            (slant[:, 0] * std[:, 1], std[:, 1], zero),
            (slant[:, 1] * std[:, 2], slant[:, 2] * std[:, 2], std[:, 2]),
        )
        L = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return nn.functional.normalize(out[:, :3], dim=-1), L

    def arrays(self, scale: float) -> Mapping[str, np.ndarray]:
        """The file's arrays, by name."""
        arrays: dict[str, np.ndarray] = {"scale": np.array(scale, np.float32)}
        arrays |= {"mean": self.mean.numpy(), "std": self.std.numpy()}
        layers = [layer for layer in self._layers if isinstance(layer, nn.Linear)]
        for i, layer in enumerate(layers):
            arrays[f"weight_{i}"] = layer.weight.detach().numpy()
            arrays[f"bias_{i}"] = layer.bias.detach().numpy()
        return arrays


def squared_distance(
    vector: Float[Tensor, "N 3"], L: Float[Tensor, "N 3 3"], up: Float[Tensor, "N 3"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Return squared Mahalanobis distances of `up`, and log determinants of the covariances."""
    B = _basis(vector)
    cosine = (vector * up).sum(-1).clamp(-1 + 1e-6, 1 - 1e-6)
    away = (B.transpose(-1, -2) @ up[..., None])[..., 0]
    away = away * (cosine.arccos() / (1 - cosine.square()).sqrt())[:, None]
    half = B.transpose(-1, -2) @ L
    cov = half @ half.transpose(-1, -2)
    a, b, c = cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]
    determinant = (a * c - b * b).clamp_min(1e-12)
    x, y = away.T
    return (c * x * x - 2 * b * x * y + a * y * y) / determinant, determinant.log()


def likelihood_loss(
    vector: Float[Tensor, "N 3"], L: Float[Tensor, "N 3 3"], up: Float[Tensor, "N 3"], tails: float
) -> Float[Tensor, "N"]:
    """Negative log density of the truth: Student's t with `tails` degrees, in the tangent plane.

    Up to a constant. The covariance is that of the normal distribution that it resembles in its
    middle; `scale` is fitted afterwards.
    """
    squared, log_determinant = squared_distance(vector, L, up)
    return 0.5 * log_determinant + (0.5 * tails + 1) * (squared / tails).log1p()


def rolled(
    features: Float[Tensor, "N F"], share: float, rng: torch.Generator
) -> Float[Tensor, "N F"]:
    """Roll a share of the cameras by `_ROLL` radians, half of them by quarters of a turn as well.

    Nothing else changes: a person is estimated about as well from a rolled image. This says how
    much the network may rely on cameras that stand upright.
    """
    up, forward = features[:, _UP], features[:, _FORWARD]
    shape = (len(features), 1)
    quarters = torch.randint(4, shape, generator=rng) * torch.randint(2, shape, generator=rng)
    angle = 0.5 * math.pi * quarters + _ROLL * torch.randn(shape, generator=rng)
    angle = angle * (torch.rand(shape, generator=rng) < share)
    turned = features.clone()
    turned[:, _UP] = angle.cos() * up + angle.sin() * torch.linalg.cross(up, forward)
    return turned


def _basis(vector: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 2"]:
    """Two orthonormal vectors across each unit vector, as `engines.gravity.direction` has them."""
    x, y, z = vector.T
    sign = torch.where(z < 0, -1.0, 1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = torch.stack([1.0 + sign * x * x * a, sign * b, -sign * x], -1)
    second = torch.stack([b, sign + y * y * a, -y], -1)
    return torch.stack([first, second], -1)
