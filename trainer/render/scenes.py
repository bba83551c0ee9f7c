"""Random people in front of random cameras: recorded poses on a body, with exact ground truth.

A scene is numbers only; `trainer.render.crops` renders it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from engines.body import BodyModel
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS
from trainer.motion.poses import Poses, Split

UPPER_BODY = (12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
"""Joints above the spine: neck, collars and what hangs on them."""

WHOLE = "whole"
_LEGS = (1, 2, 4, 5, 7, 8, 10, 11)
_ARMS = (16, 17, 18, 19, 20, 21, 22, 23)
_HEAD = (12, 15)
CROPS = {
    WHOLE: tuple(range(24)),
    "legs": _ARMS + _HEAD,
    "arms and head": _LEGS,
    "arms": _LEGS + _HEAD,
}
"""What a crop of the image takes away, and the joints that it keeps. "arms" is what ambiguous H36M
calls "head": its code deletes arms."""

_IMAGE_SIZES = ((1280, 720), (640, 480), (720, 1280), (720, 720))
_IMAGE_SIZE_SHARES = (0.45, 0.25, 0.2, 0.1)
_EXTENT_M = (1.2, 1.9)
"""Width and height that a whole person takes up."""


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from."""

    fov_deg: tuple[float, float] = (42.0, 82.0)
    """Field of view along the image's longer side."""
    distance_m: tuple[float, float] = (1.3, 7.0)
    elevation_deg: tuple[float, float] = (-15.0, 40.0)
    """How far the camera looks down."""
    roll_deg: float = 5.0
    """Standard deviation of the camera's roll."""
    swap_upper: float = 0.25
    """How often the arms and head come from another frame than the rest."""
    jitter_rad: float = 0.06
    """Standard deviation of a small random rotation that is added to every body joint."""
    truncate: float = 0.3
    """How often the image's border may cut the person."""
    crops: tuple[float, float, float, float] = (0.85, 0.06, 0.05, 0.04)
    """How often each of `CROPS` is cut out of the image."""
    occluders: bool = True
    """Whether occluders may stand in front."""

    def open(
        self, poses: Path, split: Split, body: BodyModel
    ) -> Callable[[np.random.Generator], "Scene"]:
        """Return what draws a scene from a generator; scenes are the same for every body.

        Raises:
            PenumbraError: if there are no poses.
        """
        del body
        rotvec, clip = Poses.load(poses).of(split)
        return lambda rng: draw_scene(rotvec, clip, self, rng)


AMBIGUOUS = SceneConfig(swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(0.1, 0.3, 0.3, 0.3))
"""The benchmark *ambiguous CMU*, see `trainer.ambiguous`."""
CLEAR = SceneConfig(
    swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(1.0, 0.0, 0.0, 0.0), occluders=False
)
"""The same people without crops and occluders."""


