"""Fusion of gravity: against generalised least squares, and for cameras that are moved."""

import numpy as np
import pytest

from engines.gravity.direction import Direction, log_direction, tangent_basis
from engines.gravity.fusion import FusionConfig, GravityFilter, GravityMemory, PersonEvidence

UP = np.array([0.1, -0.95, -0.2]) / np.linalg.norm([0.1, -0.95, -0.2])
PLAIN = FusionConfig(persistent=0.0, common=0.0, memory_s=1e9, tails=1e9)


def seen(truth: np.ndarray, tangent: np.ndarray, std: float) -> Direction:
    """A sample of `truth` that is off by a tangent vector (2,), radians."""
    B = tangent_basis(truth)
    vector = truth + B @ tangent
    vector /= np.linalg.norm(vector)
    C = tangent_basis(vector)
    return Direction(vector, std**2 * C @ C.T)


def correlated(rng: np.random.Generator, count: int, dt: float, config: FusionConfig) -> np.ndarray:
    """Errors (count, 2) of one person with unit variance, as the filter models them."""
    r = np.exp(-dt / config.correlation_s)
    errors = np.empty((count, 2))
    errors[0] = rng.normal(size=2)
    for i in range(1, count):
        errors[i] = r * errors[i - 1] + np.sqrt(1 - r * r) * rng.normal(size=2)
    stays = rng.normal(size=2)
    return np.sqrt(config.persistent) * stays + np.sqrt(1 - config.persistent) * errors


@pytest.mark.parametrize("dt", [0.01, 0.1, 1.0, 10.0])
def test_frames_of_one_person_count_as_in_generalised_least_squares(dt: float) -> None:
    count, person = 40, PersonEvidence()
    for i in range(count):
        person.add(seen(UP, np.zeros(2), 0.1), 1.0, i * dt, correlation_s=1.0)
    lag = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) * dt
    batch = np.linalg.inv(np.exp(-lag / 1.0)).sum()  # the information of the mean
    assert person.count == pytest.approx(batch, rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 20, 500])
def test_the_part_that_stays_does_not_average_out(count: int) -> None:
    """The variance is that of the best mean of errors of which a share of 0.3 stays."""
    person = PersonEvidence()
    for i in range(count):
        person.add(seen(UP, np.zeros(2), 0.1), 1.0, i * 0.4, correlation_s=1.0)
    lag = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) * 0.4
    batch = np.linalg.inv(0.3 + 0.7 * np.exp(-lag / 1.0)).sum()
    B = tangent_basis(UP)
    cov = np.linalg.inv(B.T @ person.effective(0.3) @ B)
    np.testing.assert_allclose(cov, 0.1**2 / batch * np.eye(2), rtol=1e-6, atol=1e-12)


def test_people_add_up_as_in_a_batch_solution() -> None:
    """Weighted least squares over all samples in the tangent plane of the truth."""
    rng = np.random.default_rng(0)
    samples = [seen(UP, 0.02 * rng.normal(size=2), std) for std in (0.05, 0.1, 0.02)]
    fused, _ = GravityFilter(PLAIN)(dict(enumerate(samples)), 0.0)
    assert fused is not None
    B = tangent_basis(UP)
    weights = np.array([1 / (s.std**2 / 2) for s in samples])
    mean = weights @ [B.T @ log_direction(UP, s.vector) for s in samples] / weights.sum()
    np.testing.assert_allclose(B.T @ log_direction(UP, fused.vector), mean, atol=1e-4)
    assert fused.std**2 / 2 == pytest.approx(1 / weights.sum(), rel=1e-3)


