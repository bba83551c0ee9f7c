"""What priors generate: how different the bodies are, and how plausible.

Plausible is what a judge finds so that no prior has seen: a mixture fitted to half of the test
subjects' clips. Their other half says what the judge finds of real poses. The second measure are
knees and elbows within the limits that recorded ones keep to.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from engines.fitting.bodies import pose
from engines.fitting.limits import HINGES
from engines.kernels import Skeleton
from engines.priors.prior import PosePrior, Projector, Sampler
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS, NUM_JOINTS
from trainer.priors.samples import with_root

CM = 100.0
_PAIRS = 4000
_START_RAD = 0.6
"""Standard deviation of the random poses that a prior projects which cannot be sampled."""


@runtime_checkable
class Judge(Protocol):
    """What says how plausible poses are."""

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return nats."""
        ...


@dataclass(frozen=True)
class Generated:
    """Measures of generated bodies."""

    diversity_cm: float
    """Mean distance of the joints of two bodies with the same root."""
    energy: float
    """Median nats of the judge."""
    plausible: float
    """Share that the judge finds no worse than the worst twentieth of real poses."""
    within_limits: float
    """Share whose knees and elbows bend as recorded ones do."""


def generate(
    prior: PosePrior, count: int, rng: np.random.Generator, project_steps: int = 100
) -> Float[np.ndarray, "K 24 3 3"]:
    """Draw poses; a prior that cannot be sampled projects random ones.

    Raises:
        TypeError: the prior can do neither.
    """
    if isinstance(prior, Sampler):
        return exp_so3(with_root(prior.sample(count, rng)).astype(np.float32))
    if not isinstance(prior, Projector):
        raise TypeError(f"{prior.name} can neither be sampled nor project")
    rotvec = _START_RAD * rng.standard_normal((count, NUM_JOINTS - 1, 3))
    return prior.project(exp_so3(with_root(rotvec).astype(np.float32)), project_steps)


def measure(
    R: Float[np.ndarray, "K 24 3 3"],
    skeleton: Skeleton,
    judge: Judge,
    real: Float[np.ndarray, "N 24 3 3"],
    rng: np.random.Generator,
) -> Generated:
    """Measure generated poses.

    Args:
        R: the poses.
        skeleton: that they are put on, in its mean shape.
        judge: of plausibility.
        real: poses that neither the judge nor a prior has seen.
        rng: draws pairs.
    """
    energy = judge.energy(R)
    worst = np.quantile(judge.energy(real), 0.95)
    return Generated(
        diversity_cm=_diversity(R, skeleton, rng),
        energy=float(np.median(energy)),
        plausible=float((energy <= worst).mean()),
        within_limits=float(_within_limits(R).mean()),
    )


def _diversity(
    R: Float[np.ndarray, "K 24 3 3"], skeleton: Skeleton, rng: np.random.Generator
) -> float:
    count = len(R)
    turns = R.copy()
    turns[:, 0] = np.eye(3)
    joints = pose(skeleton, turns, np.zeros((count, NUM_BETAS)), np.zeros((count, 3))).joints
    a, b = rng.integers(count, size=(2, _PAIRS))
    away = np.linalg.norm(joints[a] - joints[b], axis=-1)[a != b]
    return CM * float(away.mean())


def _within_limits(R: Float[np.ndarray, "K 24 3 3"]) -> Bool[np.ndarray, "K"]:
    rotvec = log_so3(R)
    slack = 0.05
    inside = [
        (rotvec[:, h.joint, h.axis] > h.low - slack) & (rotvec[:, h.joint, h.axis] < h.high + slack)
        for h in HINGES
    ]
    return np.all(inside, axis=0)
