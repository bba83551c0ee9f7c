"""Up in the camera frame and a height above the floor, as the world frame."""

import math

import numpy as np
from jaxtyping import Float

from engines.gravity.direction import Direction
from engines.rotations import skew
from engines.types import World

_STEEP = 0.2
"""Horizontal share of the viewing axis below which the image's own up says what is in front."""
_CLEAR_RAD = math.radians(20)
_LEVEL = 0.5
"""Share of gravity in the image plane below which roll says little."""
_UPRIGHT_DEG = 60.0


def world_from_camera(up: Float[np.ndarray, "3"], height_m: float) -> Float[np.ndarray, "4 4"]:
    """Make T_world_cam: z up, y where the camera looks, origin on the floor below the camera.

    Args:
        up: unit vector against gravity, camera frame.
        height_m: of the camera above the floor.
    """
    forward = _across(np.array([0.0, 0.0, 1.0]), up)
    if np.linalg.norm(forward) < _STEEP:  # straight down the image's up lies in front, up behind
        forward = _across(np.array([0.0, -1.0, 0.0]) * -np.copysign(1.0, up[2]), up)
    forward = forward / np.linalg.norm(forward)
    T = np.eye(4)
    T[:3, :3] = [skew(forward) @ up, forward, up]
    T[2, 3] = height_m
    return T


def quarters_of(world: World | None) -> int:
    """Quarters of a turn by which the camera is rolled counterclockwise; 0 where that is not clear.

    Rolls of up to 60 degrees count as none: images of them are estimated about as well.
    """
    if world is None or np.trace(world.up_cov) > _CLEAR_RAD**2:
        return 0
    x, y, _ = world.up
    roll = math.degrees(math.atan2(x, -y))
    if math.hypot(x, y) < _LEVEL or abs(roll) < _UPRIGHT_DEG:
        return 0
    return int(np.copysign(1 if abs(roll) < 135 else 2, roll)) % 4


def tilt_cov(up: Direction, T_world_cam: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "2 2"]:
    """Covariance of small rotations of the world frame about its x and y axes, square radians.

    A rotation by (a, b) about x and y moves the z axis by (b, -a).
    """
    R = T_world_cam[:3, :3]
    moved = (R @ up.cov @ R.T)[:2, :2]
    return np.array([[moved[1, 1], -moved[0, 1]], [-moved[0, 1], moved[0, 0]]])


def _across(vector: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    return vector - (vector @ up) * up
