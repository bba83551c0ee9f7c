"""Points that several calibrated cameras see, and the limb joints of a person among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.types import LIMB_LANDMARKS, Landmarks
from trainer.multiview.rig import RigCamera

_PARALLEL = 1e-9
"""Last of the unit homogeneous coordinates of a point that is 1e9 m away."""


@dataclass(frozen=True)
class TriangulationConfig:
    """Which landmarks make a reference."""

    min_visibility: float = 0.7
    """Smallest visibility of a landmark, for its camera to count."""
    max_reprojection_px: float = 40.0
    """Largest reprojection error of a triangulated joint in each camera that counts."""
    min_joints: int = 5
    """An instant with fewer triangulated joints is left out."""


def triangulate(
    points: Float[np.ndarray, "V 2"],
    cameras: Sequence[RigCamera],
    max_reprojection_px: float = np.inf,
) -> Float[np.ndarray, "3"] | None:
    """Find a world point (m) from its image points (px), linearly; None if the cameras disagree.

    They do, too, where the rays meet behind one of them, or nowhere.

    The homogeneous point is the last right singular vector of the rows u P_3 - P_1, v P_3 - P_2 of
    all cameras (Hartley and Zisserman, Multiple View Geometry, 12.2).
    """
    rows = []
    for point, camera in zip(points, cameras, strict=True):
        u, v = camera.intrinsics.rays(point[None])[0]
        P = np.column_stack([camera.R, camera.t])
        rows += [u * P[2] - P[0], v * P[2] - P[1]]
    homogeneous = np.linalg.svd(np.array(rows))[2][-1]
    if abs(homogeneous[3]) < _PARALLEL:
        return None
    world = homogeneous[:3] / homogeneous[3]
    for point, camera in zip(points, cameras, strict=True):
        inside = camera.to_camera(world)
        if inside[2] <= 0:
            return None
        projected = camera.intrinsics.project(inside[None])[0]
        if np.linalg.norm(projected - point) > max_reprojection_px:
            return None
    return world


def triangulate_landmarks(
    landmarks: Sequence[Landmarks], cameras: Sequence[RigCamera], config: TriangulationConfig
) -> dict[int, Float[np.ndarray, "3"]]:
    """World positions (m) of the limb landmarks that at least two cameras agree on, by number.

    Args:
        landmarks: of one instant, one for each camera.
        cameras: of the rig.
        config: which landmarks count.
    """
    found = {}
    for number in LIMB_LANDMARKS:
        use = [
            i
            for i, (one, camera) in enumerate(zip(landmarks, cameras, strict=True))
            if _counts(one, camera, number, config.min_visibility)
        ]
        if len(use) < 2:
            continue
        points = np.array([landmarks[i].points[number] for i in use])
        world = triangulate(points, [cameras[i] for i in use], config.max_reprojection_px)
        if world is not None:
            found[number] = world
    return found


def _counts(landmarks: Landmarks, camera: RigCamera, number: int, min_visibility: float) -> bool:
    """Whether a landmark is visible enough, and inside the image."""
    x, y = landmarks.points[number]
    width, height = camera.intrinsics.size
    inside = 0 < x < width and 0 < y < height
    return bool(landmarks.visibility[number] >= min_visibility and inside)
