"""The mathematics of the view: projections, ellipsoids, frustum, shadows, virtual cameras.

Pure functions. Frames are named as in `engines.types`; the world is z up.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from engines.camera import Intrinsics
from engines.covariance import ELLIPSOID_90

NEAR_M = 1e-3
"""Points nearer to a camera plane than this have no pixel, metres."""


def project(
    points: Float[np.ndarray, "*n 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 2"]:
    """Project with a pinhole to px; points behind the camera give nan."""
    depth = np.where(points[..., 2:] > NEAR_M, points[..., 2:], np.nan)
    return (points @ intrinsics.T)[..., :2] / depth


def through_lens(
    points: Float[np.ndarray, "*n 3"], intrinsics: Intrinsics
) -> Float[np.ndarray, "*n 2"]:
    """Project as `project` does, with the lens of a real camera."""
    ahead = points[..., 2:] > NEAR_M
    uv = intrinsics.project(np.where(ahead, points, 1.0).reshape(-1, 3))
    return np.where(ahead, uv.reshape(*points.shape[:-1], 2), np.nan)


def level_world(height: float) -> Float[np.ndarray, "4 4"]:
    """Return T_world_cam of a camera that is held level `height` metres above the floor."""
    T = np.eye(4)
    T[:3, :3] = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
    T[2, 3] = height
    return T


def frustum(
    intrinsics: Intrinsics, T_world_cam: Float[np.ndarray, "4 4"], depth_m: float
) -> Float[np.ndarray, "5 3"]:
    """Return the camera and the corners of its image at a distance, world frame, metres.

    The corners are in the order top left, top right, bottom right, bottom left. They are those of
    the pinhole: a lens that bends the image's edges is drawn straight.
    """
    width, height = intrinsics.size
    pixels = np.array([[0.0, 0], [width, 0], [width, height], [0, height]])
    rays = (pixels - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    points = np.vstack([np.zeros(3), np.column_stack([rays, np.ones(4)]) * depth_m])
    return points @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]


def shadow(vertices: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Return the shadow on the floor z = 0 of points in the world, the light straight above."""
    return vertices * (1.0, 1.0, 0.0)


def box_around(
    points: Float[np.ndarray, "N 2"], shape: tuple[int, ...], margin: int = 6
) -> tuple[int, int, int, int] | None:
    """Return (x0, y0, x1, y1) of the pixels around points; None where they miss the image."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    height, width = shape[:2]
    low = np.floor(points.min(axis=0) - margin)
    high = np.ceil(points.max(axis=0) + margin)
    x0, y0 = (int(v) for v in np.clip(low, 0, (width, height)))
    x1, y1 = (int(v) for v in np.clip(high, 0, (width, height)))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


@lru_cache(maxsize=1)
def unit_rings(points: int = 48) -> tuple[Float[np.ndarray, "M 3"], Int[np.ndarray, "L 2"]]:
    """Return the points of three great circles of a unit sphere and the lines between them."""
    angle = 2 * np.pi * np.arange(points) / points
    c, s, o = np.cos(angle), np.sin(angle), np.zeros(points)
    rings = np.concatenate([np.stack(ring, axis=1) for ring in ((o, c, s), (s, o, c), (c, s, o))])
    here = np.arange(points)
    loop = np.stack([here, (here + 1) % points], axis=1)
    return rings, np.concatenate([loop + points * i for i in range(3)])


def ellipsoid_rings(
    center: Float[np.ndarray, "3"], cov: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "M 3"]:
    """Return `unit_rings` on the 90 % ellipsoid, across its own axes.

    Its points p satisfy (p - center)^T cov^-1 (p - center) = chi2_3(0.9).
    """
    variances, axes = np.linalg.eigh(cov)
    half_axes = np.sqrt(ELLIPSOID_90 * np.maximum(variances, 0.0))
    return unit_rings()[0] @ (axes * half_axes).T + center


def ellipsoid_outline(
    center: Float[np.ndarray, "3"],
    cov: Float[np.ndarray, "3 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    points: int = 72,
) -> Float[np.ndarray, "N 2"] | None:
    """Return the ellipse, px, that the 90 % ellipsoid covers in a pinhole image.

    It is None when the ellipsoid reaches behind the camera. A quadric's dual projects to the dual
    of its outline: C* ~ K (c c^T - chi2 cov) K^T, scaled to C*_33 = 1, is
    [[m m^T - S, m], [m^T, 1]] with the ellipse (u - m)^T S^-1 (u - m) = 1.
    """
    dual = intrinsics @ (np.outer(center, center) - ELLIPSOID_90 * cov) @ intrinsics.T
    if center[2] <= 0 or dual[2, 2] <= 0:
        return None
    dual = dual / dual[2, 2]
    middle = dual[:2, 2]
    variances, axes = np.linalg.eigh(np.outer(middle, middle) - dual[:2, :2])
    angle = 2 * np.pi * np.arange(points) / points
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return circle @ (axes * np.sqrt(np.maximum(variances, 0.0))).T + middle
