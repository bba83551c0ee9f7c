"""The virtual camera of the world panel: from where the user looks, and what fits into it.

It looks from behind the real camera's shoulder by default. It holds still while everybody is well
inside of the picture, and glides to a new place when somebody leaves it or much room is wasted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from realtime.view.scene import Scene
from realtime.view.state import Orbit

FOCAL = 1.9
"""Focal length in heights of the panel."""
_MARGIN = 0.8
"""Share of the panel that what must fit may take."""
_SLACK = 0.5
"""Share of the rest that it may move by before the camera follows."""
_WASTE = 1.35
"""A fit that is tighter by more than this is gone to."""
_GLIDE_S = 0.7
"""Time constant of the glide, seconds."""
_CATCH_UP_S = 0.15
"""The same while somebody is outside of the panel."""
_NEAREST_M = 2.2
_CAMERA_WITHIN_M = 8.0
"""The real camera is part of what must fit while everybody is nearer to it than this."""


@dataclass(frozen=True)
class WorldCamera:
    """A pinhole camera in the world."""

    T_panel_world: Float[np.ndarray, "4 4"]
    """World frame to this camera's (x right, y down, z forward)."""
    K: Float[np.ndarray, "3 3"]

    @property
    def eye(self) -> Float[np.ndarray, "3"]:
        """Position, world frame."""
        return -self.T_panel_world[:3, :3].T @ self.T_panel_world[:3, 3]

    def see(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Convert points of the world to this camera's frame."""
        return points @ self.T_panel_world[:3, :3].T + self.T_panel_world[:3, 3]


@dataclass(frozen=True)
class Fit:
    """What the panel is centred on, and how far away the eye is; world frame, metres."""

    target: Float[np.ndarray, "3"]
    distance: float


def directions(orbit: Orbit) -> Float[np.ndarray, "3 3"]:
    """Return the rows right, down and forward of a camera at an orbit, world frame."""
    azimuth, elevation = np.deg2rad(orbit.azimuth_deg), np.deg2rad(orbit.elevation_deg)
    level = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    forward = np.cos(elevation) * level - np.array([0.0, 0.0, np.sin(elevation)])
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def what_must_fit(scene: Scene) -> Float[np.ndarray, "N 3"]:
    """Return points of the world that belong into the picture; never empty."""
    points = [
        scene.to_world(p.vertices[::16] if len(p.vertices) else p.joints) for p in scene.people
    ]
    points = [p for p in points if np.isfinite(p).all()]
    feet = [p.mean(axis=0) * (1.0, 1.0, 0.0) for p in points]
    camera = scene.frustum
    near = all(np.linalg.norm(f - camera[0]) < _CAMERA_WITHIN_M for f in feet)
    if near:
        points.append(camera)
    if not feet:
        points.append(np.array([[-0.8, 2.5, 0.0], [0.8, 2.5, 1.8]]))
    return np.concatenate([*points, *[f[None] for f in feet]])


def fit(points: Float[np.ndarray, "N 3"], orbit: Orbit, aspect: float) -> Fit:
    """Return the nearest place from which points fill at most `_MARGIN` of the panel.

    With slopes k_x, k_y of the frustum, a point at (x, y, z) in the camera's axes is inside for an
    eye at (e_x, e_y, -d) where |x - e_x| <= k_x (z + d): the extremes of x - k_x z and x + k_x z
    give e_x and the smallest d, and likewise for y.

    Args:
        points: World frame, metres.
        orbit: Direction of the view; zoom and pan are left out.
        aspect: Width of the panel over its height.
    """
    R = directions(orbit)
    slopes = _MARGIN * 0.5 / FOCAL * np.array([aspect, 1.0])
    seen = points @ R.T
    flat, depth = seen[:, :2], seen[:, 2:]
    high = (flat - slopes * depth).max(axis=0)
    low = (flat + slopes * depth).min(axis=0)
    distance = float(((high - low) / (2 * slopes)).max())
    middle = (high + low) / 2
    center = float(depth.mean())
    target = np.array([middle[0], middle[1], center]) @ R
    return Fit(target, max(distance + center, _NEAREST_M))


def _shows(found: Fit, points: Float[np.ndarray, "N 3"], orbit: Orbit, aspect: float) -> bool:
    """Whether all points are inside of the panel."""
    seen = (points - found.target) @ directions(orbit).T
    slopes = 0.5 / FOCAL * np.array([aspect, 1.0])
    return bool((np.abs(seen[:, :2]) <= slopes * (seen[:, 2:] + found.distance)).all())


def place(found: Fit, orbit: Orbit, size: tuple[int, int]) -> WorldCamera:
    """Return the camera that looks at a fit from an orbit, with its zoom and pan."""
    width, height = size
    R = directions(orbit)
    focal = FOCAL * height * orbit.zoom
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = np.array([0.0, 0.0, found.distance]) - R @ found.target
    middle = (width / 2 + orbit.pan[0] * height, height / 2 - orbit.pan[1] * height)
    K = np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]])
    return WorldCamera(T, K)


class SteadyCamera:
    """Keeps the virtual camera calm; remembers the fit from frame to frame."""

    def __init__(self) -> None:
        self._now: Fit | None = None
        self._goal: Fit | None = None
        self._view: tuple[float, float, float, int] | None = None
        self._time_s = -np.inf

    def __call__(self, scene: Scene, orbit: Orbit, size: tuple[int, int]) -> WorldCamera:
        """Return the camera for a frame."""
        aspect = size[0] / size[1]
        points = what_must_fit(scene)
        wanted = fit(points, orbit, aspect)
        time_s = scene.frame.estimate.frame.media_time_s
        elapsed_s = time_s - self._time_s
        shot = scene.frame.estimate.frame.shot
        view = (orbit.azimuth_deg, orbit.elevation_deg, aspect, shot)
        same = view == self._view and 0.0 <= elapsed_s < 5.0
        self._view, self._time_s = view, time_s
        if not same or self._now is None or self._goal is None:
            self._now = self._goal = wanted
        else:
            self._goal = self._next_goal(self._goal, wanted, orbit, aspect)
            now, goal = self._now, self._goal
            constant_s = _GLIDE_S if _shows(now, points, orbit, aspect) else _CATCH_UP_S
            share = 1.0 - np.exp(-elapsed_s / constant_s)
            self._now = Fit(
                now.target + share * (goal.target - now.target),
                now.distance + share * (goal.distance - now.distance),
            )
        return place(self._now, orbit, size)

    @staticmethod
    def _next_goal(goal: Fit, wanted: Fit, orbit: Orbit, aspect: float) -> Fit:
        slopes = 0.5 / FOCAL * np.array([aspect, 1.0]) * goal.distance
        moved = directions(orbit)[:2] @ (wanted.target - goal.target)
        off = bool((np.abs(moved) > _SLACK * (1 - _MARGIN) * slopes).any())
        too_near = wanted.distance > goal.distance * 1.03
        too_far = wanted.distance * _WASTE < goal.distance
        return wanted if off or too_near or too_far else goal
