"""What a calibration does to a covariance, and what its radii mean."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from engines.calibration_metrics import CalibrationMetrics, StratumCoverage
from engines.circumstances import Circumstances, ImageFactor
from engines.covariance import chi_square_3, squared_mahalanobis
from engines.uncertainty import CovarianceCalibration
from tests.support.random_errors import unit

RADII = np.array([[0.2, 0.3, 0.1], [0.5, 1.1, 1.9], [0.9, 6.0, 9.0], [0.99, 20.0, 25.0]])
IMAGE_FACTOR = ImageFactor(
    slope=(0.02, -0.5, 0.3, -0.4),
    low=(-70.0, -5.0, -2.0, 0.0),
    middle=(-50.0, -3.0, -1.0, 0.5),
    high=(-40.0, -1.0, 0.0, 1.0),
    heavy=0.1,
)
USUAL = Circumstances(-50.0, -3.0, -1.0, 0.5, 0.0)
"""Circumstances in which the factor is 1."""
METRICS = CalibrationMetrics(
    "others",
    (0.5, 0.9),
    (0.49, 0.91),
    (0.5, 0.9),
    None,
    (0.6, 0.9),
    0.01,
    0.02,
    None,
    0.1,
    0.3,
    0.31,
    0.6,
    0.9,
    (StratumCoverage("near", (0.5, 0.9), None, (0.4, 0.8)),),
)


METRICS_JSON = json.loads(json.dumps(asdict(METRICS)))


@pytest.fixture(scope="module")
def calibration() -> CovarianceCalibration:
    rng = np.random.default_rng(9)
    visible, occluded = rng.uniform(0.6, 1.5, (24, 2)), rng.uniform(1.5, 3.0, (24, 2))
    return CovarianceCalibration(visible, occluded, IMAGE_FACTOR, 1.7, RADII, "simulated", METRICS)


def test_applied_covariances_are_symmetric_and_positive_definite(
    calibration: CovarianceCalibration,
) -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(0, 0.05, (24, 3, 3))
    root[:4, :, 2] = 0  # flat ones too
    cov = calibration.apply(
        root @ np.swapaxes(root, 1, 2), unit(np.array([0.2, -0.1, 1.0])), rng.random(24), USUAL
    )
    np.testing.assert_allclose(cov, np.swapaxes(cov, 1, 2), atol=1e-15)
    assert np.linalg.eigvalsh(cov).min() > 1e-6


def test_a_larger_covariance_stays_larger(calibration: CovarianceCalibration) -> None:
    rng = np.random.default_rng(3)
    small, more = (r @ np.swapaxes(r, 1, 2) for r in rng.normal(0, 0.05, (2, 24, 3, 3)))
    ray, p = unit(np.array([0.2, -0.1, 1.0])), rng.random(24)
    grown = calibration.apply(small + more, ray, p, USUAL) - calibration.apply(small, ray, p, USUAL)
    assert np.linalg.eigvalsh(grown).min() > -1e-12


@pytest.mark.parametrize("p_visible", [0.0, 0.5, 1.0])
def test_factors_stretch_across_and_along_the_ray(
    calibration: CovarianceCalibration, p_visible: float
) -> None:
    ray, side = np.array([0.6, 0.0, 0.8]), np.array([0.8, 0.0, -0.6])
    cov = calibration.apply(
        np.tile(0.09 * np.eye(3), (24, 1, 1)),
        ray,
        np.full(24, p_visible),
        replace(USUAL, entropy=-45.0, size=-0.5),
    )
    factors = (
        calibration.visible**p_visible
        * calibration.occluded ** (1 - p_visible)
        * math.exp(0.02 * 5 + 0.3 * 0.5)
    )
    predicted = 0.09 + 0.004**2
    np.testing.assert_allclose(
        np.einsum("i,jik,k->j", side, cov, side), predicted * factors[:, 0] ** 2
    )
    np.testing.assert_allclose(
        np.einsum("i,jik,k->j", ray, cov, ray), predicted * factors[:, 1] ** 2
    )


def test_circumstances_beyond_the_measured_ones_count_as_the_last_ones(
    calibration: CovarianceCalibration,
) -> None:
    def factor(**changed: float) -> float:
        return float(IMAGE_FACTOR(replace(USUAL, **changed)))

    assert factor() == 1
    assert factor(entropy=-10.0) == factor(entropy=-40.0) == pytest.approx(math.exp(0.2))
    assert factor(entropy=-500.0) == factor(entropy=-70.0) == pytest.approx(math.exp(-0.4))
    assert factor(spread=3.0) == pytest.approx(math.exp(-0.5 * 2))
    assert factor(size=9.0, visible=-1.0) == pytest.approx(math.exp(0.3 + 0.2))
    assert factor(heavy=1.0) == pytest.approx(math.exp(0.1))
    far = calibration.apply_to_distance(0.1, replace(USUAL, entropy=-40.0))
    assert far == pytest.approx(0.1 * 1.7 * math.exp(0.2))


def test_circumstances_are_those_of_the_image() -> None:
    cov = np.tile(0.04**2 * np.eye(3), (24, 1, 1))
    cov[:12] *= 4
    found = Circumstances.of(cov, np.repeat([0.0, 1.0], 12), -45.0, math.exp(-1), True)
    spread = math.log(math.sqrt((0.04**2 + 0.08**2) / 2 + 0.004**2))
    np.testing.assert_allclose(found.columns(), [-45.0, spread, -1.0, 0.5])
    assert found.heavy == 1


def test_a_batch_of_images_gives_the_same_as_its_images(
    calibration: CovarianceCalibration,
) -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(0, 0.05, (5, 24, 3, 3))
    cov, ray, p = (
        root @ np.swapaxes(root, -1, -2),
        unit(rng.normal(size=(5, 3))),
        rng.random((5, 24)),
    )
    entropy, half_size, heavy = rng.uniform(-60, -40, 5), rng.uniform(0.1, 1, 5), np.arange(5) < 2
    together = calibration.apply(cov, ray, p, Circumstances.of(cov, p, entropy, half_size, heavy))
    for i in range(5):
        alone = Circumstances.of(cov[i], p[i], entropy[i], half_size[i], bool(heavy[i]))
        np.testing.assert_allclose(together[i], calibration.apply(cov[i], ray[i], p[i], alone))


def test_radii_are_those_of_the_table_and_their_geometric_mean_between(
    calibration: CovarianceCalibration,
) -> None:
    for level, visible, occluded in RADII:
        assert calibration.radius(level, np.array(1.0)) == pytest.approx(visible)
        assert calibration.radius(level, np.array(0.0)) == pytest.approx(occluded)
        assert calibration.radius(level, np.array(0.5)) == pytest.approx(
            math.sqrt(visible * occluded)
        )
    # Beyond the table the ratio to chi-square's radius stays what it is at the last row.
    assert calibration.radius(0.999, np.array(1.0)) == pytest.approx(
        20 * chi_square_3(0.999) / chi_square_3(0.99)
    )
    assert calibration.radius(0.01, np.array(1.0)) == pytest.approx(
        0.3 * chi_square_3(0.01) / chi_square_3(0.2)
    )


@pytest.mark.parametrize("level", [0.001, 0.2, 0.45, 0.5, 0.8, 0.9, 0.97, 0.99, 0.9999])
def test_distances_on_the_normal_scale_invert_the_radius(
    calibration: CovarianceCalibration, level: float
) -> None:
    p = np.array([[0.0, 0.3], [0.7, 1.0]])
    np.testing.assert_allclose(
        calibration.normal_squared(calibration.radius(level, p), p), chi_square_3(level)
    )


def test_distances_on_the_normal_scale_keep_their_order(calibration: CovarianceCalibration) -> None:
    d2 = np.geomspace(1e-6, 1e4, 1000)
    assert np.diff(calibration.normal_squared(d2, np.full(1000, 0.4))).min() > 0
    assert calibration.normal_squared(np.zeros(1), np.ones(1)) >= 0


def test_scaling_says_the_same_ellipsoids_otherwise(calibration: CovarianceCalibration) -> None:
    rng = np.random.default_rng(5)
    root, ray, p = rng.normal(0, 0.05, (24, 3, 3)), unit(np.array([0.1, 0.3, 1.0])), rng.random(24)
    cov, delta = root @ np.swapaxes(root, 1, 2), rng.normal(0, 0.05, (24, 3))
    scaled = calibration.scaled(1.3, 0.8)
    before, after = (
        squared_mahalanobis(c.apply(cov, ray, p, USUAL), delta) / c.radius(0.68, p)
        for c in (calibration, scaled)
    )
    np.testing.assert_allclose(after, before)
    np.testing.assert_allclose(scaled.visible, 1.3 * calibration.visible)


def test_json_round_trip(calibration: CovarianceCalibration) -> None:
    back = CovarianceCalibration.from_json(json.loads(json.dumps(calibration.to_json())))
    for name in ("visible", "occluded", "radii"):
        np.testing.assert_array_equal(getattr(back, name), getattr(calibration, name))
    assert (back.image_factor, back.distance, back.data, back.metrics) == (
        IMAGE_FACTOR,
        1.7,
        "simulated",
        METRICS,
    )
    unmeasured = replace(calibration, metrics=None)
    assert (
        CovarianceCalibration.from_json(json.loads(json.dumps(unmeasured.to_json()))).metrics
        is None
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("radii", [[0.5, 1, 1]]),
        ("radii", [[0.5, 2, 2], [0.9, 1, 3]]),
        ("radii", [[0.5, 2, 2], [1.0, 3, 3]]),
        ("radii", [[0.5, 0, 1], [0.9, 1, 3]]),
        ("visible", [[1, 1]]),
        ("image_factor", {"slope": 1.0}),
        ("image_factor", asdict(IMAGE_FACTOR) | {"slope": (1.0, 0.0, 0.0)}),
        ("image_factor", asdict(IMAGE_FACTOR) | {"slope": (1.0, 0.0, 0.0, 0.0)}),
        ("image_factor", asdict(IMAGE_FACTOR) | {"heavy": math.inf}),
        ("image_factor", asdict(IMAGE_FACTOR) | {"low": (0.0, 0.0, 0.0, 0.0)}),
        ("metrics", {"ece": 0.1}),
        ("metrics", METRICS_JSON | {"ece": math.nan}),
        ("metrics", METRICS_JSON | {"ece": "\x1b[2J"}),
        ("metrics", METRICS_JSON | {"ause": None}),
        ("metrics", METRICS_JSON | {"coverage": [0.5]}),
        ("metrics", METRICS_JSON | {"coverage": [0.5, 7.0]}),
        ("metrics", METRICS_JSON | {"data": "\x1b[2J"}),
        ("metrics", METRICS_JSON | {"data": None}),
        ("metrics", METRICS_JSON | {"strata": [{"name": "near"}]}),
        ("metrics", METRICS_JSON | {"strata": METRICS_JSON["strata"] * 101}),
        ("metrics", METRICS_JSON | {"strata": [METRICS_JSON["strata"][0] | {"trunk": [0.5]}]}),
        ("data", "x" * 10_000),
        ("data", ["x"]),
        ("radii", [[0.5 + i / 1e5, 1 + i, 1 + i] for i in range(2000)]),
        ("radii", ...),
    ],
)
def test_what_is_no_calibration_is_refused(
    calibration: CovarianceCalibration, key: str, value: object
) -> None:
    changed = calibration.to_json() | {key: value}
    with pytest.raises((KeyError, TypeError, ValueError)):
        CovarianceCalibration.from_json({k: v for k, v in changed.items() if v is not ...})
