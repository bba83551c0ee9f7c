"""The world frame, of cameras whose pitch and roll are known."""

from dataclasses import replace

import numpy as np
import pytest

from engines.gravity.direction import Direction, log_direction, tangent_basis
from engines.rotations import exp_so3
from engines.types import World
from realtime.world.frames import quarters_of, tilt_cov, world_from_camera


def camera(pitch_down_deg: float, roll_deg: float) -> np.ndarray:
    """R_level_cam of a camera that looks along y, first tilted down and then rolled."""
    level = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    down, roll = np.radians([pitch_down_deg, roll_deg])
    return level @ exp_so3(np.array([-down, 0, 0])) @ exp_so3(np.array([0, 0, roll]))


@pytest.mark.parametrize("pitch", [-80, -60, -10, 0, 30, 75, 85, 90])
@pytest.mark.parametrize("roll", [0, 20, 90, 180])
def test_the_world_is_upright_and_keeps_the_heading(pitch: float, roll: float) -> None:
    R = camera(pitch, roll)
    up = R.T @ np.array([0.0, 0, 1])
    T = world_from_camera(up, 1.4)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(T[:3, :3] @ up, (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], (0, 0, 1.4))
    if abs(pitch) < 75 or roll == 0:
        np.testing.assert_allclose(T[:3, :3], R, atol=1e-9)


@pytest.mark.parametrize(
    ("roll", "quarters"), [(0, 0), (50, 0), (-50, 0), (90, 3), (-90, 1), (180, 2), (-130, 1)]
)
def test_a_camera_on_its_side_is_known(roll: float, quarters: int) -> None:
    R = camera(20, roll)
    T = world_from_camera(R.T @ np.array([0.0, 0, 1]), 1.0)
    known = World(T, 0.01 * np.eye(2), 0.1, "estimated")
    assert quarters_of(known) == quarters
    assert quarters_of(replace(known, up_cov=0.1 * np.eye(2))) == 0
    assert quarters_of(None) == 0
    down = world_from_camera(camera(85, roll).T @ np.array([0.0, 0, 1]), 1.0)
    assert quarters_of(replace(known, T_world_cam=down)) == 0


def test_the_covariance_of_the_tilt_is_that_of_rotations_of_the_world() -> None:
    """Monte Carlo: rotations of the world about x and y, drawn with it, move up as `cov` says."""
    rng = np.random.default_rng(0)
    R = camera(25, 10)
    up = R.T @ np.array([0.0, 0, 1])
    B = tangent_basis(up)
    half = np.array([[0.05, 0.0], [0.03, 0.02]])
    direction = Direction(up, B @ half @ half.T @ B.T)
    T = world_from_camera(up, 1.0)
    tilt = np.linalg.cholesky(tilt_cov(direction, T)) @ rng.normal(size=(2, 20_000))
    turns = exp_so3(np.concatenate([tilt, np.zeros((1, tilt.shape[1]))]).T)
    moved = np.einsum("ij,njk,k->ni", T[:3, :3].T, turns, np.array([0.0, 0, 1]))
    away = np.array([log_direction(up, one) for one in moved])
    np.testing.assert_allclose(np.cov(away.T), direction.cov, atol=8e-5)
