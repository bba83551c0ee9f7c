"""Levenberg-Marquardt for a sequence: a banded system with a border, by Cholesky's method.

    [ A   B ] [ d ]   [ a ]        A banded, 75 T wide, half as wide as the longest group of rows
    [ B^T C ] [ e ] = [ b ]        C small: what all frames share

A X = [a B] is solved first, then e from the Schur complement C - B^T A^-1 B. Damping scales the
diagonal (Marquardt, 1963). A step that does not lower the cost is taken back. Needs SciPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from engines.errors import PenumbraError
from engines.fitting.sequences.sequence import (
    FRAME_DIM,
    BodySequence,
    Linearised,
    SequenceResiduals,
)

_FIRST_DAMPING = 1e-3
_LEAST_DAMPING = 1e-9
_MOST_DAMPING = 1e8
LEAST_DIAGONAL = 1e-6


@dataclass(frozen=True)
class SequenceSolution:
    """A sequence where the solver left it."""

    sequence: BodySequence
    cost_before: float
    """Nats."""
    cost: float
    """Nats. Smaller, but for weights that depend on the sequence and have changed with it."""
    iterations: int
    """Steps that were tried."""


@dataclass(frozen=True)
class NormalEquations:
    """J^T J and J^T r of all rows."""

    band: Float[np.ndarray, "W N"]
    """Of A, in the lower form of LAPACK: band[i - j, j] = A[i, j]."""
    border: Float[np.ndarray, "N G"]
    corner: Float[np.ndarray, "G G"]
    gradient: Float[np.ndarray, "N"]
    shared_gradient: Float[np.ndarray, "G"]

    def solve(self, damping: float) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "G"]]:
        """Return the step.

        Raises:
            LinAlgError: the damped matrix is not positive.
        """
        band, corner = self.band.copy(), self.corner.copy()
        band[0] += damping * band[0] + LEAST_DIAGONAL
        corner[np.diag_indices_from(corner)] *= 1.0 + damping
        factor = (cholesky_banded(band, lower=True, check_finite=False), True)
        right = np.concatenate([self.gradient[:, None], self.border], 1)
        solved = cho_solve_banded(factor, right, check_finite=False)
        step, by_shared = solved[:, 0], solved[:, 1:]
        if not len(corner):
            return step, self.shared_gradient
        schur = corner - self.border.T @ by_shared
        shared = np.linalg.solve(schur, self.shared_gradient - self.border.T @ step)
        return step - by_shared @ shared, shared


def solve_sequence(
    start: BodySequence,
    residuals: Sequence[SequenceResiduals],
    iterations: int,
    tolerance: float = 1e-3,
) -> SequenceSolution:
    """Minimise the sum of costs.

    Args:
        start: where to begin.
        residuals: what the sequence should agree with.
        iterations: the largest number of steps that are tried.
        tolerance: stop when an accepted step lowers the cost by less than this share.

    Raises:
        PenumbraError: the cost of the start is not finite, so that no step could lower it.
    """
    sequence = start
    around = [one.at(sequence) for one in residuals]
    cost = cost_before = _cost(around, sequence)
    if not np.isfinite(cost):
        raise PenumbraError(
            f"sequence: its cost is {cost} where the fit begins; give finite measurements and "
            "standard deviations above 0."
        )
    equations = normal_equations(around, sequence)
    damping, tried = _FIRST_DAMPING, 0
    while tried < iterations and damping < _MOST_DAMPING:
        tried += 1
        try:
            step, shared = equations.solve(damping)
        except (LinAlgError, np.linalg.LinAlgError):
            damping *= 10.0
            continue
        trial = sequence.moved(step.reshape(-1, FRAME_DIM), shared)
        trial_cost = _cost(around, trial)
        if not trial_cost < cost:
            damping *= 5.0
            continue
        gained = cost - trial_cost
        sequence, cost = trial, trial_cost
        if gained < tolerance * abs(trial_cost):
            break
        damping = max(0.2 * damping, _LEAST_DAMPING)
        around = [one.at(sequence) for one in residuals]
        cost = _cost(around, sequence)
        equations = normal_equations(around, sequence)
    return SequenceSolution(sequence, cost_before, cost, tried)


def normal_equations(parts: Sequence[Linearised], sequence: BodySequence) -> NormalEquations:
    """Sum up the rows of all residuals."""
    groups = [rows for part in parts for rows in part.rows]
    count, shared = sequence.count, len(sequence.shared)
    spans = [rows.J.shape[-1] // FRAME_DIM for rows in groups]
    blocks = np.zeros((max(spans, default=1), count, FRAME_DIM, FRAME_DIM))
    border = np.zeros((count, FRAME_DIM, shared))
    corner, shared_gradient = np.zeros((shared, shared)), np.zeros(shared)
    gradient = np.zeros((count, FRAME_DIM))
    for rows, span in zip(groups, spans, strict=True):
        Jt = rows.J.swapaxes(-1, -2)
        H = _split(Jt @ rows.J, span)
        g = (Jt @ rows.residual[..., None]).reshape(-1, span, FRAME_DIM)
        by_shared = rows.shared if shared else None
        for i in range(span):
            gradient[rows.first + i] += g[:, i]
            for k in range(span - i):
                blocks[k, rows.first + i] += H[:, i + k, :, i]
        if by_shared is not None:
            B = (Jt @ by_shared).reshape(-1, span, FRAME_DIM, shared)
            for i in range(span):
                border[rows.first + i] += B[:, i]
            flat = by_shared.reshape(-1, shared)
            corner += flat.T @ flat
            shared_gradient += flat.T @ rows.residual.reshape(-1)
    return NormalEquations(
        _band(blocks),
        border.reshape(count * FRAME_DIM, shared),
        corner,
        gradient.reshape(-1),
        shared_gradient,
    )


def _split(H: Float[np.ndarray, "N SD SD"], span: int) -> np.ndarray:
    """As blocks (N, S, D, S, D)."""
    return H.reshape(len(H), span, FRAME_DIM, span, FRAME_DIM)


def _band(blocks: Float[np.ndarray, "S T D D"]) -> Float[np.ndarray, "W N"]:
    """Put blocks[k, t], of frames t + k (rows) and t (columns), into LAPACK's lower form."""
    span, count, dim = blocks.shape[:3]
    band = np.zeros((span * dim, count, dim))
    row, column = np.indices((dim, dim))
    for k in range(span):
        offset = k * dim + row - column
        inside = offset >= 0
        band[offset[inside], :, column[inside]] = blocks[k][:, row[inside], column[inside]].T
    return band.reshape(span * dim, count * dim)


def _cost(parts: Sequence[Linearised], sequence: BodySequence) -> float:
    return float(sum(part.cost(sequence) for part in parts))
