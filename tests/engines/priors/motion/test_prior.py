"""The motion prior: rows, energies, rollouts, and files that are refused."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.sequences.sequence import BodySequence, SequenceResiduals
from engines.priors.motion.layout import STEP
from engines.priors.motion.prior import MotionPrior
from engines.priors.motion.start import POSE, StartMixture, start_coordinates
from engines.priors.motion.state import Pairs
from tests.support.motion import LATENT, motion_arrays, motion_prior, wandering
from tests.support.sequences import check_gradient


@pytest.fixture(scope="module")
def prior(body: BodyModel) -> MotionPrior:
    return motion_prior(body)


def test_rows_are_derivatives_of_the_cost(prior: MotionPrior) -> None:
    rng = np.random.default_rng(0)
    sequence = wandering(7, rng)
    for size in (1.0, 1.2):
        sized = prior.sized(size)
        assert isinstance(sized, SequenceResiduals)
        check_gradient(sized.at(sequence), sequence, rng)
        check_gradient(sized.bodies(0.3).at(sequence), sequence, rng)


def test_energy_is_the_logarithm_of_the_integral_over_latents(body: BodyModel) -> None:
    # Where the latent reaches the step through the last layer alone, the decoder is linear in it,
    # Laplace's approximation is exact, and one number of the latent is left to integrate over.
    arrays = motion_arrays(body)
    arrays["decoder.0.weight"][:, -LATENT:] = 0.0
    arrays["decoder.1.weight"][:, -LATENT:] = 0.0
    arrays["prior.2.weight"][:] = 0.0
    arrays["prior.2.bias"][:] = [0.3, 0.0, 0.0, 0.0, 0.2, -6.0, -6.0, -6.0]
    prior = MotionPrior.of(arrays)
    sequence = wandering(3, np.random.default_rng(1))
    state = two(sequence).state(prior.rest)
    step = Pairs(sequence.R[1:2], sequence.R[2:], sequence.pelvis[1:2], sequence.pelvis[2:]).step()
    grid = np.linspace(-8.0, 8.0, 2001)
    z = np.zeros((len(grid), LATENT))
    z[:, 0] = 0.3 + math.exp(0.2) * grid
    sigma = prior.network.sigma.astype(np.float64)
    white = (step - prior.network.decode(np.repeat(state, len(grid), 0), z)) / sigma
    log_p = -0.5 * (white**2).sum(-1) - np.log(sigma).sum() - 0.5 * STEP * math.log(2 * math.pi)
    log_p += -0.5 * grid**2 - 0.5 * math.log(2 * math.pi)
    assert np.ptp(log_p) > 10
    integral = log_p.max() + math.log(np.exp(log_p - log_p.max()).sum() * (grid[1] - grid[0]))
    assert prior.energy(sequence)[0] == pytest.approx(-integral, abs=0.05)


def test_the_start_is_normalised_and_sampled(prior: MotionPrior) -> None:
    rng = np.random.default_rng(2)
    means = prior.start.means.copy()
    means[:, :4] = [0.9, 0.0, 1.0, 0.0]  # upright
    start = replace(prior.start, means=means)
    pairs = start.sample(500, rng)
    coordinates = pairs.step()
    factors = start.factors[:, -STEP:] @ start.factors[:, -STEP:].swapaxes(-1, -2)
    weights = np.exp(start.log_weights + np.log(np.diagonal(start.factors, 0, 1, 2)).sum(-1))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    expected = np.tensordot(weights, start.means[:, -STEP:], 1)
    spread = np.sqrt(np.tensordot(weights, np.diagonal(factors, 0, 1, 2), 1))
    assert (np.abs(coordinates.mean(0) - expected)[:3] < 6 * spread[:3] / np.sqrt(500)).all()


def two(sequence: BodySequence) -> Pairs:
    return Pairs(sequence.R[:1], sequence.R[1:2], sequence.pelvis[:1], sequence.pelvis[1:2])


def test_a_rollout_follows_predictions_and_keeps_its_start(prior: MotionPrior) -> None:
    pairs = two(wandering(2, np.random.default_rng(3)))
    R, pelvis = prior.rollout(pairs, 5)
    assert R.shape == (1, 5, 24, 3, 3) and pelvis.shape == (1, 5, 3)
    np.testing.assert_array_equal(R[:, 1], pairs.R)
    R_next, pelvis_next = prior.predict(pairs)
    np.testing.assert_allclose(R[:, 2], R_next)
    np.testing.assert_allclose(pelvis[:, 2], pelvis_next)
    a, _ = prior.rollout(pairs, 5, np.random.default_rng(0))
    b, _ = prior.rollout(pairs, 5, np.random.default_rng(1))
    assert np.abs(a - b).max() > 1e-4
    R, pelvis = prior.sample(3, 6, np.random.default_rng(4))
    assert np.isfinite(R).all() and np.isfinite(pelvis).all()
    np.testing.assert_allclose(pelvis[:, 1, :2], 0.0, atol=1e-12)


def test_who_is_larger_moves_alike(prior: MotionPrior) -> None:
    sequence = wandering(5, np.random.default_rng(5))
    large = BodySequence(sequence.R, 1.3 * sequence.pelvis, sequence.shared)
    np.testing.assert_allclose(prior.sized(1.3).energy(large), prior.energy(sequence), rtol=1e-5)
    np.testing.assert_allclose(prior.sized(1.3).contacts(large), prior.contacts(sequence), 1e-4)


def test_single_bodies_are_the_marginal_of_the_start(prior: MotionPrior) -> None:
    sequence = wandering(2, np.random.default_rng(7))
    start = replace(
        prior.start,
        **{
            name: getattr(prior.start, name)[:1]
            for name in ("log_weights", "means", "factors", "whitening")
        },
    )
    single = replace(prior, start=start).bodies(1.0)
    y = start_coordinates(two(sequence))[0] - start.means[0]
    cov = start.factors[0] @ start.factors[0].T
    expected = 0.5 * y[:POSE] @ np.linalg.solve(cov[:POSE, :POSE], y[:POSE])
    expected += 0.5 * np.linalg.slogdet(cov[:POSE, :POSE])[1]
    log_weight = start.log_weights[0] + np.log(np.diagonal(start.factors[0])).sum()
    second = BodySequence(sequence.R[1:], sequence.pelvis[1:], sequence.shared)
    assert single.at(second).cost(second) == pytest.approx(expected - log_weight, rel=1e-6)


def test_latents_are_found(prior: MotionPrior) -> None:
    # A step that the decoder makes of a likely latent costs hardly more than the latent.
    pairs = two(wandering(2, np.random.default_rng(6)))
    state = pairs.state(prior.rest)
    mean, std = prior.network.prior(state)
    z = mean + 1.5 * std
    R, pelvis = prior.predict(pairs, z)
    frames = (pairs.R_before, pairs.R, R), (pairs.pelvis_before, pairs.pelvis, pelvis)
    sequence = BodySequence(*(np.concatenate(part) for part in frames), np.zeros(0))
    around = prior.at(sequence)
    transitions = 0.5 * float((around.rows[0].residual ** 2).sum())
    assert transitions <= 0.5 * LATENT * 1.5**2 + 1e-3


@pytest.mark.parametrize(
    "name, array",
    [
        ("kind", np.array("gmm")),
        ("sigma", np.zeros(STEP, np.float32)),
        ("mean", np.zeros(3, np.float32)),
        ("start.factors", np.full((2, 4, 4), np.nan, np.float32)),
        ("decoder.0.weight", np.zeros((2, 2), np.float32)),
    ],
)
def test_a_wrong_file_is_refused(
    name: str, array: np.ndarray, body: BodyModel, tmp_path: Path
) -> None:
    path = tmp_path / "humor.npz"
    arrays = {"kind": np.array("humor"), **motion_arrays(body)}
    np.savez(path, **arrays)
    assert isinstance(MotionPrior.load(path).start, StartMixture)
    np.savez(path, **(arrays | {name: array}))
    with pytest.raises(PenumbraError, match="motion prior"):
        MotionPrior.load(path)
    with pytest.raises(PenumbraError, match="motion prior"):
        MotionPrior.load(tmp_path / "none.npz")
