"""Statistics: scipy as the oracle, and coverage of ellipsoids by simulation."""

import numpy as np
import pytest
from scipy import stats

from engines import covariance
from engines.flow import statistics
from engines.types import Hypotheses

RNG = np.random.default_rng(3)


def random_cov(count: int) -> np.ndarray:
    root = RNG.normal(size=(count, 3, 3)) * 0.05
    return root @ np.swapaxes(root, -1, -2)


def test_chi_square_matches_scipy() -> None:
    for level in (0.01, 0.5, 0.9, 0.99, 0.99999):
        assert covariance.chi_square_3(level) == pytest.approx(stats.chi2.ppf(level, 3), rel=1e-9)
    assert pytest.approx(stats.chi2.ppf(0.9, 3), abs=5e-4) == covariance.ELLIPSOID_90
    with pytest.raises(ValueError, match="level"):
        covariance.chi_square_3(1.0)


def test_six_values_are_the_upper_triangle() -> None:
    cov = random_cov(5)
    expected = cov[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_array_equal(covariance.six_from_cov(cov), expected)


def test_std_is_that_of_an_isotropic_cloud() -> None:
    np.testing.assert_allclose(covariance.std_from_cov(np.eye(3)[None] * 0.04), [0.2])


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_ellipsoids_contain_what_they_promise(level: float) -> None:
    (cov,) = random_cov(1)
    draws = RNG.multivariate_normal(np.zeros(3), cov, size=40_000)
    inside = covariance.ellipsoid_contains(np.broadcast_to(cov, (len(draws), 3, 3)), draws, level)
    assert inside.mean() == pytest.approx(level, abs=5 * np.sqrt(level * (1 - level) / len(draws)))


def test_mahalanobis_matches_the_inverse_and_survives_a_flat_covariance() -> None:
    cov, delta = random_cov(10), RNG.normal(size=(10, 3)) * 0.05
    expected = np.einsum("bi,bij,bj->b", delta, np.linalg.inv(cov), delta)
    np.testing.assert_allclose(covariance.squared_mahalanobis(cov, delta), expected, rtol=1e-6)
    flat = np.diag([1.0, 1.0, 0.0])
    assert covariance.ellipsoid_contains(flat, np.array([0.5, 0.5, 0.0]))
    assert not covariance.ellipsoid_contains(flat, np.array([0.0, 0.0, 0.01]))


def test_joint_moments_keep_the_distance_apart() -> None:
    # bodies that differ only by how far away they are: no joint is uncertain, only the distance is
    K = 50
    ray = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0])
    body = RNG.normal(size=(24, 3)) * 0.3
    body[0] = 0
    far = 3.0 + RNG.normal(size=K) * 0.4
    joints = (body + far[:, None, None] * ray).astype(np.float32)
    weights = np.full(K, 1 / K, np.float32)
    zeros = np.zeros((K, 24, 3), np.float32)
    hypotheses = Hypotheses(
        zeros, zeros[:, 0, :1].repeat(10, 1), zeros[:, 0], joints, weights, weights
    )
    moments = statistics.joint_moments(hypotheses)
    np.testing.assert_allclose(moments.mean, joints[0], atol=2e-6)
    np.testing.assert_allclose(moments.cov, 0, atol=1e-11)
    np.testing.assert_allclose(moments.ray, ray, atol=1e-6)
    assert moments.distance_std == pytest.approx(far.std(), rel=1e-5)


def test_the_second_moment_is_that_of_points_about_another_place() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(0, 0.1, (500, 3)) @ rng.normal(size=(3, 3))
    place = np.array([0.3, -0.1, 0.2])
    apart = points - place
    about = covariance.second_moment(np.cov(points.T, bias=True), points.mean(0) - place)
    np.testing.assert_allclose(about, apart.T @ apart / len(points), atol=1e-12)
