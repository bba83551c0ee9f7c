"""People who stand upright, as scenes and as poses."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from trainer.render.scenes import Scene


def standing_pose(turn_deg: float) -> np.ndarray:
    """(24, 3): upright, arms a little off the body, towards the camera but for `turn_deg`."""
    rotvec = np.zeros((24, 3))
    rotvec[16] = (0, 0, -1.1)
    rotvec[17] = (0, 0, 1.1)
    upside_down = Rotation.from_euler("x", 180, degrees=True)
    rotvec[0] = (upside_down * Rotation.from_euler("y", turn_deg, degrees=True)).as_rotvec()
    return rotvec


def standing(turn_deg: float) -> Scene:
    """A person in `standing_pose`, 3.5 m away."""
    pelvis = np.array([0.2, 0.1, 3.5])
    return Scene(standing_pose(turn_deg), np.zeros(10), pelvis, 700.0, (1280, 720))


def store_poses(poses: tuple[np.ndarray, np.ndarray], path: Path) -> None:
    """Write poses and their clips as `trainer.mocap` does, all of the training split."""
    rotvec, clip = poses
    np.savez(
        path,
        rotvec=rotvec,
        transl=np.zeros((len(clip), 3)),
        clip=clip,
        split=np.zeros(len(clip), np.uint8),
        clip_names=np.array([f"clip{i}" for i in range(clip.max() + 1)]),
    )
