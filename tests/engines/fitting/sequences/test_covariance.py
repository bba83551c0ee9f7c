"""Covariances of a motion against dense inverses, and against many repetitions."""

import numpy as np
import pytest

from engines.fitting.sequences.covariance import (
    covariance_of,
    inverse_blocks,
    sequence_covariance,
)
from engines.fitting.sequences.sequence import (
    FRAME_DIM,
    BodySequence,
    Linearised,
    LinkedRows,
)
from engines.fitting.sequences.solver import normal_equations, solve_sequence
from tests.engines.fitting.sequences.test_solver import (
    FRAMES,
    SHARED,
    dense,
    random_rows,
)
from tests.support.motion import wandering


def random_band(width: int, total: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A positive matrix, dense and in LAPACK's lower form."""
    rng = np.random.default_rng(seed)
    L = np.tril(np.triu(rng.standard_normal((total, total)), 1 - width))
    A = L @ L.T + np.eye(total)
    A = np.where(np.abs(np.subtract.outer(range(total), range(total))) < width, A, 0.0)
    A += np.eye(total) * (np.abs(A).sum(1).max())
    band = np.zeros((width, total))
    for offset in range(width):
        band[offset, : total - offset] = np.diagonal(A, -offset)
    return A, band


@pytest.mark.parametrize("width", [1, 3, 4, 6, 7, 9, 12])
@pytest.mark.parametrize("frames", [1, 4, 5])
def test_blocks_are_those_of_the_inverse(width: int, frames: int) -> None:
    dim = 3
    width = min(width, frames * dim)
    A, band = random_band(width, frames * dim, seed=width)
    inverse = np.linalg.inv(A)
    found = inverse_blocks(band, dim)
    assert found.shape == (frames, dim, dim)
    for t in range(frames):
        block = slice(t * dim, (t + 1) * dim)
        np.testing.assert_allclose(found[t], inverse[block, block], rtol=1e-9, atol=1e-12)


def test_covariances_of_frames_are_those_of_the_dense_inverse() -> None:
    rng = np.random.default_rng(0)
    groups = [random_rows(rng, 1, 90, True), random_rows(rng, 2, 8, False)]
    groups.append(random_rows(rng, 3, 12, True))
    sequence = wandering(FRAMES, rng, SHARED)
    equations = normal_equations([Linearised(tuple(groups), lambda _: 0.0)], sequence)
    found = covariance_of(equations)
    J, _ = dense(groups)
    inverse = np.linalg.inv(J.T @ J)
    border = slice(FRAMES * FRAME_DIM, None)
    np.testing.assert_allclose(found.shared, inverse[border, border], rtol=1e-3, atol=1e-6)
    by_frame = rng.standard_normal((FRAMES, 4, FRAME_DIM))
    by_shared = rng.standard_normal((FRAMES, 4, SHARED))
    of = found.of(by_frame, by_shared)
    for t in range(FRAMES):
        block = slice(t * FRAME_DIM, (t + 1) * FRAME_DIM)
        scale = np.abs(inverse[block, block]).max()
        np.testing.assert_allclose(
            found.frames[t], inverse[block, block], rtol=1e-3, atol=1e-4 * scale
        )
        np.testing.assert_allclose(
            found.between[t], inverse[block, border], rtol=1e-3, atol=1e-4 * scale
        )
        G = np.zeros((4, len(inverse)))
        G[:, block], G[:, border] = by_frame[t], by_shared[t]
        expected = G @ inverse @ G.T
        np.testing.assert_allclose(of[t], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


class Walk:
    """A pelvis that walks at random, measured with an offset that all frames share; no turns."""

    step, noise, offset = 0.3, 0.5, 1.0

    def __init__(self, measured: np.ndarray) -> None:
        self.measured = measured

    def at(self, sequence: BodySequence) -> Linearised:
        count = sequence.count
        one = np.zeros((1, FRAME_DIM, FRAME_DIM))
        one[0] = np.eye(FRAME_DIM)
        pelvis = one[:, -3:]
        each = np.repeat(pelvis, count, 0)
        still = np.zeros((count, FRAME_DIM - 3))
        steps = np.concatenate([-each[1:], each[1:]], -1) / self.step
        shared = np.repeat(np.eye(3)[None], count, 0) / self.noise
        nothing = np.zeros((1, 3, FRAME_DIM))
        first, walked, seen, offset = self.residuals(sequence)
        rows = (
            LinkedRows(np.arange(count), still, np.repeat(one[:, :-3], count, 0)),
            LinkedRows(np.zeros(1, int), first, pelvis),
            LinkedRows(np.arange(count - 1), walked, steps),
            LinkedRows(np.arange(count), seen, each / self.noise, shared),
            LinkedRows(np.zeros(1, int), offset, nothing, np.eye(3)[None] / self.offset),
        )
        return Linearised(rows, self.cost)

    def residuals(self, sequence: BodySequence) -> tuple[np.ndarray, ...]:
        pelvis, shared = sequence.pelvis, sequence.shared
        return (
            -pelvis[:1],
            -np.diff(pelvis, axis=0) / self.step,
            (self.measured - pelvis - shared) / self.noise,
            -shared[None] / self.offset,
        )

    def cost(self, sequence: BodySequence) -> float:
        return float(sum(0.5 * (part**2).sum() for part in self.residuals(sequence)))


def test_predicted_covariances_are_those_of_many_repetitions() -> None:
    """Walks drawn from the prior, seen with noise, fitted: the errors spread as predicted."""
    repetitions, rng = 500, np.random.default_rng(1)
    start = wandering(FRAMES, rng, SHARED)
    error, of_shared = [], []
    for _ in range(repetitions):
        walk = rng.standard_normal((FRAMES, 3))
        walk[1:] *= Walk.step
        walk = walk.cumsum(0)
        shared = Walk.offset * rng.standard_normal(3)
        seen = Walk(walk + shared + Walk.noise * rng.standard_normal((FRAMES, 3)))
        found = solve_sequence(start, [seen], 6, tolerance=1e-9).sequence
        error.append(found.pelvis - walk)
        of_shared.append(found.shared - shared)
    predicted = sequence_covariance(found, [seen])
    error, of_shared = np.array(error), np.array(of_shared)
    rtol = 5 / np.sqrt(2 * repetitions)
    for t in range(FRAMES):
        std = np.sqrt(np.diagonal(predicted.frames[t])[-3:])
        np.testing.assert_allclose(error[:, t].std(0), std, rtol=rtol)
        both = (error[:, t] * of_shared).mean(0)
        np.testing.assert_allclose(both, np.diagonal(predicted.between[t, -3:]), atol=0.1)
    std = np.sqrt(np.diagonal(predicted.shared))
    np.testing.assert_allclose(of_shared.std(0), std, rtol=rtol)
    assert (std > 0.3).all() and (predicted.between[:, -3:].diagonal(0, 1, 2) < -0.1).all()
