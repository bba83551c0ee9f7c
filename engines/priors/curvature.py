"""Rows of an energy whose exact Jacobian would cost too much: exact gradient, average curvature.

A network with 63 inputs and as many outputs needs 63 tangents for its Jacobian, but one backward
pass for the gradient g of its energy. With a constant positive definite curvature B = W^T W the
rows

    residual = -W^-T g        J = W        variance = 1

have the gradient -J^T residual = g and the Gauss-Newton matrix B, so a step of the solver is a
preconditioned gradient step, and damping makes it short enough. B is the mean of the curvature over
poses that people take, made by the trainer (`trainer.priors.curvature`), so steps are about right
where the prior is about as sharp as on average. All bodies share J.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM
from engines.fitting.residuals import Rows
from engines.priors.turns import ARTICULATED

SPAN = slice(3 * ARTICULATED[0], 3 * ARTICULATED[-1] + 3)
"""Coordinates of a body that turn the joints 1 to 21."""
NUM_TURNS = SPAN.stop - SPAN.start


@dataclass(frozen=True)
class Curvature:
    """A constant curvature by turns of the joints 1 to 21."""

    matrix: Float[np.ndarray, "63 63"]

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "Curvature":
        """Take it from what a file holds.

        Raises:
            KeyError: the array is missing.
            ValueError: it is no positive definite matrix of the right size.
        """
        matrix = np.asarray(arrays["curvature"], np.float64)
        if matrix.shape != (NUM_TURNS, NUM_TURNS) or not np.isfinite(matrix).all():
            raise ValueError(f"its curvature is no {NUM_TURNS}x{NUM_TURNS} matrix of numbers")
        matrix = 0.5 * (matrix + matrix.T)
        if np.linalg.eigvalsh(matrix).min() <= 0:
            raise ValueError("its curvature is not positive definite")
        return Curvature(matrix)

    def rows(self, energy: Float[np.ndarray, "K"], gradient: Float[np.ndarray, "K 72"]) -> Rows:
        """Return rows with this energy, this gradient and the constant curvature."""
        W, inverse = self._factors
        residual = -(gradient[:, SPAN] @ inverse.astype(gradient.dtype, copy=False))
        J = np.broadcast_to(W.astype(gradient.dtype, copy=False), (len(energy), *W.shape))
        return Rows(residual, J, np.ones_like(residual), energy)

    def step(self, gradient: Float[np.ndarray, "K 72"]) -> Float[np.ndarray, "K 72"]:
        """Return the step to the minimum of the quadratic model, -B^-1 g."""
        _, inverse = self._factors
        out = np.zeros_like(gradient)
        white = gradient[:, SPAN] @ inverse.astype(gradient.dtype, copy=False)
        out[:, SPAN] = -white @ inverse.astype(gradient.dtype, copy=False).T
        return out

    @cached_property
    def _factors(self) -> tuple[Float[np.ndarray, "63 D"], Float[np.ndarray, "63 63"]]:
        """W with its columns at their place among a body's coordinates, and W^-1."""
        W = np.linalg.cholesky(self.matrix).T
        J = np.zeros((NUM_TURNS, DIM))
        J[:, SPAN] = W
        return J, np.linalg.inv(W)
