"""From where a browser views the scene."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from realtime.view.web.frame import WebFrame

View = Literal["orbit", "side", "top", "camera"]
VIEWS: tuple[View, ...] = get_args(View)
_FOV = np.deg2rad(45.0)
_UP = np.array([0.0, 0.0, 1.0])
_FROM: dict[View, tuple[float, float, float]] = {
    "orbit": (-0.62, -0.90, 0.42),
    "side": (-1.0, 0.0, 0.08),
    "top": (0.0, -1e-3, 1.0),  # not exactly from above: the image's top is where the camera looks
}
"""Directions from the middle of the scene to the eye, world frame."""


@dataclass(frozen=True)
class Camera:
    """A virtual camera, world frame."""

    position: Float[np.ndarray, "3"]
    look_at: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    fov: float
    """Vertical field of view, radians."""


def camera_of(view: View, frame: WebFrame, aspect: float) -> Camera:
    """Return the camera of a view.

    Args:
        view: `camera` is the place of the real camera, with its whole image in view.
        frame: What is viewed.
        aspect: Width of the browser's view relative to its height.
    """
    if view == "camera":
        return _real(frame, aspect)
    radius = frame.extent / np.sin(_FOV / 2) / min(1.0, aspect)
    toward_eye = np.array(_FROM[view])
    eye = frame.middle + radius * toward_eye / np.linalg.norm(toward_eye)
    return Camera(eye, frame.middle, _UP, float(_FOV))


def _real(frame: WebFrame, aspect: float) -> Camera:
    R, t = frame.T_world_cam[:3, :3], frame.T_world_cam[:3, 3]
    corners = (frame.frustum[1:] - t) @ R
    half_width, half_height = np.abs(corners[:, :2] / corners[:, 2:]).max(axis=0)
    fov = 2 * np.arctan(max(half_height, half_width / aspect))
    away = max(1.0, float((frame.middle - t) @ R[:, 2]))
    return Camera(t, t + away * R[:, 2], -R[:, 1], float(fov))
