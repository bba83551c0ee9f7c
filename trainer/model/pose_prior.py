r"""The pose prior: a Gaussian mixture over SMPL's 23 joint rotations below the root.

The mixture lives in axis-angle coordinates $y \in \mathbb{R}^{69}$. As a density of rotations,
against the Haar measure on $SO(3)^{23}$ with total $8\pi^2$ per joint, it is

$$\log p(R) = \log \sum_c w_c\, \mathcal{N}(y; \mu_c, \Sigma_c)
    - \sum_k \log\frac{2 - 2\cos\theta_k}{\theta_k^2}, \qquad \theta_k = \|y_k\|.$$

It is evaluated on the branch of the logarithm that is passed in, as are the flow's samples; hardly
any recorded pose comes near half a turn, where the branches meet. It is the mixture of
`engines.priors.mixture` with 12 components and gradients; `COMMAND` fits it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from engines.errors import PenumbraError
from engines.priors.load import read_prior
from engines.priors.mixture import Mixture
from trainer.model import so3

ASSET = Path(__file__).parents[1] / "assets" / "pose_prior.npz"
COMMAND = (
    "python -m trainer.prior --kind gmm --gmm.components 12 --out trainer/assets/pose_prior.npz"
)
_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class PoseMixture:
    """A mixture of C Gaussians over 69 axis-angle coordinates."""

    log_weights: Float[Tensor, "C"]
    means: Float[Tensor, "C 69"]
    whitening: Float[Tensor, "C 69 69"]
    """L^-1, where the covariance is L L^T."""
    log_det: Float[Tensor, "C"]
    """log |det L^-1|."""

    @staticmethod
    def load(path: str | Path | None = None) -> "PoseMixture":
        """Read a fitted prior; the shipped one where `path` is None.

        Raises:
            PenumbraError: if the file is missing, damaged or another prior.
        """
        mixture = read_prior(Path(path) if path is not None else ASSET)
        if not isinstance(mixture, Mixture):
            raise PenumbraError(f"pose prior: {path} is no mixture; make one with {COMMAND}.")
        moments = (mixture.weights, mixture.means, mixture.covariances)
        return PoseMixture.from_moments(*(torch.from_numpy(part) for part in moments))

    @staticmethod
    def from_moments(
        weights: Float[Tensor, "C"],
        means: Float[Tensor, "C 69"],
        covariances: Float[Tensor, "C 69 69"],
    ) -> "PoseMixture":
        """Build the prior from a mixture's usual parameters.

        The covariances are inverted in float64; the result is float32.
        """
        cholesky = torch.linalg.cholesky(covariances.double())
        eye = torch.eye(cholesky.shape[-1], dtype=torch.float64).expand_as(cholesky)
        whitening = torch.linalg.solve_triangular(cholesky, eye, upper=False)
        log_det = whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return PoseMixture(
            weights.double().log().float(), means.float(), whitening.float(), log_det.float()
        )

    def to(self, target: torch.device | str | torch.dtype) -> "PoseMixture":
        """Return the same prior on a device, or in a floating-point type."""
        fields = (self.log_weights, self.means, self.whitening, self.log_det)
        return PoseMixture(*(tensor.to(target) for tensor in fields))

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "N 23 3"]:
        """Draw poses as rotation vectors, on the CPU."""
        component = torch.multinomial(
            self.log_weights.exp().cpu(), count, replacement=True, generator=generator
        )
        noise = torch.randn(count, 69, 1, generator=generator)
        whitening = self.whitening.cpu()[component]
        offset = torch.linalg.solve_triangular(whitening, noise, upper=False)[..., 0]
        return (self.means.cpu()[component] + offset).unflatten(-1, (23, 3))

    def log_prob_axis_angle(self, rotvec: Float[Tensor, "*B 23 3"]) -> Float[Tensor, "*B"]:
        """Log density of the coordinates themselves, with respect to d^69 y."""
        y = rotvec.flatten(-2)
        # L^-1 (y - mu) as one product for all components, without an array of differences for each.
        white = torch.einsum("cij,...j->...ci", self.whitening, y)
        white = white - torch.einsum("cij,cj->ci", self.whitening, self.means)
        log_normal = self.log_det - 0.5 * (white.square().sum(-1) + y.shape[-1] * _LOG_2_PI)
        return torch.logsumexp(self.log_weights + log_normal, -1)

    def log_prob(self, rotvec: Float[Tensor, "*B 23 3"]) -> Float[Tensor, "*B"]:
        """Log density of the rotations with respect to the Haar measure.

        It is differentiable, at zero too.

        Args:
            rotvec: SMPL's `body_pose`, axis-angle, radians; every vector shorter than 2 pi.
        """
        return self.log_prob_axis_angle(rotvec) - so3.exp_log_det(rotvec).sum(-1)
