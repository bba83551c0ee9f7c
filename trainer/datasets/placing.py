"""Where a body stands in front of a camera when only its picture says so, and cameras in the form
that pairs assume.
"""

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics

BODY_IN_BOX = 1.2
"""Side of a dataset's box in terms of the extent of the joints in it."""
NEAREST_M = 0.2
"""Nothing that a fit puts in front of the camera is nearer than this."""


def centred(camera: Intrinsics) -> tuple[float, Float[np.ndarray, "2 3"]]:
    """The focal length (px) of a camera with its principal point in the picture's middle and square
    pixels, and the affine map that takes image px of `camera` to px of that one: a point keeps its
    ray."""
    focal = float(np.sqrt(camera.fx * camera.fy))
    scale = np.array([focal / camera.fx, focal / camera.fy])
    shift = np.array(camera.size) / 2 - scale * (camera.cx, camera.cy)
    return focal, np.column_stack([np.diag(scale), shift])


def fit_translation(
    joints: Float[np.ndarray, "J 3"], points: Float[np.ndarray, "J 2"], camera: Intrinsics
) -> Float[np.ndarray, "3"]:
    """The translation t (m) that brings J joints (m, camera axes) under their image points (px), by
    linear least squares.

    Each point with ray (u, v) asks for x + t_x = u (z + t_z) and y + t_y = v (z + t_z).
    """
    rays = camera.rays(points)
    A = np.zeros((len(joints), 2, 3))
    A[:, 0, 0] = A[:, 1, 1] = 1.0
    A[:, :, 2] = -rays
    b = rays * joints[:, 2:] - joints[:, :2]
    return np.linalg.lstsq(A.reshape(-1, 3), b.ravel(), rcond=None)[0]


def fit_box(
    joints: Float[np.ndarray, "J 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    camera: Intrinsics,
) -> Float[np.ndarray, "3"]:
    """The translation (m) at which joints (m, camera axes) fill a box (px) but for its margin, by
    fixed-point iteration.
    """
    focal = np.array([camera.fx, camera.fy])
    nearest = NEAREST_M - joints[:, 2].min()
    t = np.array(
        [
            0.0,
            0.0,
            max(nearest, camera.fx * np.ptp(joints[:, :2], axis=0).max() * BODY_IN_BOX / side),
        ]
    )
    for _ in range(30):
        px = camera.project(joints + t)
        t[2] = max(nearest, t[2] * np.ptp(px, axis=0).max() * BODY_IN_BOX / side)
        px = camera.project(joints + t)
        t[:2] += (center - (px.min(0) + px.max(0)) / 2) / focal * t[2]
    return t
