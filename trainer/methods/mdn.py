r"""Mixture density network (Li and Lee, CVPR 2019): a few Gaussians per image.

A component is a body $m_k$ and a standard deviation for each of 85 directions away from it: three a
rotation, ten betas, three camera numbers. A body's rotations $R$ are $\xi_k = \log(R_k^\top R)$
away, so against the Haar measure

$$q(R, \ldots) = \sum_k w_k\, \mathcal{N}(\xi_k; 0, \sigma_k^2) \prod_j \frac{\theta_{kj}^2}{2 -
2\cos\theta_{kj}}, \qquad \theta_{kj} = \|\xi_{kj}\|.$$

It counts one logarithm of each rotation, the shortest; standard deviations are bounded so that the
others, half a turn away and more, do not matter. The original's components are isotropic and hold
3D joints.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.hmr import Regressor
from trainer.methods.method import Loss2DConfig, Losses, Method, Priors, Samples, Supervision
from trainer.model import so3
from trainer.model.bodies import BODY_DIM, BodySamples, bodies_from_vector
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM, ROT
from trainer.model.losses import likelihood_loss

_LEAST = 0.02
_MOST_ROTATION, _MOST_OTHER = 0.7, 2.0
"""Bounds of a component's standard deviations. At 0.7 rad one rotation in 6000 is drawn more than
half a turn away.
"""


@dataclass(frozen=True)
class MDNConfig:
    """Sizes and weights."""

    components: int = 5
    """K, as in the original."""
    apart: float = 0.1
    """Standard deviation of the components' random starts about the T-pose."""
    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    concentration: float = 1.1
    """Concentration of the Dirichlet prior of the weights, which keeps components alive. The
    original's 2 allows no weight above 1/3.
    """
    center_loss_2d: float = 0.1
    """Under `3d`: of the 2D loss of the components' centres, besides the likelihood."""


class Mixture(NamedTuple):
    """K Gaussians for each of B images."""

    log_weights: Float[Tensor, "B K"]
    centers: BodySamples
    log_scale: Float[Tensor, "B K D"]

    def offset(self, k: int, bodies: BodySamples) -> Float[Tensor, "B S D"]:
        """How far S bodies are from the centre of component k, in the Gaussian's coordinates."""
        y, betas, camera = self.centers.at(k)
        turn = so3.log(so3.exp(y).transpose(-1, -2) @ so3.exp(bodies.rotvec))
        return torch.cat([turn.flatten(-2), bodies.betas - betas, bodies.camera - camera], -1)

    def log_prob(self, bodies: BodySamples) -> Float[Tensor, "B S"]:
        """Log density of bodies, rotations against the Haar measure."""
        each = []
        for k in range(
            self.log_weights.shape[1]
        ):  # not all at once: a hundred bodies with every component is much memory
            offset, log_scale = self.offset(k, bodies), self.log_scale[:, k, None]
            normal = (
                -0.5 * (offset * (-log_scale).exp()).square()
                - log_scale
                - 0.5 * math.log(2 * math.pi)
            )
            volume = so3.exp_log_det(offset[..., :ROT].unflatten(-1, (-1, 3))).sum(-1)
            each.append(self.log_weights[:, k, None] + normal.sum(-1) - volume)
        return torch.logsumexp(torch.stack(each, -1), -1)

    def sample(self, index: Int[Tensor, "B S"], z: Float[Tensor, "B S D"]) -> BodySamples:
        """One body of each component named in `index`, from noise."""
        offset = z * torch.take_along_dim(self.log_scale, index[..., None], 1).exp()
        center = self.centers.pick(index)
        y = so3.log(so3.exp(center.rotvec) @ so3.exp(offset[..., :ROT].unflatten(-1, (-1, 3))))
        return BodySamples(
            y, center.betas + offset[..., ROT : ROT + 10], center.camera + offset[..., ROT + 10 :]
        )


