"""Reweighting is Bayes' rule: against analytic posteriors, and where nothing is left."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.evidence.evidence import (
    TopDensity,
    best,
    effective_sample_size,
    posterior_moments,
    reweight,
    select,
)
from engines.flow.statistics import joint_moments
from engines.hypotheses import take
from engines.types import Hypotheses


@dataclass(frozen=True)
class Fixed:
    """Evidence whose likelihoods are given."""

    values: tuple[float, ...]

    def log_likelihood(self, hypotheses: Hypotheses) -> np.ndarray:
        return np.array(self.values)


@dataclass(frozen=True)
class Measured:
    """A normal measurement of where the pelvis is."""

    at: np.ndarray
    cov: np.ndarray

    def log_likelihood(self, hypotheses: Hypotheses) -> np.ndarray:
        delta = hypotheses.joints[:, 0] - self.at
        return -0.5 * np.einsum("ki,ij,kj->k", delta, np.linalg.inv(self.cov), delta)


def bodies(joints: np.ndarray, weights: np.ndarray | None = None) -> Hypotheses:
    """Hypotheses with given joints (K, 24, 3) and, to tell them apart, their number in every other
    field.
    """
    count = len(joints)
    number = np.arange(count, dtype=float)
    return Hypotheses(
        rotvec=np.tile(number[:, None, None], (1, 24, 3)),
        betas=np.tile(number[:, None], (1, 10)),
        transl=np.tile(number[:, None], (1, 3)),
        joints=joints,
        log_q=number,
        weights=np.full(count, 1 / count) if weights is None else weights,
    )


def plain(count: int) -> Hypotheses:
    return bodies(np.random.default_rng(0).normal((0, 0, 3), 0.3, (count, 24, 3)))


@pytest.mark.parametrize("seed", range(3))
def test_a_normal_measurement_gives_the_analytic_posterior(seed: int) -> None:
    """Prior N(m, P), measurement z ~ N(x, R): the posterior is N(m + G(z - m), (I - G)P) with G =
    P(P + R)^-1.
    """
    rng, count = np.random.default_rng(seed), 100_000
    mean, spread = np.array([0.1, -0.2, 3.0]), rng.normal(0, 0.2, (3, 3))
    P, R = spread @ spread.T + 0.01 * np.eye(3), np.diag([0.02, 0.05, 0.1])
    samples = np.zeros((count, 24, 3))
    samples[:, 0] = rng.multivariate_normal(mean, P, count)
    z = mean + np.array([0.1, 0.15, -0.2])
    posterior = reweight(bodies(samples), Measured(z, R))
    G = P @ np.linalg.inv(P + R)
    expected_mean, expected_cov = mean + G @ (z - mean), P - G @ P
    found_mean = posterior.weights @ samples[:, 0]
    centred = samples[:, 0] - found_mean
    found_cov = np.einsum("k,ki,kj->ij", posterior.weights, centred, centred)
    effective = effective_sample_size(posterior)
    assert 1000 < effective < count
    error = np.abs(found_mean - expected_mean) / np.sqrt(np.diag(expected_cov) / effective)
    assert error.max() < 5  # standard errors
    np.testing.assert_allclose(
        found_cov, expected_cov, atol=5 * np.sqrt(2 / effective) * np.abs(expected_cov).max()
    )


def test_independent_evidence_may_come_one_piece_after_the_other() -> None:
    prior, one, two = (
        plain(50),
        Measured(np.array([0, 0, 3.1]), 0.1 * np.eye(3)),
        Measured(np.ones(3), np.eye(3)),
    )
    together, apart = reweight(prior, one, two), reweight(reweight(prior, two), one)
    np.testing.assert_allclose(together.weights, apart.weights, rtol=1e-9)
    assert together.weights.sum() == pytest.approx(1)
    assert reweight(prior).weights == pytest.approx(prior.weights)
    assert together.joints is prior.joints


def test_weights_by_hand() -> None:
    prior = bodies(np.zeros((3, 24, 3)), np.array([0.5, 0.25, 0.25]))
    found = reweight(prior, Fixed((np.log(1), np.log(4), -np.inf)))
    np.testing.assert_allclose(found.weights, [1 / 3, 2 / 3, 0])
    assert effective_sample_size(found) == pytest.approx(1 / (1 / 9 + 4 / 9))
    assert best(found).transl[0] == 1
    # Exp of these is zero, their ratios are not.
    far = reweight(prior, Fixed((-5000.0, -5001.0, -9000.0)))
    np.testing.assert_allclose(far.weights[1] / far.weights[0], np.exp(-1) / 2)


def test_tempering_leaves_as_many_bodies_as_asked_for() -> None:
    prior, sharp = plain(50), Measured(np.array([0, 0, 3.0]), 1e-4 * np.eye(3))
    assert effective_sample_size(reweight(prior, sharp)) < 3
    soft = reweight(prior, sharp, min_effective=12)
    assert effective_sample_size(soft) == pytest.approx(12, abs=1e-3)
    order = np.argsort(sharp.log_likelihood(prior))
    assert (np.diff(soft.weights[order]) >= 0).all()
    mild = Measured(np.array([0, 0, 3.0]), 10 * np.eye(3))
    np.testing.assert_array_equal(
        reweight(prior, mild, min_effective=12).weights, reweight(prior, mild).weights
    )


def test_tempering_brings_nothing_back_that_was_ruled_out() -> None:
    values = (0.0, -50.0, -np.inf, -np.inf)
    found = reweight(plain(4), Fixed(values), min_effective=3)
    assert effective_sample_size(found) == pytest.approx(2, abs=1e-6)
    assert (found.weights[2:] == 0).all()


def test_select_takes_the_heaviest_in_order() -> None:
    found = select(bodies(np.zeros((4, 24, 3)), np.array([0.1, 0.4, 0.1, 0.4])), 3)
    np.testing.assert_array_equal(found.log_q, [1, 3, 0])
    np.testing.assert_allclose(found.weights, np.array([4, 4, 1]) / 9)
    np.testing.assert_array_equal(found.rotvec[:, 5, 2], [1, 3, 0])


def test_top_density_keeps_the_k_densest() -> None:
    prior = replace(plain(6), log_q=np.array([3.0, -1.0, 7.0, 7.0, 0.0, 7.0]))
    found = reweight(prior, TopDensity(2))
    np.testing.assert_allclose(found.weights, [0, 0, 0.5, 0.5, 0, 0])
    four = select(reweight(prior, TopDensity(4)), 4)
    assert sorted(four.transl[:, 0]) == [0, 2, 3, 5]


def test_moments_honour_the_weights() -> None:
    """A body with weight 3 counts like three bodies; body 3 comes first, so that both functions
    start from it.
    """
    prior = take(plain(5), np.array([3, 0, 1, 2, 4]))
    prior = replace(prior, joints=prior.joints.astype(np.float32))
    heavy = replace(prior, weights=(np.array([3, 1, 2, 0, 1]) / 7).astype(np.float32))
    repeated = replace(
        take(prior, np.array([0, 0, 0, 1, 2, 2, 4])), weights=np.full(7, 1 / 7, np.float32)
    )
    for function in (joint_moments, posterior_moments):
        one, other = function(heavy), function(repeated)
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-5)
        np.testing.assert_allclose(one.cov, other.cov, atol=1e-5)
        assert one.distance_std == pytest.approx(other.distance_std, abs=1e-5)
    np.testing.assert_allclose(posterior_moments(heavy).cov, joint_moments(heavy).cov, atol=1e-5)


def test_posterior_moments_by_hand() -> None:
    """Two bodies on the optical axis, 2 m and 4 m away, and a dead one far off: the mean is at the
    weighted distance.
    """
    joints = np.zeros((3, 24, 3))
    joints[0, :, 2], joints[1, :, 2], joints[2, :, 2] = 9, 4, 2
    joints[1, 5], joints[2, 5] = (0.2, 0, 4), (0, 0, 2)
    found = posterior_moments(bodies(joints, np.array([0, 0.75, 0.25])))
    np.testing.assert_allclose(found.ray, [0, 0, 1])
    np.testing.assert_allclose(found.mean[0], [0, 0, 3.5])
    np.testing.assert_allclose(found.mean[5], [0.15, 0, 3.5])
    assert found.distance_std == pytest.approx(np.sqrt(0.75 * 0.25 * 4))
    np.testing.assert_allclose(found.cov[5], np.diag([0.75 * 0.25 * 0.04, 0, 0]), atol=1e-12)


def test_what_cannot_be_done_is_said() -> None:
    prior = plain(4)
    with pytest.raises(PenumbraError, match="Fixed: leaves none of the 4"):
        reweight(prior, Fixed((-np.inf,) * 4))
    with pytest.raises(PenumbraError, match="leaves none"):
        reweight(prior, Fixed((0, 0, -np.inf, -np.inf)), Fixed((-np.inf, -np.inf, 0, 0)))
    with pytest.raises(PenumbraError, match="not a finite number"):
        reweight(prior, Fixed((0, np.nan, 0, 0)))
    with pytest.raises(PenumbraError, match="not a finite number"):
        reweight(prior, Fixed((0, np.inf, 0, 0)))
    with pytest.raises(PenumbraError, match="min_effective"):
        reweight(prior, min_effective=5)
    for k in (0, 5):
        with pytest.raises(PenumbraError, match="k: must be"):
            select(prior, k)
        with pytest.raises(PenumbraError, match="k: must be"):
            reweight(prior, TopDensity(k))
    with pytest.raises(PenumbraError, match="log_q"):
        reweight(replace(prior, log_q=np.full(4, np.nan)), TopDensity(1))
    with pytest.raises(AssertionError):
        reweight(prior, Fixed((0, 0)))
