"""Directions with an uncertainty, against geometry, Monte Carlo and a batch solution."""

import numpy as np
import pytest

from engines.gravity.direction import Direction, direction_of, log_direction, tangent_basis


def some_direction(rng: np.random.Generator, std: float = 0.1) -> Direction:
    vector = rng.normal(size=3)
    vector /= np.linalg.norm(vector)
    B, half = tangent_basis(vector), std * rng.normal(size=(2, 2)) + std * np.eye(2)
    return Direction(vector, B @ half @ half.T @ B.T)


def moved(direction: Direction, tangent: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(tangent)
    return np.cos(angle) * direction.vector + np.sinc(angle / np.pi) * tangent


@pytest.mark.parametrize("vector", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0, -1, 0), (0.6, 0, -0.8)])
def test_a_tangent_basis_is_orthonormal_and_across(vector: tuple[float, ...]) -> None:
    B = tangent_basis(np.array(vector, float))
    np.testing.assert_allclose(B.T @ B, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(B.T @ np.array(vector), 0, atol=1e-12)


def test_the_tangent_between_two_directions_leads_from_one_to_the_other() -> None:
    rng = np.random.default_rng(0)
    start, end = some_direction(rng), some_direction(rng)
    away = log_direction(start.vector, end.vector)
    np.testing.assert_allclose(moved(start, away), end.vector, atol=1e-12)
    angle = np.arccos(start.vector @ end.vector)
    assert np.linalg.norm(away) == pytest.approx(angle)


def test_a_direction_comes_back_from_its_own_information() -> None:
    one = some_direction(np.random.default_rng(1))
    again = direction_of(one.information, one.vector)
    np.testing.assert_allclose(again.vector, one.vector, atol=1e-9)
    np.testing.assert_allclose(again.cov, one.cov, atol=1e-9)
    opposite = direction_of(one.information, -one.vector)
    np.testing.assert_allclose(opposite.vector, -one.vector, atol=1e-9)


def test_the_sum_of_information_is_the_weighted_mean_with_its_covariance() -> None:
    """Monte Carlo: the fused direction scatters about the truth as its covariance says."""
    rng = np.random.default_rng(2)
    truth = some_direction(rng).vector
    B = tangent_basis(truth)
    halves = 0.05 * rng.normal(size=(4, 2, 2)) + 0.05 * np.eye(2)
    covs = np.array([B @ half @ half.T @ B.T for half in halves])
    away, said = [], []
    for _ in range(2000):
        total = np.zeros((3, 3))
        for cov, half in zip(covs, halves, strict=True):
            seen = moved(Direction(truth, cov), B @ half @ rng.normal(size=2))
            across = np.eye(3) - np.outer(seen, seen)
            total += Direction(seen, across @ cov @ across).information
        fused = direction_of(total, truth)
        away.append(B.T @ log_direction(truth, fused.vector))
        said.append(B.T @ fused.cov @ B)
    expected = np.linalg.inv(sum(np.linalg.inv(B.T @ cov @ B) for cov in covs))
    np.testing.assert_allclose(np.cov(np.array(away).T), expected, rtol=0.12, atol=1e-5)
    np.testing.assert_allclose(np.mean(said, axis=0), expected, rtol=0.05, atol=1e-5)


def test_distances_are_measured_in_both_uncertainties() -> None:
    B = tangent_basis(np.array([0.0, -1.0, 0.0]))
    up = Direction(np.array([0.0, -1.0, 0.0]), 0.03**2 * B @ B.T)
    tilted = np.array([np.sin(0.1), -np.cos(0.1), 0.0])
    C = tangent_basis(tilted)
    other = Direction(tilted, 0.04**2 * C @ C.T)
    assert up.squared_mahalanobis(other) == pytest.approx(4.0, rel=0.01)
    assert up.std == pytest.approx(0.03 * np.sqrt(2))
