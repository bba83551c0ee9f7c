"""Coverage, ECE and sparsification on cases worked out by hand; rank correlation by SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from calib.metrics import (
    LEVELS,
    coverage,
    expected_calibration_error,
    sparsification,
    spearman_within_joint,
)

Q = stats.chi2(3).ppf


def test_coverage_counts_what_lies_inside() -> None:
    # chi-square with 3 degrees of freedom: 2.366, 3.506, 6.251, 7.815 are its quantiles at LEVELS.
    d2 = np.array([[1.0, 2.0, 2.4, 3.0], [6.0, 7.0, 7.9, 50.0]])
    np.testing.assert_array_equal(coverage(d2), [2 / 8, 4 / 8, 5 / 8, 6 / 8])
    # The boundary is inside.
    np.testing.assert_array_equal(coverage(np.array([Q(0.5)])), [1, 1, 1, 1])
    assert coverage(d2, (0.999,)).tolist() == [7 / 8]


def test_normal_errors_have_the_nominal_coverage() -> None:
    d2 = np.square(np.random.default_rng(0).standard_normal((20_000, 3))).sum(-1)
    np.testing.assert_allclose(coverage(d2), LEVELS, atol=4 * math.sqrt(0.25 / 20_000))
    assert expected_calibration_error(d2) < 0.01


def test_calibration_error_by_hand() -> None:
    levels = np.arange(1, 100) / 100
    # Always inside: 0.5.
    assert expected_calibration_error(np.zeros(5)) == pytest.approx((1 - levels).mean())
    # Never inside: 0.5.
    assert expected_calibration_error(np.full(5, 1e9)) == pytest.approx(levels.mean())
    # One half at the 30 % quantile, the other outside.
    half = np.where(levels < 0.3, levels, np.abs(0.5 - levels))
    assert expected_calibration_error(np.array([Q(0.3) - 1e-9, 1e9])) == pytest.approx(half.mean())


def test_sparsification_by_hand() -> None:
    curve = sparsification(
        np.array([4.0, 1.0, 3.0, 2.0]), np.array([40.0, 20.0, 10.0, 30.0]), points=4
    )
    np.testing.assert_allclose(curve.removed, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.oracle, np.array([10 / 4, 6 / 3, 3 / 2, 1]) / 2.5)
    np.testing.assert_allclose(curve.by_uncertainty, np.array([10 / 4, 6 / 3, 4 / 2, 3]) / 2.5)
    assert curve.ause == pytest.approx((0 + 0 + 0.2 + 0.8) / 4)


def test_sparsification_removes_a_share_even_between_entries() -> None:
    curve = sparsification(np.array([1.0, 3.0]), np.array([1.0, 2.0]), points=4)
    np.testing.assert_allclose(curve.oracle, np.array([2, (1 + 1.5) / 1.5, 1, 1]) / 2)
    assert curve.ause == 0


def test_a_constant_uncertainty_is_worth_nothing_in_any_order() -> None:
    error = np.array([5.0, 1.0, 0.0, 2.0])
    for order in ([0, 1, 2, 3], [2, 3, 0, 1]):
        np.testing.assert_allclose(sparsification(error[order], np.ones(4)).by_uncertainty, 1)


def test_ranking_by_the_error_is_perfect_and_against_it_the_worst() -> None:
    error = np.random.default_rng(1).exponential(size=500)
    assert sparsification(error, np.exp(error)).ause == pytest.approx(0, abs=1e-12)
    assert sparsification(error, -error).ause > sparsification(error, np.ones(500)).ause > 0


def test_rank_correlation_by_hand() -> None:
    # joint 0 in order, joint 1 reversed, joint 2 with one swap of neighbours among four: 1 - 6 * 2
    # / (4 * 15) = 0.8
    std = np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
    error = np.array([[1.0, 9, 2], [5, 8, 1], [6, 7, 3], [80, 6, 4]])
    assert spearman_within_joint(error, std).tolist() == pytest.approx([1.0, -1.0, 0.8])


def test_rank_correlation_is_not_flattered_by_joints_that_differ() -> None:
    """Wrists have more of both than hips; within each the standard deviation is random."""
    rng, size = np.random.default_rng(5), np.array([0.01, 0.1, 1.0])
    std, error = (
        size * (1 + 0.1 * rng.exponential(size=(300, 3))),
        size * rng.exponential(size=(300, 3)),
    )
    assert stats.spearmanr(std.ravel(), error.ravel())[0] > 0.7
    assert abs(spearman_within_joint(error, std).mean()) < 0.15


def test_rank_correlation_is_taken_within_each_joint() -> None:
    rng = np.random.default_rng(2)
    uncertainty = rng.uniform(1, 2, (50, 4))
    error = uncertainty * rng.exponential(size=(50, 4))
    error[:, 1] = -uncertainty[:, 1]
    uncertainty[:, 2] = 7.0
    use = np.ones((50, 4), bool)
    use[20:, 0] = False
    use[2:, 3] = False
    found = spearman_within_joint(error, uncertainty, use)
    assert found[0] == pytest.approx(stats.spearmanr(error[:20, 0], uncertainty[:20, 0])[0])
    assert found[1] == pytest.approx(-1)
    assert np.isnan(found[2:]).all()
