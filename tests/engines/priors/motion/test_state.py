"""States and steps: their derivatives, and what does not change them."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.fitting.sequences.sequence import BodySequence
from engines.priors.motion.layout import BODY, NUM_STATE, STATE, STEP, TURNING, part
from engines.priors.motion.start import start_coordinates, start_jacobian
from engines.priors.motion.state import Pairs, stepped
from engines.rotations import exp_so3
from tests.support.motion import wandering

H = 1e-6


@pytest.fixture(scope="module")
def rest(body: BodyModel) -> np.ndarray:
    return body.rest_joints(np.zeros(10))[:BODY].astype(np.float64)


def pairs_of(before: BodySequence, after: BodySequence) -> Pairs:
    return Pairs(before.R, after.R, before.pelvis, after.pelvis)


def test_derivatives(rest: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    whole = wandering(5, rng)
    first = BodySequence(whole.R[:-1], whole.pelvis[:-1], whole.shared)
    second = BodySequence(whole.R[1:], whole.pelvis[1:], whole.shared)
    pairs = pairs_of(first, second)
    _, *by_state = pairs.state_jacobian(rest)
    by_step, by_start = pairs.step_jacobian(), start_jacobian(pairs)
    still = np.zeros((4, 75))
    for which in range(2):
        for i in range(75):
            found = []
            for sign in (1.0, -1.0):
                d = still.copy()
                d[:, i] = sign * H
                moves = (d, still) if which == 0 else (still, d)
                other = pairs_of(
                    first.moved(moves[0], np.zeros(0)), second.moved(moves[1], np.zeros(0))
                )
                found.append((other.state(rest), other.step(), start_coordinates(other)))
            for (up, down), J in zip(
                zip(*found, strict=True),
                (by_state[which], by_step[which], by_start[which]),
                strict=True,
            ):
                np.testing.assert_allclose(J[:, :, i], (up - down) / (2 * H), atol=2e-6)


def test_turning_and_moving_on_the_floor_changes_nothing(rest: np.ndarray) -> None:
    pairs = two_frames(np.random.default_rng(1))
    turn = exp_so3(np.array([0.0, 0.0, 2.0]))
    R_before, R = pairs.R_before.copy(), pairs.R.copy()
    R_before[:, 0], R[:, 0] = turn @ R_before[:, 0], turn @ R[:, 0]
    away = np.array([3.0, -2.0, 0.0])
    moved = Pairs(R_before, R, pairs.pelvis_before @ turn.T + away, pairs.pelvis @ turn.T + away)
    np.testing.assert_allclose(moved.state(rest), pairs.state(rest), atol=1e-10)
    np.testing.assert_allclose(moved.step(), pairs.step(), atol=1e-12)


def test_a_step_leads_from_one_body_to_the_next() -> None:
    pairs = two_frames(np.random.default_rng(2))
    for j in set(range(1, 24)) - set(TURNING):
        pairs.R[:, j] = pairs.R_before[:, j]
    R, pelvis = stepped(pairs.R_before, pairs.pelvis_before, pairs.step())
    np.testing.assert_allclose(R, pairs.R, atol=1e-10)
    np.testing.assert_allclose(pelvis, pairs.pelvis, atol=1e-12)


def test_the_parts_fill_a_state(rest: np.ndarray) -> None:
    state = two_frames(np.random.default_rng(3)).state(rest)
    assert state.shape == (1, NUM_STATE)
    assert [part(name).start for name in STATE][1:] == [part(name).stop for name in STATE][:-1]
    assert STEP == 3 + 3 * 20


def two_frames(rng: np.random.Generator) -> Pairs:
    sequence = wandering(2, rng)
    return Pairs(*(array[i : i + 1] for array in (sequence.R, sequence.pelvis) for i in (0, 1)))
