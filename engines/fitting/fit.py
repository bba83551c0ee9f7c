"""The last step of the posterior: draw hypotheses to visible landmarks, hold the rest to the flow.

    samples, landmarks -> anchor C -> gate -> C with depth held -> step of each body
                       -> the same samples, fitted

What the flow draws lies some percent of a person's size beside the landmarks, though they are known
to a fraction of that. Each hypothesis moves to the nearest body, in the metric of the flow's own
posterior, that agrees with the landmarks (`solver.py`). Occluded limbs follow as far as the flow
says that they hang together with what is visible. Depth does not: the flow has seen the same
landmarks, and what they say about depth would count twice (`FitConfig.depth_sigma`). `reference.py`
says the same in NumPy.

Each hypothesis but the best estimate is drawn to landmarks that are moved at random by their sigma:
samples of the prior and perturbed measurements, minimised, are samples of the posterior where the
problem is linear (randomised maximum likelihood; Bardsley et al., Randomize-then-optimize, 2014),
but for depth, whose distribution stays the flow's: p(depth) p(rest | depth, landmarks).
`log_q` and the weights stay those of the samples that the bodies were made from.
"""

from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics
from engines.fitting.anchor import Anchor, anchor_of_steps, conditioned, holding
from engines.fitting.bodies import bodies_of
from engines.fitting.fused import FusedSolver, Targets
from engines.fitting.gate import belief, normalised_innovation
from engines.fitting.observation import LANDMARKS, Observation, observe
from engines.fitting.residuals import Residuals
from engines.fitting.settings import FitConfig
from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.hypotheses import first
from engines.kernels import Skeleton
from engines.types import Hypotheses, Landmarks

DITHER_SEED = 19790823


class HypothesisFitter:
    """Fits the hypotheses of one body model to landmarks; one thread at a time."""

    def __init__(
        self,
        skeleton: Skeleton,
        num_hypotheses: int,
        config: FitConfig | None = None,
        device: str = "cpu",
        prior: Residuals | None = None,
    ) -> None:
        """Allocate.

        Args:
            skeleton: of the body model.
            num_hypotheses: K.
            config: of the fit; the default one when None.
            device: of the kernels, "cpu" or "cuda:N".
            prior: of the pose, beside what the flow knows of poses; nothing when None.
        """
        self._skeleton = skeleton
        self._prior = prior
        self.config = config = config or FitConfig()
        self._solver = FusedSolver(skeleton, num_hypotheses, device)
        self._displacements = config.dither * dither(num_hypotheses)

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
            sigma: of each landmark if it is certainly visible, on the plane z = 1 of the
                camera, where it is known better than from its heatmap.
        """
        seen = observe(landmarks, intrinsics, samples.view, self.config, sigma)
        fitted = self.fit(samples.hypotheses, seen)
        return samples if fitted is None else replace(samples, posed=fitted)

    def fit(self, drawn: Hypotheses, seen: Observation) -> PosedHypotheses | None:
        """Fit hypotheses to joints that were located in the image, in any camera's frame.

        Returns:
            None where nothing is visible, or what is visible is not believed.
        """
        if len(seen.index) == 0:
            return None
        config, solver = self.config, self._solver
        solver.load(drawn)
        steps, pelvis = solver.steps_from_first(), drawn.joints[0, 0]
        anchor = anchor_of_steps(steps, drawn.weights, config.shrinkage, pelvis)
        trust = self._belief(anchor, seen)
        if trust == 0.0:
            return None
        if self._prior is not None:
            anchor, drawn = self._with_prior(self._prior, anchor, drawn, trust)
        anchor = holding(anchor, solver.depth_jacobian(), config.depth_sigma)
        target = seen.rays + seen.sigma[:, None] * self._displacements[:, seen.index]
        targets = Targets(target, seen, config.cauchy, config.limit_sigma)
        step = solver.minimise(anchor, targets, config.iterations, config.shared_jacobian)
        moved = solver.moved(step if trust == 1.0 else np.float32(trust) * step)
        hypotheses = replace(
            drawn,
            rotvec=moved.rotvec,
            betas=moved.betas,
            transl=moved.transl,
            joints=moved.joints,
        )
        return PosedHypotheses(hypotheses, moved.T_cam_rest)

    def _with_prior(
        self, prior: Residuals, anchor: Anchor, drawn: Hypotheses, trust: float
    ) -> tuple[Anchor, Hypotheses]:
        """Condition the loaded bodies on a pose prior, and load what comes of them."""
        rows = prior(bodies_of(self._skeleton, first(drawn, 1)))
        surprise = max(float(rows.cost[0]), 0.0) / self.config.prior_nats
        share = self.config.prior_share / (1.0 + surprise)
        steps = self._solver.steps_from_first()
        noise = self.config.dither * _noise(len(steps), rows.residual.shape[1])
        anchor, moves = conditioned(anchor, steps, rows, share, noise)
        moved = self._solver.moved(np.float32(trust) * moves)
        parts = {name: getattr(moved, name) for name in ("rotvec", "betas", "transl", "joints")}
        drawn = replace(drawn, **parts)
        self._solver.load(drawn)
        return anchor, drawn

    def _belief(self, anchor: Anchor, seen: Observation) -> float:
        """Return how far the landmarks are believed, given the best estimate."""
        predicted, J = self._solver.projection(seen)
        residual = (seen.rays - predicted).reshape(-1)
        variance = np.repeat(seen.sigma**2, 2)
        innovation = normalised_innovation(residual, J, variance, anchor.cov)
        return belief(innovation, self.config.full_belief, self.config.no_belief)


def dither(count: int) -> Float[np.ndarray, "K 12 2"]:
    """Draw normal displacements of the limb landmarks for each of K bodies, none for body 0.

    They are the same in every frame, so that the hypotheses of a still person are still.
    """
    return _noise(count, 2 * len(LANDMARKS)).reshape(count, -1, 2).copy()


@cache
def _noise(count: int, numbers: int) -> Float[np.ndarray, "K n"]:
    rng = np.random.default_rng(DITHER_SEED)
    noise = rng.standard_normal((count, numbers), np.float32)
    noise[0] = 0.0
    return noise
