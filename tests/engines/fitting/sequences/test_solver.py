"""The solver for sequences against a dense one."""

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.fitting.sequences.sequence import (
    FRAME_DIM,
    BodySequence,
    Linearised,
    LinkedRows,
)
from engines.fitting.sequences.solver import normal_equations, solve_sequence
from tests.support.motion import wandering

FRAMES = 6
SHARED = 3


def random_rows(rng: np.random.Generator, span: int, rows: int, shared: bool) -> LinkedRows:
    count = FRAMES - span + 1
    return LinkedRows(
        np.arange(count),
        rng.standard_normal((count, rows)),
        rng.standard_normal((count, rows, span * FRAME_DIM)),
        rng.standard_normal((count, rows, SHARED)) if shared else None,
    )


def dense(groups: list[LinkedRows]) -> tuple[np.ndarray, np.ndarray]:
    """All rows below each other, as one Jacobian and one residual."""
    parts, residuals = [], []
    for group in groups:
        for i, first in enumerate(group.first):
            J = np.zeros((group.J.shape[1], FRAMES * FRAME_DIM + SHARED))
            begin = first * FRAME_DIM
            J[:, begin : begin + group.J.shape[2]] = group.J[i]
            if group.shared is not None:
                J[:, -SHARED:] = group.shared[i]
            parts.append(J)
            residuals.append(group.residual[i])
    return np.concatenate(parts), np.concatenate(residuals)


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_the_banded_system_is_the_dense_one(damping: float) -> None:
    rng = np.random.default_rng(0)
    groups = [random_rows(rng, 1, 90, True), random_rows(rng, 2, 8, False)]
    groups.append(random_rows(rng, 3, 12, True))
    sequence = wandering(FRAMES, rng, SHARED)
    equations = normal_equations([Linearised(tuple(groups), lambda _: 0.0)], sequence)
    step, shared = equations.solve(damping)
    J, residual = dense(groups)
    H = J.T @ J
    H[np.diag_indices_from(H)] *= 1.0 + damping
    expected = np.linalg.solve(H, J.T @ residual)
    np.testing.assert_allclose(np.concatenate([step, shared]), expected, rtol=1e-4, atol=1e-5)


class Home:
    """Every frame's pelvis at a place, frames alike, all of it moved by what is shared."""

    def __init__(self, target: np.ndarray) -> None:
        self.target = target

    def at(self, sequence: BodySequence) -> Linearised:
        count = sequence.count
        J = np.zeros((count, 3, FRAME_DIM))
        J[:, :, -3:] = np.eye(3)
        shared = np.tile(np.eye(3), (count, 1, 1))
        rows = (
            LinkedRows(np.arange(count), self.residual(sequence), J, shared),
            LinkedRows(np.arange(1), -sequence.shared[None], 0 * J[:1], np.eye(3)[None]),
        )
        return Linearised(rows, self.cost)

    def residual(self, sequence: BodySequence) -> np.ndarray:
        return self.target - sequence.pelvis - sequence.shared

    def cost(self, sequence: BodySequence) -> float:
        return float(0.5 * (self.residual(sequence) ** 2).sum() + 0.5 * (sequence.shared**2).sum())


def test_a_linear_problem_is_solved_and_never_made_worse() -> None:
    rng = np.random.default_rng(1)
    start = wandering(FRAMES, rng, SHARED)
    found = solve_sequence(start, [Home(rng.standard_normal((FRAMES, 3)))], 8, tolerance=1e-9)
    assert found.cost < 1e-4 < found.cost_before
    np.testing.assert_allclose(found.sequence.R, start.R, atol=1e-9)


def test_a_step_that_raises_the_cost_is_taken_back() -> None:
    start = wandering(FRAMES, np.random.default_rng(2), SHARED)

    class Misled(Home):
        def residual(self, sequence: BodySequence) -> np.ndarray:
            return -super().residual(sequence)  # downhill is uphill

    found = solve_sequence(start, [Misled(np.ones((FRAMES, 3)))], 4)
    assert found.sequence is start and found.cost == found.cost_before


def test_a_start_without_a_finite_cost_is_refused() -> None:
    start = wandering(FRAMES, np.random.default_rng(3), SHARED)
    with pytest.raises(PenumbraError, match="nan"):
        solve_sequence(start, [Home(np.full((FRAMES, 3), np.nan))], 4)
