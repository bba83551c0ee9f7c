"""The last step of the posterior: draw hypotheses to visible landmarks, hold the rest to the flow.

    samples, landmarks -> anchor C -> gate -> step of each body -> the same samples, fitted

What the flow draws lies some percent of a person's size beside the landmarks, though they are known
to a fraction of that. Each hypothesis moves to the nearest body, in the metric of the flow's own
posterior, that agrees with the landmarks (`solver.py`). Depth and occluded limbs follow only as far
as the flow says that they hang together with what is visible.

Each hypothesis but the best estimate is drawn to landmarks that are moved at random by their sigma:
samples of the prior and perturbed measurements, minimised, are samples of the posterior where the
problem is linear (randomised maximum likelihood; Bardsley et al., Randomize-then-optimize, 2014).
`log_q` and the weights stay those of the samples that the bodies were made from.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics
from engines.fitting.anchor import Anchor, anchor_of
from engines.fitting.bodies import Bodies, bodies_of, moved, take
from engines.fitting.gate import belief, normalised_innovation
from engines.fitting.limits import HingeLimits
from engines.fitting.observation import LANDMARKS, Observation, landmark_sigma, observe
from engines.fitting.residuals import LandmarkResiduals
from engines.fitting.solver import solve
from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.kernels import JointPlan, Skeleton
from engines.rotations import log_so3
from engines.types import Hypotheses, Landmarks

DITHER_SEED = 19790823


@dataclass(frozen=True)
class FitConfig:
    """How hypotheses are fitted to landmarks."""

    sigma: float = 0.025
    """Standard deviation of a limb landmark that is certainly visible, in half sizes."""
    hip_sigma: float = 0.045
    """The same of a hip, which the landmark network and bodies place differently."""
    min_visibility: float = 0.5
    """Landmarks below it say nothing."""
    cauchy: float = 3.0
    """Residual, in sigmas, at which a landmark counts half."""
    shrinkage: float = 0.2
    """Share of the diagonal in the covariance: a hundred samples leave correlations uncertain."""
    dither: float = 1.0
    """Random displacement of each hypothesis' landmarks, in sigmas; 0 takes spread away."""
    iterations: int = 1
    """Gauss-Newton steps; more for recordings."""
    full_belief: float = 0.75
    """Normalised innovation up to which landmarks are believed fully."""
    no_belief: float = 1.25
    """Normalised innovation from which hypotheses stay as they were drawn."""
    limit_sigma: float = 0.05
    """How soft the limits of knees and elbows are, radians."""


class HypothesisFitter:
    """Fits the hypotheses of one body model to landmarks; one thread at a time."""

    def __init__(
        self,
        skeleton: Skeleton,
        num_hypotheses: int,
        config: FitConfig = FitConfig(),
        device: str = "cpu",
    ) -> None:
        """Allocate.

        Args:
            skeleton: of the body model.
            num_hypotheses: K.
            config: of the fit.
            device: of the forward kinematics, "cpu" or "cuda:N".
        """
        self.config = config
        self._skeleton = skeleton
        self._forward_kinematics = JointPlan(skeleton, num_hypotheses, device)
        self._limits = HingeLimits(config.limit_sigma)
        self._dither = config.dither * dither(num_hypotheses)

    def __call__(
        self,
        samples: FlowOutput,
        landmarks: Landmarks,
        intrinsics: Intrinsics,
        sigma: Float[np.ndarray, "33"] | None = None,
    ) -> FlowOutput:
        """Fit the samples that were drawn for these landmarks.

        Args:
            samples: of the flow.
            landmarks: that it was given.
            intrinsics: of the image.
            sigma: of each landmark if it is certainly visible, on the plane z = 1, where it is
                known better than from the person's size.
        """
        if sigma is None:
            sigma = self.sigma(samples.half_size)
        seen = observe(landmarks, intrinsics, sigma, self.config.min_visibility)
        fitted = self.fit(samples.hypotheses, seen)
        return samples if fitted is None else replace(samples, posed=fitted)

    def sigma(self, half_size: float) -> Float[np.ndarray, "33"]:
        """Return the standard deviations of landmarks that are certainly visible.

        Args:
            half_size: half the person's size on the plane z = 1, the unit of the result too.
        """
        return landmark_sigma(half_size, self.config.sigma, self.config.hip_sigma)

    def fit(self, drawn: Hypotheses, seen: Observation) -> PosedHypotheses | None:
        """Fit hypotheses to joints that were located in the image, in any camera's frame.

        Returns:
            None where nothing is visible, or what is visible is not believed.
        """
        if len(seen.index) == 0:
            return None
        config = self.config
        start = bodies_of(self._skeleton, drawn)
        anchor = anchor_of(start, drawn.weights, config.shrinkage)
        trust = self._belief(take(start, slice(1)), anchor, seen)
        if trust == 0.0:
            return None
        target = seen.rays + seen.sigma[:, None] * self._dither[:, seen.index]
        terms = (self._landmarks(target, seen), self._limits)
        step = solve(self._skeleton, start, anchor, terms, config.iterations).step
        bodies = moved(self._skeleton, start, np.float32(trust) * step)
        return self._posed(bodies, drawn)

    def _belief(self, best: Bodies, anchor: Anchor, seen: Observation) -> float:
        """Return how far the landmarks are believed, given the best estimate."""
        landmarks = self._landmarks(seen.rays[None], seen)
        J, predicted = landmarks.projected(best)
        residual = (seen.rays - predicted[0]).reshape(-1)
        variance = np.repeat(seen.sigma**2, 2)
        innovation = normalised_innovation(
            residual, J.reshape(len(residual), -1), variance, anchor.cov
        )
        return belief(innovation, self.config.full_belief, self.config.no_belief)

    def _landmarks(
        self, target: Float[np.ndarray, "#K m 2"], seen: Observation
    ) -> LandmarkResiduals:
        return LandmarkResiduals(
            self._skeleton, seen.joints, target, seen.sigma, self.config.cauchy
        )

    def _posed(self, bodies: Bodies, drawn: Hypotheses) -> PosedHypotheses:
        rotvec = log_so3(bodies.R).astype(np.float32)
        betas, pelvis = bodies.betas.astype(np.float32), bodies.pelvis.astype(np.float32)
        posed = self._forward_kinematics(rotvec, np.eye(3, dtype=np.float32), betas, pelvis)
        hypotheses = replace(
            drawn, rotvec=rotvec, betas=betas, transl=posed.transl, joints=posed.joints
        )
        return PosedHypotheses(hypotheses, posed.T_cam_rest)


def dither(count: int) -> Float[np.ndarray, "K 12 2"]:
    """Draw normal displacements of the limb landmarks for each of K bodies, none for body 0.

    They are the same in every frame, so that the hypotheses of a still person are still.
    """
    rng = np.random.default_rng(DITHER_SEED)
    noise = rng.standard_normal((count, len(LANDMARKS), 2), np.float32)
    noise[0] = 0.0
    return noise
