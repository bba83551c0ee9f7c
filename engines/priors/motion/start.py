"""How motion begins: a Gaussian mixture over the first two bodies, in its max-mixture form.

The coordinates of a pair of bodies are, in this order,

    height of the pelvis, up in the pelvis' axes, rotation vectors of the turning joints, the step

The energy is that of the best component (see `engines.priors.mixture`), up to a constant.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.coordinates import TURNS
from engines.fitting.sequences.sequence import FRAME_DIM
from engines.priors.motion.layout import STEP, TURNING
from engines.priors.motion.state import Pairs, stepped
from engines.rotations import exp_so3, inverse_right_jacobian, log_so3, skew

POSE = 4 + 3 * len(TURNING)
START = POSE + STEP
"""Coordinates of a pair."""


@dataclass(frozen=True)
class StartMixture:
    """C components."""

    log_weights: Float[np.ndarray, "C"]
    means: Float[np.ndarray, "C S"]
    factors: Float[np.ndarray, "C S S"]
    """L of the covariances L L^T, lower triangular."""
    whitening: Float[np.ndarray, "C S S"]
    """L^-1."""

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "StartMixture":
        """Take what a file holds: `start.weights`, `start.means`, `start.factors`.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays are no mixture.
        """
        weights, means, factors = (
            arrays[f"start.{name}"].astype(np.float64) for name in ("weights", "means", "factors")
        )
        count = len(weights)
        if means.shape != (count, START) or factors.shape != (count, START, START) or not count:
            raise ValueError("its start has other coordinates")
        diagonal = np.diagonal(factors, axis1=1, axis2=2)
        if not all(np.isfinite(part).all() for part in (weights, means, factors)):
            raise ValueError("its start holds numbers that are not finite")
        if min(weights.min(), diagonal.min()) <= 0:
            raise ValueError("its start must have positive weights and variances")
        factors = np.tril(factors)
        log_weights = np.log(weights / weights.sum()) - np.log(diagonal).sum(-1)
        return StartMixture(log_weights, means, factors, np.linalg.inv(factors))

    def energy(self, pairs: Pairs) -> Float[np.ndarray, "K"]:
        """Return the energy of pairs, nats."""
        return self._best(start_coordinates(pairs))[2]

    def rows(
        self, pairs: Pairs
    ) -> tuple[Float[np.ndarray, "K S"], Float[np.ndarray, "K S 75"], Float[np.ndarray, "K S 75"]]:
        """Return the residuals of the best component, and derivatives by first and second body."""
        y = start_coordinates(pairs)
        best, white, _ = self._best(y)
        by_first, by_second = start_jacobian(pairs)
        whitening = self.whitening[best]
        return -white, whitening @ by_first, whitening @ by_second

    def sample(self, count: int, rng: np.random.Generator) -> Pairs:
        """Draw pairs of bodies, the first pelvis above the origin, facing +y as far as upright."""
        prior = self.log_weights + np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(-1)
        weights = np.exp(prior)
        component = rng.choice(len(weights), count, p=weights / weights.sum())
        noise = rng.standard_normal((count, START, 1))
        y = self.means[component] + (self.factors[component] @ noise)[..., 0]
        R = np.tile(np.eye(3), (count, 24, 1, 1))
        R[:, list(TURNING)] = exp_so3(y[:, 4:POSE].reshape(count, -1, 3))
        R[:, 0] = _upright(y[:, 1:4])
        pelvis = np.zeros((count, 3))
        pelvis[:, 2] = y[:, 0]
        # The height and up are those after the step, which is undone here.
        back = -y[:, POSE:]
        before = R.copy()
        before, _ = stepped(R, pelvis, back)
        moved = (before[:, 0] @ y[:, POSE : POSE + 3, None])[..., 0]
        return Pairs(before, R, pelvis - moved, pelvis)

    def _best(
        self, y: Float[np.ndarray, "K S"]
    ) -> tuple[np.ndarray, Float[np.ndarray, "K S"], Float[np.ndarray, "K"]]:
        """Return the best component, what it whitens y to, and its energy."""
        white = np.einsum("cij,kcj->kci", self.whitening, y[:, None] - self.means, optimize=True)
        energies = 0.5 * (white**2).sum(-1) - self.log_weights
        best = energies.argmin(1)
        which = np.arange(len(y))
        return best, white[which, best], energies[which, best]


def start_coordinates(pairs: Pairs) -> Float[np.ndarray, "K S"]:
    """Return the coordinates of pairs; pose and height are those of the second body."""
    rotvec = log_so3(pairs.R[:, list(TURNING)]).reshape(len(pairs.R), -1)
    return np.concatenate([pairs.pelvis[:, 2:], pairs.R[:, 0, 2], rotvec, pairs.step()], -1)


def start_jacobian(
    pairs: Pairs,
) -> tuple[Float[np.ndarray, "K S 75"], Float[np.ndarray, "K S 75"]]:
    """Differentiate the coordinates by the first bodies and by the second."""
    count = len(pairs.R)
    first = np.zeros((count, START, FRAME_DIM))
    second = np.zeros((count, START, FRAME_DIM))
    up = pairs.R[:, 0, 2]
    second[:, 0, TURNS + 2] = 1.0
    second[:, 1:4, :3] = skew(up)
    by_turn = inverse_right_jacobian(log_so3(pairs.R[:, list(TURNING)]))
    for i, j in enumerate(TURNING):
        second[:, 4 + 3 * i : 7 + 3 * i, 3 * j : 3 * j + 3] = by_turn[:, i]
    first[:, POSE:], second[:, POSE:] = pairs.step_jacobian()
    return first, second


def _upright(up: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 3 3"]:
    """A root's orientation with this direction of up in its axes, its left side towards -x."""
    z = up / np.linalg.norm(up, axis=-1, keepdims=True)
    left = np.array([1.0, 0.0, 0.0]) - z[:, :1] * z
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    # Rows of R are the world's axes in those of the pelvis: x (to the right), y (ahead), z (up).
    return np.stack([-left, np.cross(z, -left), z], 1)
