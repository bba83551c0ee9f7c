r"""A Gaussian mixture over rotation vectors, with the max-mixture form for least squares.

    p(y) = sum_c w_c N(y; mu_c, Sigma_c)        y in R^69, the joints below the root

The energy is that of the best component (Olson and Agarwal, Inference on networks of mixtures for
robust robot mapping, 2013; Bogo et al., Keep it SMPL, 2016):

    E(y) = min_c  |W_c (y - mu_c)|^2 / 2 + k_c      W_c^T W_c = Sigma_c^-1
    k_c = -log w_c + log det Sigma_c / 2 - min_c' (...)

which exceeds the true negative log density by less than log C, and has the rows W_c (mu_c - y) of
one component. Collars and hands, which the recordings do not measure, are held near none by the
covariance that `trainer.prior` gives them (`unmeasured_rad`).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from engines.fitting.bodies import Bodies
from engines.fitting.residuals import Rows
from engines.priors.turns import (
    BODY_JOINTS,
    coordinates,
    turn_gradient,
    white_rows,
    with_coordinates,
)

DIM_POSE = 3 * len(BODY_JOINTS)
_SPAN = slice(3 * BODY_JOINTS[0], 3 * BODY_JOINTS[-1] + 3)


@dataclass(frozen=True)
class Mixture:
    """A mixture of C components."""

    name: ClassVar[str] = "gmm"
    weights: Float[np.ndarray, "C"]
    means: Float[np.ndarray, "C 69"]
    """Radians."""
    covariances: Float[np.ndarray, "C 69 69"]
    """Square radians."""
    denoise_rad: float = 0.1
    """How far a step of `project` goes: the standard deviation of the noise it takes away."""

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "Mixture":
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays are no mixture.
        """
        weights, means, covariances = (
            np.asarray(arrays[name], np.float32) for name in ("weights", "means", "covariances")
        )
        count = len(weights)
        if (
            weights.shape != (count,)
            or means.shape != (count, DIM_POSE)
            or covariances.shape != (count, DIM_POSE, DIM_POSE)
        ):
            raise ValueError(f"it holds no mixture over {DIM_POSE} coordinates")
        if not all(np.isfinite(part).all() for part in (weights, means, covariances)):
            raise ValueError("it holds numbers that are not finite")
        if weights.min(initial=1.0) <= 0 or np.linalg.eigvalsh(covariances).min(initial=1.0) <= 0:
            raise ValueError("weights and covariances must be positive")
        return Mixture(weights, means, covariances)

    def arrays(self) -> dict[str, np.ndarray]:
        """The file's arrays, by name."""
        return {"weights": self.weights, "means": self.means, "covariances": self.covariances}

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return the energy of the best component; see above."""
        return self._energies(coordinates(R, BODY_JOINTS))[0].min(1)

    def log_density(self, rotvec: Float[np.ndarray, "K 23 3"]) -> Float[np.ndarray, "K"]:
        """Return the log density of the whole mixture with respect to d^69 y."""
        energies = -self._energies(rotvec)[0]
        best = energies.max(1)
        together = best + np.log(np.exp(energies - best[:, None]).sum(1))
        return together - (self._offset + 0.5 * DIM_POSE * math.log(2 * math.pi))

    def __call__(self, bodies: Bodies) -> Rows:
        """Return the 69 rows of each body's best component."""
        rotvec = coordinates(bodies.R, BODY_JOINTS)
        energies, white = self._energies(rotvec)
        best = energies.argmin(1)
        which = np.arange(len(best))
        W = self._whitening[best].astype(rotvec.dtype, copy=False)
        return white_rows(-white[which, best], W, rotvec, energies[which, best], BODY_JOINTS)

    def gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return energies and their derivative by turns; see `Differentiable`."""
        y = coordinates(R, BODY_JOINTS)
        energies, white = self._energies(y)
        best = energies.argmin(1)
        which = np.arange(len(best))
        by_y = np.empty((len(best), DIM_POSE), y.dtype)
        for component in np.unique(best):
            chosen = best == component
            whitening = self._whitening[component].astype(y.dtype, copy=False)
            by_y[chosen] = white[chosen, component] @ whitening
        return energies[which, best], turn_gradient(by_y.reshape(y.shape), y, BODY_JOINTS)

    def sample(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 23 3"]:
        """Draw poses: rotation vectors, radians."""
        weights = self.weights.astype(np.float64)
        component = rng.choice(len(weights), count, p=weights / weights.sum())
        L = np.linalg.cholesky(self.covariances.astype(np.float64))
        noise = rng.standard_normal((count, DIM_POSE, 1))
        pose = self.means[component] + (L[component] @ noise)[..., 0]
        return pose.reshape(count, -1, 3).astype(np.float32)

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Take poses towards the means of their components.

        A step is the proximal one, argmin |y' - y|^2 / (2 s^2) + E(y') with s = `denoise_rad`, of
        the component that is best before it, so it never raises the energy.
        """
        y = coordinates(R, BODY_JOINTS).reshape(len(R), DIM_POSE)
        for _ in range(steps):
            best = self._energies(y.reshape(len(R), -1, 3))[0].argmin(1)
            mean = self.means[best]
            y = (mean + (self._kept[best] @ (y - mean)[..., None])[..., 0]).astype(y.dtype)
        return with_coordinates(R, y.reshape(len(R), -1, 3), BODY_JOINTS)

    def _energies(
        self, rotvec: Float[np.ndarray, "K 23 3"]
    ) -> tuple[Float[np.ndarray, "K C"], Float[np.ndarray, "K C 69"]]:
        """Return the energy of each component, and W_c (y - mu_c)."""
        y = rotvec.reshape(len(rotvec), DIM_POSE)
        stacked = self._whitening.reshape(-1, DIM_POSE).astype(y.dtype, copy=False)
        white = (y @ stacked.T).reshape(len(y), -1, DIM_POSE)
        white -= self._white_means.astype(y.dtype, copy=False)
        half = 0.5 * np.einsum("kci,kci->kc", white, white)
        return half + self._constants.astype(y.dtype, copy=False), white

    @cached_property
    def _precise_whitening(self) -> Float[np.ndarray, "C 69 69"]:
        """W_c = L^-1 of Sigma_c = L L^T, double precision."""
        return np.linalg.inv(np.linalg.cholesky(self.covariances.astype(np.float64)))

    @cached_property
    def _whitening(self) -> Float[np.ndarray, "C 69 69"]:
        return self._precise_whitening.astype(np.float32)

    @cached_property
    def _white_means(self) -> Float[np.ndarray, "C 69"]:
        white = np.einsum("cij,cj->ci", self._precise_whitening, self.means)
        return white.astype(np.float32)

    @cached_property
    def _heights(self) -> Float[np.ndarray, "C"]:
        """-log w_c + log det Sigma_c / 2."""
        log_det = np.log(np.diagonal(self._precise_whitening, axis1=-2, axis2=-1)).sum(-1)
        return -np.log(self.weights.astype(np.float64)) - log_det

    @cached_property
    def _constants(self) -> Float[np.ndarray, "C"]:
        return (self._heights - self._offset).astype(np.float32)

    @cached_property
    def _offset(self) -> float:
        """What the energies lack of negative log densities, but (2 pi)^(69/2)."""
        return float(self._heights.min())

    @cached_property
    def _kept(self) -> Float[np.ndarray, "C 69 69"]:
        """(I + s^2 Sigma_c^-1)^-1: what a proximal step leaves of y - mu_c."""
        eye = np.eye(DIM_POSE)
        noise = self.denoise_rad**2 * eye
        cov = self.covariances.astype(np.float64)
        kept: Float[np.ndarray, "C 69 69"] = cov @ np.linalg.inv(cov + noise)
        return kept.astype(np.float32)