class MDN(Method):
    """A mixture of Gaussians whose weights, centres and scales are regressed."""

    low: Tensor
    high: Tensor

    def __init__(
        self, supervision: Supervision, priors: Priors, config: MDNConfig, encoder: EncoderConfig
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.regressor = Regressor(encoder, config.components)
        self.weights = nn.Linear(encoder.width, config.components)
        self.scales = nn.Linear(encoder.width, config.components * DIM)
        most = torch.tensor([_MOST_ROTATION] * ROT + [_MOST_OTHER] * (DIM - ROT))
        self.register_buffer("low", torch.full((DIM,), _LEAST).log(), persistent=False)
        self.register_buffer("high", most.log(), persistent=False)
        with torch.no_grad():
            self.regressor.head.bias.add_(config.apart * torch.randn_like(self.regressor.head.bias))
            for layer in (self.weights, self.scales):
                layer.weight.zero_()
            self.weights.bias.zero_()
            self.scales.bias.fill_(1.0)  # 0.27 rad

    def encode(self, batch: Batch) -> Mixture:
        """The mixture of each image."""
        h = self.regressor.encoder(batch.features)
        share = torch.sigmoid(self.scales(h).unflatten(-1, (-1, DIM)))
        centers = bodies_from_vector(self.regressor.head(h).unflatten(-1, (-1, BODY_DIM)))
        return Mixture(
            self.weights(h).log_softmax(-1), centers, self.low + (self.high - self.low) * share
        )

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """Likelihood of the true body under `3d`; of the 2D loss under `2d-vis`."""
        config = self.config
        mixture = self.encode(batch)
        losses = Losses(dirichlet=-mixture.log_weights.sum(-1).mean())
        total = (config.concentration - 1) * losses["dirichlet"]
        if self.supervision == "2d-vis":
            z = rng.normal(batch.size, config.components, DIM)
            every_component = torch.arange(config.components, device=z.device).expand(
                batch.size, -1
            )
            losses["loss_2d"] = self._mixture_loss_2d(
                batch, mixture, [mixture.centers, mixture.sample(every_component, z)]
            )
            return total + losses["loss_2d"], losses
        losses["loss_2d"] = self._mixture_loss_2d(batch, mixture, [mixture.centers])
        losses["likelihood"] = likelihood_loss(mixture.log_prob(batch.bodies())[:, 0]).mean()
        return total + losses["likelihood"] + config.center_loss_2d * losses["loss_2d"], losses

    def _mixture_loss_2d(self, batch: Batch, mixture: Mixture, bodies: list[BodySamples]) -> Tensor:
        r"""$-\log \sum_k w_k \exp(-E_k)$, batch mean: the likelihood of visible joints and priors
        under the mixture.

        $E_k$ is the mean over the given bodies of component k. The component that explains a
        image best learns most from it, and the weights learn which that was. Nothing here rewards
        spread: drawn bodies only ever pull the scales down.
        """
        nats = [
            self.priors.loss_2d_per_body(
                batch, group, self.priors.joints(batch, group), self.config.loss_2d
            )
            for group in bodies
        ]
        return -torch.logsumexp(mixture.log_weights - torch.stack(nats).mean(0), -1).mean()

    def log_prob(self, batch: Batch) -> Float[Tensor, "B"]:
        """Log density of the whole mixture."""
        return self.encode(batch).log_prob(batch.bodies())[:, 0]

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """Draws from the mixture; number 0 is the heaviest component's centre."""
        mixture = self.encode(batch)
        z = rng.normal(batch.size, count, DIM)
        z[:, 0] = 0.0
        bounds = mixture.log_weights.exp().cumsum(-1)
        index = torch.searchsorted(bounds, rng.uniform(batch.size, count)).clamp_max(
            self.config.components - 1
        )
        index[:, 0] = mixture.log_weights.argmax(-1)
        bodies = mixture.sample(index, z)
        return Samples(bodies, mixture.log_prob(bodies))
