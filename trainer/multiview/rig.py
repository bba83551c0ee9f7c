"""Calibrated cameras around one person.

World and camera frames are in metres, x_cam = R x_world + t.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics


@dataclass(frozen=True)
class RigCamera:
    """One camera of a rig, and what it recorded."""

    intrinsics: Intrinsics
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, "3"]
    video: Path

    def to_camera(self, points_world: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Express points of the world in the camera frame."""
        return points_world @ self.R.T + self.t


def relative_pose(first: RigCamera, second: RigCamera) -> Float[np.ndarray, "4 4"]:
    """T_second_first of two calibrated cameras."""
    T = np.eye(4)
    T[:3, :3] = second.R @ first.R.T
    T[:3, 3] = second.t - T[:3, :3] @ first.t
    return T
