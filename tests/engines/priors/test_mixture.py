"""The Gaussian mixture: against SciPy and scikit-learn, its rows, samples and projection."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from engines.errors import PenumbraError
from engines.priors.load import load_prior, read_prior
from engines.priors.mixture import DIM_POSE, Mixture
from engines.priors.prior import PosePrior, Projector, Sampler
from engines.rotations import exp_so3
from tests.support.prior_checks import check_jacobian, check_rows, random_rotations


def small(count: int = 3) -> Mixture:
    rng = np.random.default_rng(0)
    factors = rng.normal(0, 0.05, (count, DIM_POSE, DIM_POSE)) + 0.3 * np.eye(DIM_POSE)
    return Mixture.of(
        {
            "weights": np.arange(1, count + 1) / (count * (count + 1) / 2),
            "means": rng.normal(0, 0.4, (count, DIM_POSE)),
            "covariances": factors @ factors.transpose(0, 2, 1),
        }
    )


def poses(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (count, 23, 3)).astype(np.float32)


def rotations(rotvec: np.ndarray) -> np.ndarray:
    return exp_so3(np.concatenate([np.ones_like(rotvec[:, :1]), rotvec], 1))


def test_protocols() -> None:
    mixture = small()
    assert isinstance(mixture, PosePrior)
    assert isinstance(mixture, Sampler)
    assert isinstance(mixture, Projector)


def test_density_is_scikit_learns() -> None:
    from sklearn.mixture import GaussianMixture

    mixture = small()
    oracle = GaussianMixture(3)
    oracle.weights_, oracle.means_ = mixture.weights, mixture.means
    oracle.covariances_ = mixture.covariances.astype(float)
    oracle.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(oracle.covariances_))
    rotvec = poses(50, 1)
    expected = oracle.score_samples(rotvec.reshape(50, -1))
    np.testing.assert_allclose(mixture.log_density(rotvec), expected, rtol=1e-4, atol=1e-2)


def test_energy_is_that_of_the_best_component() -> None:
    mixture, rotvec = small(), poses(20, 2)
    flat = rotvec.reshape(20, -1).astype(float)
    parts = zip(mixture.weights, mixture.means, mixture.covariances.astype(float), strict=True)
    each = np.stack([multivariate_normal(m, c).logpdf(flat) + np.log(w) for w, m, c in parts])
    ours = mixture.energy(rotations(rotvec))
    np.testing.assert_allclose(ours - ours[0], each.max(0)[0] - each.max(0), atol=2e-2, rtol=1e-4)
    excess = mixture.log_density(rotvec) - each.max(0)
    assert (excess >= -1e-2).all() and (excess <= np.log(3) + 1e-2).all()


def test_rows_are_right() -> None:
    R = random_rotations(3, seed=3)
    check_rows(small(), R, step=3e-3, rtol=5e-3)
    check_jacobian(small(), R, rtol=5e-3)


def test_samples_have_the_mean_and_spread_of_the_mixture() -> None:
    mixture = small()
    drawn = mixture.sample(20_000, np.random.default_rng(0)).reshape(20_000, -1)
    mean = mixture.weights @ mixture.means
    offset = mixture.means - mean
    within = mixture.covariances + offset[:, :, None] * offset[:, None]
    variance = np.einsum("c,cii->i", mixture.weights, within)
    assert (np.abs(drawn.mean(0) - mean) < 5 * np.sqrt(variance / len(drawn))).all()
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.1)


def test_projection_lowers_the_energy_and_keeps_the_root() -> None:
    prior = load_prior("gmm")
    assert isinstance(prior, Projector)
    R = random_rotations(20, seed=4)
    before = prior.energy(R)
    for steps in (1, 5):
        projected = prior.project(R, steps)
        after = prior.energy(projected)
        assert (after < before).all()
        before = after
    np.testing.assert_array_equal(projected[:, 0], R[:, 0])
    assert np.linalg.det(projected) == pytest.approx(1, abs=1e-5)


def test_shipped_rows_are_right() -> None:
    check_rows(load_prior("gmm"), random_rotations(3, seed=5), step=3e-3, rtol=1e-2)


def test_what_is_no_prior_is_named(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="choose none, gmm"):
        load_prior("smpl")
    with pytest.raises(PenumbraError, match=r"none\.npz"):
        load_prior(tmp_path / "none.npz")
    arrays = small().arrays()
    np.savez(tmp_path / "kind.npz", kind="other", **arrays)
    with pytest.raises(PenumbraError, match="'other'"):
        read_prior(tmp_path / "kind.npz")
    np.savez(tmp_path / "bad.npz", kind="gmm", **arrays | {"covariances": -arrays["covariances"]})
    with pytest.raises(PenumbraError, match="must be positive"):
        read_prior(tmp_path / "bad.npz")