@pytest.mark.parametrize("frames", [1, 5])
def test_the_fused_covariance_holds_for_errors_as_modelled(frames: int) -> None:
    """Monte Carlo: one person, once a second; squared Mahalanobis distances have mean 2."""
    rng = np.random.default_rng(1)
    config = FusionConfig(common=0.0, memory_s=1e9, tails=1e9)
    truth, squared = Direction(UP, np.zeros((3, 3))), []
    for _ in range(800):
        gravity = GravityMemory(config)
        for i, error in enumerate(0.1 * correlated(rng, frames, 1.0, config)):
            gravity.add({0: seen(UP, error, 0.1)}, float(i))
        assert gravity.known is not None
        squared.append(gravity.known.squared_mahalanobis(truth))
    assert 1.85 < np.mean(squared) < 2.15


def test_the_frame_rate_does_not_change_what_is_known() -> None:
    stds = []
    for fps in (5, 30):
        gravity = GravityFilter()
        fused = None
        for i in range(10 * fps):
            fused, _ = gravity({0: seen(UP, np.zeros(2), 0.15)}, i / fps)
        assert fused is not None
        stds.append(fused.std)
    assert stds[0] == pytest.approx(stds[1], rel=0.03)
    assert stds[0] > 0.05


def test_an_empty_room_makes_nobody_forget() -> None:
    """A minute of somebody upright, ten minutes of nobody, then a frame of another who leans."""
    gravity = GravityFilter()
    for i in range(600):
        before, _ = gravity({0: seen(UP, np.zeros(2), 0.1)}, i / 10)
    for i in range(600, 6600):
        gravity({}, i / 10)
    fused, _ = gravity({1: seen(UP, np.array([0.35, 0]), 0.1)}, 660.0)
    assert before is not None and fused is not None
    assert np.degrees(np.linalg.norm(log_direction(UP, fused.vector))) < 4
    assert fused.std < before.std


def test_a_person_who_bends_down_for_a_moment_hardly_changes_it() -> None:
    gravity = GravityFilter()
    for i in range(200):
        gravity({0: seen(UP, np.zeros(2), 0.1)}, i / 20)
    before, _ = gravity({}, 10.0)
    fused, moved = before, False
    for i in range(12):
        fused, now = gravity({0: seen(UP, np.array([0.8, 0]), 0.1)}, 10 + i / 20)
        moved |= now
    assert fused is not None
    assert not moved
    assert np.degrees(np.linalg.norm(log_direction(UP, fused.vector))) < 2


@pytest.mark.parametrize("std", [0.06, 0.1])
def test_a_camera_that_is_tilted_is_noticed_and_followed(std: float) -> None:
    rng = np.random.default_rng(3)
    gravity = GravityFilter()
    after = np.array([0.1, -0.7, -0.7]) / np.linalg.norm([0.1, -0.7, -0.7])
    noticed = []
    fused = None
    for i in range(200):
        truth = UP if i < 100 else after
        fused, moved = gravity({0: seen(truth, 0.3 * std * rng.normal(size=2), std)}, i / 10)
        noticed += [i / 10] if moved else []
    assert fused is not None
    assert len(noticed) == 1
    assert 11 < noticed[0] < 15
    assert np.degrees(np.linalg.norm(log_direction(after, fused.vector))) < 3


def test_a_camera_that_stands_still_is_left_alone() -> None:
    """People whose errors are as modelled."""
    rng = np.random.default_rng(4)
    config = FusionConfig()
    false_alarms = 0
    for _ in range(10):
        gravity = GravityFilter(config)
        errors = 0.15 * correlated(rng, 150, 0.2, config)
        for i in range(150):
            false_alarms += gravity({0: seen(UP, errors[i], 0.15)}, i / 5)[1]
    assert false_alarms == 0


def test_what_all_people_have_in_common_remains() -> None:
    """However sure of themselves they are: one degree per axis."""
    samples = {k: seen(UP, np.zeros(2), 1e-4) for k in range(20)}
    fused, _ = GravityFilter()(samples, 0.0)
    assert fused is not None
    B = tangent_basis(fused.vector)
    np.testing.assert_allclose(B.T @ fused.cov @ B, np.radians(1.0) ** 2 * np.eye(2), atol=1e-7)
