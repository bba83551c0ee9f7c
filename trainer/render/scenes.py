"""Random people in front of random cameras: CMU poses on the default body, with exact truth.

A scene is drawn in numbers only; `trainer.synthesize` paints it and shows it to the landmark
network.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS

UPPER_BODY = (12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
"""Joints above the spine: neck, collars and what hangs on them."""

WHOLE = "whole"
_LEGS, _ARMS, _HEAD = (1, 2, 4, 5, 7, 8, 10, 11), (16, 17, 18, 19, 20, 21, 22, 23), (12, 15)
CROPS = {
    WHOLE: tuple(range(24)),
    "legs": _ARMS + _HEAD,
    "arms and head": _LEGS,
    "arms": _LEGS + _HEAD,
}
"""What a crop takes away, and the joints that it keeps. "arms" is what ambiguous H36M calls "head":
its code deletes arms.
"""


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from."""

    fov_deg: tuple[float, float] = (42.0, 82.0)
    """Field of view along the picture's longer side."""
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
    """How often the picture's border may cut the person."""
    crops: tuple[float, float, float, float] = (0.85, 0.06, 0.05, 0.04)
    """How often each of `CROPS` is cut out of the picture."""
    things: bool = True
    """Whether things may stand in front."""


@dataclass(frozen=True)
class Scene:
    """A person and a camera. Rotations are axis-angle; lengths metres; the picture is `size` px."""

    rotvec: Float[np.ndarray, "24 3"]
    """Row 0: orientation in the camera frame."""
    betas: Float[np.ndarray, "10"]
    pelvis: Float[np.ndarray, "3"]
    """Camera frame."""
    focal: float
    size: tuple[int, int]
    crop: str = WHOLE
    """Which of `CROPS` was cut out of the picture."""
    things: bool = True
    """Whether things may stand in front."""


def draw(
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
        rng: the only source of chance.
    """
    pose = _pick(poses, clip, rng).copy()
    if rng.random() < config.swap_upper:
        pose[list(UPPER_BODY)] = _pick(poses, clip, rng)[list(UPPER_BODY)]
    pose[1:] = log_so3(exp_so3(pose[1:]) @ exp_so3(rng.normal(0, config.jitter_rad, (23, 3))))
    pose[0] = log_so3(_camera_from_world(config, rng) @ exp_so3(pose[0]))
    size = ((1280, 720), (640, 480), (720, 1280), (720, 720))[
        rng.choice(4, p=[0.45, 0.25, 0.2, 0.1])
    ]
    focal = max(size) / (2 * np.tan(np.radians(rng.uniform(*config.fov_deg)) / 2))
    crop = rng.choice(list(CROPS), p=config.crops)
    pelvis = _place(size, focal, config, rng)
    return Scene(
        pose, rng.normal(0, 1, NUM_BETAS), pelvis, float(focal), size, str(crop), config.things
    )


def window(scene: Scene, joints_px: Float[np.ndarray, "24 2"]) -> Float[np.ndarray, "4"]:
    """The part of the picture that is there: left, top, right, bottom, px.

    A crop is the tight square about the joints that it keeps, as in ambiguous H36M (Biggs et al.,
    3D Multi-bodies, 2020), so other joints are hidden only where they really fall outside it.
    """
    right, bottom = scene.size
    if scene.crop == WHOLE:
        return np.array([0.0, 0.0, right, bottom])
    kept = joints_px[list(CROPS[scene.crop])]
    middle, half = (kept.min(0) + kept.max(0)) / 2, np.ptp(kept, axis=0).max() / 2
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, [right, bottom])
    return np.concatenate([low, high])


def _pick(
    poses: Float[np.ndarray, "N 24 3"], clip: Int[np.ndarray, "N"], rng: np.random.Generator
) -> np.ndarray:
    first, last = clip[0], clip[-1]
    start, stop = 0, 0
    while start == stop:  # clips of another split are missing between first and last
        start, stop = np.searchsorted(clip, rng.integers(first, last + 1) + np.array([0, 1]))
    return poses[rng.integers(start, stop)]


def _camera_from_world(config: SceneConfig, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A y-up world turned at random about its axis, then seen by a camera that looks down and rolls
    a little.
    """
    yaw = exp_so3(np.array([0.0, rng.uniform(-np.pi, np.pi), 0.0]))
    flip = np.diag([1.0, -1.0, -1.0])  # y up, z backwards  ->  y down, z forwards
    low, high = np.radians(config.elevation_deg)
    down = exp_so3(np.array([np.clip(rng.normal(0.12, 0.2), low, high), 0.0, 0.0]))
    roll = exp_so3(np.array([0.0, 0.0, rng.normal(0, np.radians(config.roll_deg))]))
    return roll @ down @ flip @ yaw


def _place(
    size: tuple[int, int], focal: float, config: SceneConfig, rng: np.random.Generator
) -> Float[np.ndarray, "3"]:
    """Put the pelvis where a person of 1.7 m mostly fits, or, sometimes, where the border cuts."""
    width, height = size
    z = np.exp(rng.uniform(*np.log(config.distance_m)))
    if rng.random() >= config.truncate:
        z = max(z, 1.25 * focal * 1.9 / height)
        z = min(z, 0.95 * max(config.distance_m[1], 1.25 * focal * 1.9 / height))
        slack_x, slack_y = (
            max(0.0, (side - focal * tall / z) / 2) for side, tall in ((width, 1.2), (height, 1.9))
        )
        x, y = rng.uniform(-slack_x, slack_x), rng.uniform(-slack_y, slack_y) + 0.05 * focal / z
    else:
        x, y = rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.35, 0.75) * height
    return np.array([x * z / focal, y * z / focal, z])
