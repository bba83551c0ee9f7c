"""Fitting a calibration: simulated errors whose true spread is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from calib.dataset import CalibrationDataset
from calib.fit import RADII_LEVELS, balanced, fit, fit_radii
from calib.metrics import LEVELS
from calib.uncertainty import calibrate
from engines.calibration_metrics import CalibrationMetrics
from engines.covariance import ELLIPSOID_90, chi_square_3
from engines.errors import PenumbraError
from engines.uncertainty import CovarianceCalibration
from tests.support.random_errors import COUNT, simulate

ONES = np.ones((24, 2))


def calibrated(
    fit_errors: CalibrationDataset, test_errors: CalibrationDataset
) -> tuple[CovarianceCalibration, CalibrationMetrics]:
    calibration, evaluation = calibrate(fit_errors, test_errors)
    assert calibration.metrics is evaluation.metrics
    return calibration, evaluation.metrics


def test_fit_recovers_known_factors() -> None:
    rng = np.random.default_rng(9)
    factors = rng.uniform(0.6, 1.5, (24, 2)), rng.uniform(1.5, 3.0, (24, 2))
    calibration, metrics = calibrated(simulate(*factors), simulate(*factors, seed=1))
    # A thousand errors a joint: the 68 % quantile of a Gaussian's size has a relative error of
    # about 3 %.
    for found, expected in zip((calibration.visible, calibration.occluded), factors, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.15)
        assert np.log(found / expected).mean() == pytest.approx(0, abs=0.02)
    assert calibration.distance == pytest.approx(1.7, rel=0.06)
    # Of counting, and of fitting the factors.
    slack = 4 * math.sqrt(0.25 / (COUNT / 2 * 24 / 2)) + 0.01
    for shares in (
        metrics.coverage,
        metrics.coverage_visible,
        metrics.coverage_occluded,
        metrics.coverage_normal,
    ):
        np.testing.assert_allclose(shares, LEVELS, atol=slack)
    normal = [chi_square_3(level) for level in RADII_LEVELS]
    np.testing.assert_allclose(calibration.radii[:, 1:].mean(1), normal, rtol=0.05)


def test_heavy_tails_are_covered_at_every_level() -> None:
    def heavy(seed: int) -> CalibrationDataset:
        sample = simulate(ONES, 2 * ONES, seed=seed)
        return replace(
            sample, error=sample.error * stats.t(3).rvs((COUNT, 24, 1), random_state=seed)
        )

    calibration, metrics = calibrated(heavy(1), heavy(2))
    for shares in (metrics.coverage_visible, metrics.coverage_occluded):
        np.testing.assert_allclose(shares, LEVELS, atol=0.02)
    assert metrics.ece < 0.01
    # One covariance cannot: right at 90 %, it is too wide at 50 %.
    assert metrics.coverage_normal[0] > 0.6
    assert metrics.coverage_normal[2] == pytest.approx(0.9, abs=0.02)
    at_90 = calibration.radii[RADII_LEVELS.index(0.9), 1:]
    np.testing.assert_allclose(at_90, ELLIPSOID_90)


def test_groups_are_right_although_the_model_is_unsure_which_is_which() -> None:
    def unsure(seed: int) -> CalibrationDataset:
        sample = simulate(ONES, 2 * ONES, seed=seed)
        rng = np.random.default_rng(seed)
        return replace(
            sample,
            p_visible=np.where(sample.visible, 0.9, 0.3)
            - rng.uniform(0, 0.3, sample.visible.shape),
        )

    _, metrics = calibrated(unsure(1), unsure(2))
    for shares in (metrics.coverage_visible, metrics.coverage_occluded):
        np.testing.assert_allclose(shares, LEVELS, atol=0.02)


def test_radii_by_hand() -> None:
    # Ten visible joints at 1, ..., 10, ten occluded ones three times as far; the model knows which
    # are which.
    d2 = np.concatenate([np.arange(1.0, 11.0), 3 * np.arange(1.0, 11.0)])[:, None]
    visible = (np.arange(20) < 10)[:, None]
    table = fit_radii(d2, visible.astype(float), visible)
    half = table[RADII_LEVELS.index(0.5)]
    # In the log's middle.
    np.testing.assert_allclose(half[1:], [math.sqrt(5 * 6), 3 * math.sqrt(5 * 6)], rtol=0.01)
    assert np.diff(table, axis=0).min() > 0


def test_radii_stay_bounded_where_the_model_knows_nothing() -> None:
    rng = np.random.default_rng(1)
    visible = rng.random((2000, 24)) < 0.5
    d2 = np.where(visible, 1.0, 9.0) * rng.chisquare(3, visible.shape)
    table = fit_radii(d2, np.full(visible.shape, 0.5), visible)
    pooled = np.quantile(d2, RADII_LEVELS)
    assert (np.abs(np.log(table[:, 1:] / pooled[:, None])) < 1.5).all()
    assert np.diff(table, axis=0).min() > 0


def test_a_rare_joint_takes_the_factors_of_all_joints() -> None:
    share = np.full(24, 0.5)
    share[7] = 0.01  # about 40 sightings
    factors = np.full((24, 2), 1.3)
    factors[7] = 9.0
    found = fit(simulate(factors, ONES, share)).visible
    np.testing.assert_allclose(found[7], 1.3, rtol=0.1)


def test_joints_that_are_never_occluded_take_the_radii_of_the_others() -> None:
    sample = simulate(2 * ONES, ONES, 1.1)
    calibration, metrics = calibrated(sample, sample)
    np.testing.assert_allclose(calibration.radii[:, 1], calibration.radii[:, 2], rtol=1e-3)
    assert metrics.coverage_occluded is None and metrics.ece_occluded is None


def test_fit_recovers_how_the_factor_grows_with_the_entropy() -> None:
    def grown(seed: int) -> CalibrationDataset:
        data = simulate(ONES, 1.6 * ONES, seed=seed)
        factor = np.exp(0.03 * (data.entropy + 50))
        return replace(
            data,
            error=data.error * factor[:, None, None],
            distance_error=data.distance_error * factor,
        )

    calibration, metrics = calibrated(grown(1), grown(2))
    assert calibration.image_factor.slope[0] == pytest.approx(0.03, rel=0.1)
    assert calibration.image_factor.middle[0] == pytest.approx(-50, abs=1)
    assert calibration.distance == pytest.approx(1.7, rel=0.06)
    for shares in (metrics.coverage_visible, metrics.coverage_occluded):
        np.testing.assert_allclose(shares, LEVELS, atol=0.02)


def test_a_high_entropy_never_shrinks_the_covariance() -> None:
    data = simulate(ONES, ONES)
    easier = replace(data, error=data.error * np.exp(-0.03 * (data.entropy + 50))[:, None, None])
    assert fit(easier).image_factor.slope[0] == 0
    same = replace(data, entropy=np.full(COUNT, -50.0))
    assert fit(same).image_factor.slope[0] == 0


def test_too_few_images_are_refused() -> None:
    with pytest.raises(PenumbraError, match="fit: 60 images with known joints are too few"):
        fit(simulate(ONES, ONES, count=60))


def test_fit_recovers_what_size_and_network_do() -> None:
    data = simulate(ONES, ONES, seed=3)
    factor = np.exp(0.4 * np.log(data.half_size) + 0.25 * data.heavy)
    found = fit(replace(data, error=data.error * factor[:, None, None])).image_factor
    assert found.slope[2] == pytest.approx(0.4, abs=0.05)
    assert found.heavy == pytest.approx(0.25, abs=0.03)


def test_a_wider_spread_that_says_nothing_is_evened_out_but_never_reversed() -> None:
    data = simulate(ONES, ONES, seed=4)
    scale = np.exp(np.random.default_rng(0).normal(0, 0.3, COUNT))
    wider = replace(data, cov=data.cov * scale[:, None, None, None] ** 2)
    calibration = fit(wider)
    assert calibration.image_factor.slope[1] == pytest.approx(-0.9, abs=0.05)
    evaluation = calibrate(wider, wider)[1]
    np.testing.assert_allclose(evaluation.metrics.coverage_visible, LEVELS, atol=0.02)


def test_strata_count_alike_and_are_reported() -> None:
    """A tenth of the images has errors twice as large; half the weight is theirs."""
    data = simulate(ONES, ONES, seed=5)
    rare = np.arange(COUNT) % 10 == 0
    data = replace(
        data,
        stratum=rare.astype(int),
        strata=("usual", "rare"),
        error=data.error * np.where(rare, 2.0, 1.0)[:, None, None],
    )
    chosen = balanced(data.stratum)
    assert np.bincount(data.stratum[chosen]).tolist() == [(~rare).sum()] * 2
    assert np.isin(np.arange(COUNT), chosen).all()
    metrics = calibrate(data, data)[1].metrics
    usual, less = metrics.strata
    assert (usual.name, less.name) == ("usual", "rare")
    assert usual.limbs_visible is not None and less.limbs_visible is not None
    assert usual.limbs_visible[2] > 0.95 and 0.7 < less.limbs_visible[2] < 0.87
    assert less.trunk is not None and less.limbs_occluded is not None


def test_a_stratum_may_count_twice() -> None:
    data = simulate(ONES, ONES, seed=5)
    rare = np.arange(COUNT) % 10 == 0
    errors = data.error * np.where(rare, 2.0, 1.0)[:, None, None]
    data = replace(data, stratum=rare.astype(int), strata=("usual", "rare"), error=errors)
    assert np.bincount(data.stratum[balanced(data.stratum, [1])]).tolist() == [
        (~rare).sum(),
        2 * (~rare).sum(),
    ]
    once, twice = (calibrate(data, data, names)[0] for names in ((), ("rare",)))
    assert twice.visible.mean() > 1.03 * once.visible.mean()
    assert twice.data == f"{data.data}; counted twice: rare"
    with pytest.raises(PenumbraError, match="twice: rarer is not among the strata; name one of us"):
        fit(data, ("rarer",))


def test_unknown_joints_and_distances_are_left_out() -> None:
    data = simulate(2 * ONES, 2 * ONES, seed=6)
    unknown = np.random.default_rng(1).random((COUNT, 24)) < 0.4
    partly = replace(
        data,
        error=np.where(unknown[..., None], np.nan, data.error),
        distance_error=np.where(np.arange(COUNT) % 2, np.nan, data.distance_error),
    )
    calibration, metrics = calibrated(partly, partly)
    np.testing.assert_allclose(calibration.visible, 2.0, rtol=0.15)
    assert calibration.distance == pytest.approx(1.7, rel=0.06)
    np.testing.assert_allclose(metrics.coverage, LEVELS, atol=0.02)