@dataclass(frozen=True)
class Scene:
    """A person and a camera whose principal point is the middle of its image."""

    rotvec: Float[np.ndarray, "24 3"]
    """Axis-angle, radians; row 0 is the orientation in the camera frame."""
    betas: Float[np.ndarray, "10"]
    pelvis: Float[np.ndarray, "3"]
    """Camera frame, metres."""
    focal: float
    """Px."""
    size: tuple[int, int]
    """Width and height of the image, px."""
    crop: str = WHOLE
    """Which of `CROPS` is cut out of the image."""
    occluders: bool = True
    """Whether occluders may stand in front."""

    def to_image(self, points_cam: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """Project points of the camera frame (m) to image px."""
        return points_cam[:, :2] / points_cam[:, 2:] * self.focal + np.array(self.size) / 2


def draw_scene(
    poses: Float[np.ndarray, "N 24 3"],
    clip: Int[np.ndarray, "N"],
    config: SceneConfig,
    rng: np.random.Generator,
) -> Scene:
    """Draw one scene; clips are equally likely, whatever their length.

    Args:
        poses: SMPL axis-angle poses; row 0 in a y-up world.
        clip: which clip each pose is from, sorted.
        config: ranges.
        rng: all that is random comes from it.
    """
    pose = _draw_pose(poses, clip, rng).copy()
    if rng.random() < config.swap_upper:
        pose[list(UPPER_BODY)] = _draw_pose(poses, clip, rng)[list(UPPER_BODY)]
    pose[1:] = log_so3(exp_so3(pose[1:]) @ exp_so3(rng.normal(0, config.jitter_rad, (23, 3))))
    pose[0] = log_so3(_draw_camera_from_world(config, rng) @ exp_so3(pose[0]))
    size = _IMAGE_SIZES[rng.choice(len(_IMAGE_SIZES), p=_IMAGE_SIZE_SHARES)]
    focal = max(size) / (2 * np.tan(np.radians(rng.uniform(*config.fov_deg)) / 2))
    crop = str(rng.choice(list(CROPS), p=config.crops))
    pelvis = _draw_pelvis(size, focal, config, rng)
    betas = rng.normal(0, 1, NUM_BETAS)
    return Scene(pose, betas, pelvis, float(focal), size, crop, config.occluders)


def crop_window(scene: Scene, joints_px: Float[np.ndarray, "24 2"]) -> Float[np.ndarray, "4"]:
    """Find the part of the image that the scene's crop leaves: left, top, right, bottom, px.

    A crop is the tight square about the joints that it keeps, as in ambiguous H36M (Biggs et al.,
    3D Multi-bodies, 2020), so other joints are occluded only where they really fall outside it.
    """
    right, bottom = scene.size
    if scene.crop == WHOLE:
        return np.array([0.0, 0.0, right, bottom])
    kept = joints_px[list(CROPS[scene.crop])]
    middle = (kept.min(0) + kept.max(0)) / 2
    half_side = np.ptp(kept, axis=0).max() / 2
    low = np.maximum(middle - half_side, 0.0)
    high = np.minimum(middle + half_side, [right, bottom])
    return np.concatenate([low, high])


def _draw_pose(
    poses: Float[np.ndarray, "N 24 3"], clip: Int[np.ndarray, "N"], rng: np.random.Generator
) -> Float[np.ndarray, "24 3"]:
    start, stop = 0, 0
    while start == stop:  # clips of another split are missing between the first and the last
        number = rng.integers(clip[0], clip[-1] + 1)
        start, stop = np.searchsorted(clip, number + np.array([0, 1]))
    return poses[rng.integers(start, stop)]


def _draw_camera_from_world(
    config: SceneConfig, rng: np.random.Generator
) -> Float[np.ndarray, "3 3"]:
    """Turn a y-up world at random about its axis, before a camera that looks down and rolls."""
    yaw = exp_so3(np.array([0.0, rng.uniform(-np.pi, np.pi), 0.0]))
    flip = np.diag([1.0, -1.0, -1.0])  # y up, z backwards  ->  y down, z forwards
    low, high = np.radians(config.elevation_deg)
    down = exp_so3(np.array([np.clip(rng.normal(0.12, 0.2), low, high), 0.0, 0.0]))
    roll = exp_so3(np.array([0.0, 0.0, rng.normal(0, np.radians(config.roll_deg))]))
    return roll @ down @ flip @ yaw


def _draw_pelvis(
    size: tuple[int, int], focal: float, config: SceneConfig, rng: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Put the pelvis (m) where a whole person mostly fits, or, sometimes, the border cuts."""
    width, height = size
    wide, tall = _EXTENT_M
    z = np.exp(rng.uniform(*np.log(config.distance_m)))
    if rng.random() >= config.truncate:
        nearest = 1.25 * focal * tall / height
        z = max(z, nearest)
        z = min(z, 0.95 * max(config.distance_m[1], nearest))
        slack_x = max(0.0, (width - focal * wide / z) / 2)
        slack_y = max(0.0, (height - focal * tall / z) / 2)
        x = rng.uniform(-slack_x, slack_x)
        y = rng.uniform(-slack_y, slack_y) + 0.05 * focal / z
    else:
        x = rng.uniform(-0.5, 0.5) * width
        y = rng.uniform(-0.35, 0.75) * height
    return np.array([x * z / focal, y * z / focal, z])
