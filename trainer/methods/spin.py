"""Regression with fitting in the loop (SPIN, Kolotouros et al., ICCV 2019): the regressor is taught
by fits to the 2D labels.

In every step the regressed body is the start of a short fit to the visible 2D joints and the
priors, and the regressor is drawn to what the fit found. Three differences from the original. It
keeps the best fit of every training image in a dictionary; our samples have no names and are
perturbed anew, so the fit is made anew from the current regression, and counts only where it
explains the 2D labels better than its start. Where there is 3D truth the original puts it in the
place of the fit; here the fit stays beside it with a small weight. And the regression itself sees
the priors, as in HMR, so that the two differ in the loop only.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.hmr import Regressor
from trainer.methods.method import (
    Loss2DConfig,
    Loss3DConfig,
    Losses,
    Method,
    Priors,
    Samples,
    Supervision,
)
from trainer.model.bodies import BodySamples
from trainer.model.encoder import EncoderConfig


@dataclass(frozen=True)
class SpinFit:
    """The fit in the loop."""

    steps: int = 8
    """Steps of Adam, which sees joints only, no surface. The original takes a hundred, but keeps
    what it found.
    """
    rate: float = 0.02
    """Learning rate of Adam: about how far a number moves in a step (radians, betas, camera)."""


@dataclass(frozen=True)
class SPINConfig:
    """Weights."""

    loss_2d: Loss2DConfig = field(default_factory=Loss2DConfig)
    loss_3d: Loss3DConfig = field(default_factory=Loss3DConfig)
    """Weights of the distances to the true body, and to the fit."""
    fit: SpinFit = field(default_factory=SpinFit)
    fit_weight_2d: float = 1.0
    """Under `2d-vis`: of the distance to the fit."""
    fit_weight_3d: float = 0.1
    """Under `3d`: the same, besides the distance to the true body."""


class SPIN(Method):
    """One regressed body; all hypotheses are that one."""

    def __init__(
        self, supervision: Supervision, priors: Priors, config: SPINConfig, encoder: EncoderConfig
    ) -> None:
        super().__init__(supervision, priors)
        self.config = config
        self.regressor = Regressor(encoder)

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        """As HMR, and the distance to the fit."""
        config = self.config
        bodies = self.regressor(batch)
        joints = self.priors.joints(batch, bodies)
        loss_2d, losses = self.priors.loss_2d(batch, bodies, joints, config.loss_2d)
        fit, gain = self.fit(batch, bodies)
        losses["gain"] = gain.mean()
        losses["fit"] = self._distance_to(fit, batch, bodies, joints)
        if self.supervision == "2d-vis":
            return loss_2d + config.fit_weight_2d * losses["fit"], losses
        loss_3d, more = self.priors.loss_3d(batch, bodies, joints, config.loss_3d)
        total = (
            loss_3d
            + config.loss_3d.reprojection * losses["reprojection"]
            + config.fit_weight_3d * losses["fit"]
        )
        return total, Losses(losses | more)

    def fit(self, batch: Batch, start: BodySamples) -> tuple[BodySamples, Float[Tensor, "B"]]:
        """Improve one body per image by what `2d-vis` knows about it.

        Returns:
            The best bodies on the way, where nothing is better the start itself, and the nats that
            they gained. Neither has a gradient.
        """
        tried, nats = [], []
        with torch.enable_grad():  # also where the loss is only looked at
            now = BodySamples(*(part.detach().clone().requires_grad_() for part in start))
            optimiser = torch.optim.Adam(list(now), lr=self.config.fit.rate)
            for _ in range(self.config.fit.steps):
                objective = self._objective(batch, now)
                tried.append(_copy(now))
                nats.append(objective.detach())
                optimiser.zero_grad()
                objective.sum().backward()
                optimiser.step()
        tried.append(_copy(now))
        nats.append(self._objective(batch, tried[-1]))
        scores = torch.stack(nats, -1)
        all_tried = BodySamples(*(torch.cat(parts, 1) for parts in zip(*tried, strict=True)))
        return all_tried.pick(scores.argmin(-1, keepdim=True)), scores[:, 0] - scores.amin(-1)

    def _objective(self, batch: Batch, bodies: BodySamples) -> Float[Tensor, "B"]:
        joints = self.priors.joints(batch, bodies)
        return self.priors.loss_2d_per_body(batch, bodies, joints, self.config.loss_2d)[:, 0]

    def _distance_to(
        self, fit: BodySamples, batch: Batch, bodies: BodySamples, joints: Tensor
    ) -> Tensor:
        """3D loss with the fit in the place of the true body; zero where the fit is its start."""
        rotvec, betas, camera = (part[:, 0] for part in fit)
        taught = batch._replace(
            rotvec=rotvec, betas=betas, camera=camera, joints=self.priors.joints(batch, fit)[:, 0]
        )
        return self.priors.loss_3d(taught, bodies, joints, self.config.loss_3d)[0]

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        """The same body `count` times; nothing is fitted here, there is no 2D label besides the
        features.
        """
        bodies = self.regressor(batch)
        return Samples(
            BodySamples(*(part.expand(-1, count, *part.shape[2:]) for part in bodies)), None
        )


def _copy(bodies: BodySamples) -> BodySamples:
    return BodySamples(*(part.detach().clone() for part in bodies))
