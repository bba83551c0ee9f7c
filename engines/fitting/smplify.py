"""SMPLify and SMPLify-X: bodies from limb landmarks alone, without the flow, many at a time.

SMPLify (Bogo et al., Keep it SMPL, 2016) minimises over turns of the joints what landmarks, a pose
prior, knees and elbows that bend the wrong way, limbs inside one another and the shape cost.
SMPLify-X (Pavlakos et al., Expressive Body Capture, 2019) looks for the latent code of a pose
instead, whose length is the prior. Here both are one solver (`solver.py`) with other rows in
another chart; and in one point they differ from what was released: landmarks count in units of
their own standard deviation, and their robust loss too, so that no weight is set by hand. What the
released stages lower from 404 to 4.78 px is here a factor on all standard deviations.

The default body has neither fingers nor a face that moves: of SMPLify-X this is the body.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.coordinates import TURNS
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, pose
from engines.fitting.charts import Chart, Decoder, Latent, Turns
from engines.fitting.initial import torso_starts
from engines.fitting.laplace import Posterior, posterior
from engines.fitting.limits import Bending
from engines.fitting.observation import JOINTS, Limbs
from engines.fitting.residuals import LandmarkResiduals, Residuals
from engines.fitting.settings import WITHOUT_HEATMAPS, FitConfig
from engines.fitting.solver import Solution, solve
from engines.fitting.spheres import Spheres
from engines.flow.sampler import skeleton_of
from engines.types import NUM_BETAS


class Stage(NamedTuple):
    """A part of the fit."""

    blur: float
    """Factor on the standard deviations of all landmarks."""
    iterations: int
    """Levenberg-Marquardt steps that are tried."""


@dataclass(frozen=True)
class SmplifyConfig:
    """How bodies are fitted to landmarks alone."""

    landmarks: FitConfig = WITHOUT_HEATMAPS
    """Of it: which landmarks count, how sharply, and how robustly."""
    stages: tuple[Stage, ...] = (Stage(8.0, 4), Stage(1.0, 8))
    """Blurred first, so that the pose does not settle in what lies nearest; a fit that begins near
    the solution takes the last alone."""
    turn_rad: float = 2.0
    """Standard deviation of turns around where they begin: nearly everything."""
    shift_m: float = 2.0
    """The same of the pelvis."""
    collision: bool = True
    """Keep limbs out of one another."""


class BodyFitter:
    """Fits bodies to landmarks; made by `smplify` or `smplify_x`."""

    def __init__(
        self,
        body: BodyModel,
        terms: Sequence[Residuals],
        pose: Float[np.ndarray, "24 3 3"],
        decoder: Decoder | None,
        config: SmplifyConfig | None = None,
    ) -> None:
        """Take the parts of the objective.

        Args:
            body: whose skeleton it is.
            terms: what bodies cost beside landmarks and shape.
            pose: to begin with.
            decoder: of the codes that are looked for; turns of the joints when None.
            config: of the fit.
        """
        self.config = config or SmplifyConfig()
        self.skeleton = skeleton_of(body)
        self._terms = tuple(terms)
        self._pose = np.asarray(pose, np.float64)
        self._decoder = decoder

    def __call__(self, limbs: Limbs, starts: Bodies | None = None) -> Posterior:
        """Fit the people of B images.

        Args:
            limbs: their landmarks.
            starts: S bodies for each image to begin with, those of image 0 first: then only the
                last stage is gone through. The mean shape in the pose of the beginning, and its
                flip, when None.
        """
        stages = self.config.stages if starts is None else self.config.stages[-1:]
        if starts is None:
            starts = torso_starts(self.skeleton, self._pose, limbs.rays)
        count = starts.count // len(limbs.rays)
        chart, step, scale = self._coordinates(starts)
        anchor = Anchor(np.diag(scale**2))
        target, sigma = (np.repeat(part, count, 0) for part in (limbs.rays, limbs.sigma))

        def through(stage: Stage, step: Float[np.ndarray, "K N"]) -> Solution:
            landmarks = LandmarkResiduals(
                self.skeleton, JOINTS, target, stage.blur * sigma, self.config.landmarks.cauchy
            )
            terms = (landmarks, *self._terms)
            return solve(chart, anchor, terms, stage.iterations, step=step)

        for stage in stages[:-1]:
            step = through(stage, step).step
        solution = through(stages[-1], step)
        return posterior(self.skeleton, chart, anchor, solution, count)

    def _coordinates(
        self, starts: Bodies
    ) -> tuple[Chart, Float[np.ndarray, "K N"], Float[np.ndarray, "N"]]:
        """Return the chart, where bodies are in it, and what steps are a priori.

        Charts begin at the mean shape and code: their standard normal priors are those of a step.
        """
        R, pelvis = (np.asarray(part, np.float64) for part in (starts.R, starts.pelvis))
        mean = pose(self.skeleton, R, np.zeros((starts.count, NUM_BETAS)), pelvis)
        betas = np.asarray(starts.betas, np.float64)
        root = np.full(3, self.config.turn_rad)
        rest = np.r_[np.ones(NUM_BETAS), np.full(3, self.config.shift_m)]
        still = np.zeros_like(pelvis)
        if self._decoder is None:
            step = np.concatenate([np.zeros((starts.count, TURNS)), betas, still], 1)
            scale = np.r_[np.full(TURNS, self.config.turn_rad), rest]
            return Turns(self.skeleton, mean), step, scale
        code = np.asarray(self._decoder.encode(R)[0], np.float64)
        step = np.concatenate([still, code, betas, still], 1)
        scale = np.r_[root, np.ones(self._decoder.dim), rest]
        return Latent(self.skeleton, self._decoder, mean), step, scale


def smplify(
    body: BodyModel,
    prior: Residuals | None,
    pose: Float[np.ndarray, "24 3 3"],
    config: SmplifyConfig | None = None,
) -> BodyFitter:
    """SMPLify with any pose prior.

    Args:
        body: whose skeleton and thickness it is.
        prior: of the pose, its cost in nats; none when None.
        pose: to begin with, such as the prior's mean.
        config: of the fit.
    """
    config = config or SmplifyConfig()
    terms = (Bending(), *_collision(body, config))
    return BodyFitter(body, terms if prior is None else (prior, *terms), pose, None, config)


def smplify_x(body: BodyModel, decoder: Decoder, config: SmplifyConfig | None = None) -> BodyFitter:
    """SMPLify-X: the pose is the decoder's, and begins with the code 0.

    Its prior is |z|^2 where that of SMPLify is a negative log density: half the bending in nats.
    """
    config = config or SmplifyConfig()
    mean = decoder.decode(np.zeros((1, decoder.dim), np.float32))
    terms = (Bending(0.5 * Bending.nats), *_collision(body, config))
    return BodyFitter(body, terms, mean[0], decoder, config)


def _collision(body: BodyModel, config: SmplifyConfig) -> tuple[Residuals, ...]:
    return (Spheres.of(body),) if config.collision else ()
