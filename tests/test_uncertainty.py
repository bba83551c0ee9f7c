"""Calibration: simulated errors whose true spread is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from calib import uncertainty
from calib.uncertainty import Calibration, Errors

COUNT = 4000


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def simulate(
    visible_factors: np.ndarray, hidden_factors: np.ndarray, share_visible: np.ndarray | float = 0.5, seed: int = 0
) -> Errors:
    """Errors whose true standard deviation is the promised one times a factor, across and along the ray.

    The promises are round across the ray and differ between pictures and joints.
    """
    rng = np.random.default_rng(seed)
    ray = unit(np.column_stack([rng.normal(0, 0.3, (COUNT, 2)), np.ones(COUNT)]))
    along = ray[:, None, :, None] * ray[:, None, None, :]
    across = np.eye(3) - along
    std = np.exp(rng.normal(np.log(0.04), 0.4, (2, COUNT, 24, 1, 1)))
    visible = rng.random((COUNT, 24)) < share_visible
    factors = np.where(visible[..., None], visible_factors, hidden_factors)[..., None, None]
    root = np.sqrt(std**2 + 0.004**2)  # the floor is part of the promise
    spread = factors[..., 0, :, :] * root[0] * across + factors[..., 1, :, :] * root[1] * along
    distance_std = rng.uniform(0.1, 0.5, COUNT)
    return Errors(
        error=(spread @ rng.standard_normal((COUNT, 24, 3, 1)))[..., 0],
        cov=std[0] ** 2 * across + std[1] ** 2 * along,
        ray=ray,
        visible=visible,
        distance_error=1.7 * distance_std * rng.standard_normal(COUNT),
        distance_std=distance_std,
    )


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    return rng.uniform(0.6, 1.5, (24, 2)), rng.uniform(1.5, 3.0, (24, 2))


@pytest.fixture(scope="module")
def fitted(truth: tuple[np.ndarray, np.ndarray]) -> Calibration:
    other_people = simulate(*truth, seed=1)
    return uncertainty.measure(uncertainty.fit(simulate(*truth), data="simulated"), other_people)


def test_fit_recovers_known_factors(fitted: Calibration, truth: tuple[np.ndarray, np.ndarray]) -> None:
    # A thousand errors a joint: the 68 % quantile of a Gaussian's size has a relative error of about 3 %.
    for found, expected in zip((fitted.visible, fitted.hidden), truth, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.15)
        assert np.log(found / expected).mean() == pytest.approx(0, abs=0.02)
    assert fitted.distance == pytest.approx(1.7, rel=0.06)


def test_held_out_coverage_is_nine_tenths(fitted: Calibration) -> None:
    slack = 4 * math.sqrt(0.09 / (COUNT / 2 * 24 / 2)) + 0.01  # of counting, and of fitting the factors
    assert fitted.coverage_visible == pytest.approx(0.9, abs=slack)
    assert fitted.coverage_hidden == pytest.approx(0.9, abs=slack)


def test_heavy_tails_are_covered_as_well() -> None:
    sample = simulate(np.ones((24, 2)), np.ones((24, 2)))
    tails = stats.t(3).rvs((COUNT, 24, 1), random_state=1)
    heavy = replace(sample, error=sample.error * tails)
    fitted = uncertainty.measure(uncertainty.fit(heavy, data="heavy"), heavy)
    assert fitted.coverage_visible == pytest.approx(0.9, abs=0.02)


def test_a_rare_joint_takes_the_factors_of_all_joints() -> None:
    share = np.full(24, 0.5)
    share[7] = 0.01  # about 40 sightings
    factors = np.full((24, 2), 1.3)
    factors[7] = 9.0
    found = uncertainty.fit(simulate(factors, np.ones((24, 2)), share), data="rare").visible
    np.testing.assert_allclose(found[7], 1.3, rtol=0.1)


def test_joints_never_seen_hidden_keep_their_promise() -> None:
    sample = simulate(np.full((24, 2), 2.0), np.ones((24, 2)), 1.1)
    fitted = uncertainty.measure(uncertainty.fit(sample, data="all visible"), sample)
    np.testing.assert_array_equal(fitted.hidden, np.ones((24, 2)))
    assert fitted.coverage_hidden is None


def test_applied_covariances_are_symmetric_and_positive_definite(fitted: Calibration) -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(0, 0.05, (24, 3, 3))
    root[:4, :, 2] = 0  # flat ones too
    cov = fitted.apply(root @ np.swapaxes(root, 1, 2), unit(np.array([0.2, -0.1, 1.0])), rng.random(24))
    np.testing.assert_allclose(cov, np.swapaxes(cov, 1, 2), atol=1e-15)
    assert np.linalg.eigvalsh(cov).min() > 1e-6


def test_a_larger_covariance_stays_larger(fitted: Calibration) -> None:
    fitted = replace(fitted, slopes=(0.2, 0.5))
    rng = np.random.default_rng(3)
    small, more = (r @ np.swapaxes(r, 1, 2) for r in rng.normal(0, 0.05, (2, 24, 3, 3)))
    ray, p = unit(np.array([0.2, -0.1, 1.0])), rng.random(24)
    assert np.linalg.eigvalsh(fitted.apply(small + more, ray, p) - fitted.apply(small, ray, p)).min() > -1e-12


@pytest.mark.parametrize("p_visible", [0.0, 0.5, 1.0])
def test_factors_stretch_across_and_along_the_ray(fitted: Calibration, p_visible: float) -> None:
    ray, side = np.array([0.6, 0.0, 0.8]), np.array([0.8, 0.0, -0.6])
    cov = fitted.apply(np.tile(0.09 * np.eye(3), (24, 1, 1)), ray, np.full(24, p_visible))
    factors = fitted.visible**p_visible * fitted.hidden ** (1 - p_visible)
    slope = p_visible * fitted.slopes[0] + (1 - p_visible) * fitted.slopes[1]
    promised = (0.09 + 0.004**2) * (math.sqrt(0.09 + 0.004**2) / uncertainty.REFERENCE_M) ** (2 * slope)
    np.testing.assert_allclose(np.einsum("i,jik,k->j", side, cov, side), promised * factors[:, 0] ** 2)
    np.testing.assert_allclose(np.einsum("i,jik,k->j", ray, cov, ray), promised * factors[:, 1] ** 2)


def test_fit_recovers_how_the_factor_grows(truth: tuple[np.ndarray, np.ndarray]) -> None:
    ones = np.ones((24, 2))
    data = simulate(ones, 1.6 * ones)
    std = np.sqrt(np.trace(data.cov, axis1=-2, axis2=-1) / 3 + 0.004**2)
    data = replace(data, error=data.error * (std / uncertainty.REFERENCE_M)[..., None] ** 0.25)
    grown = uncertainty.measure(uncertainty.fit(data, data="simulated"), data)
    np.testing.assert_allclose(grown.slopes, 0.25, atol=0.06)
    assert grown.coverage_visible == pytest.approx(0.9, abs=0.015)
    assert grown.coverage_hidden == pytest.approx(0.9, abs=0.015)


def test_json_round_trip(fitted: Calibration) -> None:
    back = Calibration.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(back.visible, fitted.visible)
    np.testing.assert_array_equal(back.hidden, fitted.hidden)
    assert (back.distance, back.data, back.coverage_hidden) == (fitted.distance, "simulated", fitted.coverage_hidden)
