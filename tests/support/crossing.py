"""Rendered clips of two people who cross, with everything that is true of them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.body import BodyModel
from engines.rotations import exp_so3, log_so3
from trainer.build_demo import DemoClipConfig, Stage, room
from trainer.motion.clip import load_clip, rest_joints
from trainer.render.clothed_body import NO_BODY, ClothedMesh, render_body, visible_joints


@dataclass(frozen=True)
class Walker:
    """One person: a clip whose path is laid through the room."""

    file: str
    """Of the motion capture, below its folder."""
    start: float
    """Where the path begins, metres right of the camera."""
    end: float
    depth: float
    """Of the path in front of the camera, metres."""
    clothes: int
    """Seed of the clothes."""
    first: int = 0
    """Frame of the clip that is played first."""
    back: bool = False
    """Whether the second half is the first one backwards: the person turns round."""


CROSSING = (
    Walker("16/16_15.amc", -1.7, 1.7, 3.4, 1),
    Walker("12/12_01.bvh", 1.7, -1.7, 4.2, 5),
)
CLOSE = (Walker("16/16_15.amc", -1.2, 1.2, 3.6, 1), Walker("12/12_01.bvh", 1.2, -1.2, 4.0, 2))
STANDING = (Walker("12/12_01.bvh", 0.1, 0.15, 4.1, 3), Walker("16/16_15.amc", 2.0, -2.0, 3.2, 4))
BEHIND = (Walker("12/12_01.bvh", 0.1, 0.15, 3.2, 6), Walker("16/16_15.amc", -2.2, 2.2, 4.4, 7))
TURNING = (
    Walker("16/16_15.amc", -1.5, 0.0, 3.3, 8, back=True),
    Walker("12/12_01.bvh", 1.5, 0.1, 4.1, 9, back=True),
)


@dataclass(frozen=True)
class TwoPeople:
    """T frames of two people."""

    images: list[UInt8[np.ndarray, "h w 3"]]
    joints_px: Float[np.ndarray, "T 2 24 2"]
    visible: Bool[np.ndarray, "T 2 24"]
    """Inside the image and not occluded, by the other or by the own body."""


def render(
    walkers: tuple[Walker, Walker], mocap: Path, frames: int = 110, seed: int = 5
) -> TwoPeople:
    """Render two people in the demo's room."""
    config = DemoClipConfig(seed=seed)
    stage, body, rest = Stage(config), BodyModel.load(), rest_joints()
    mesh = ClothedMesh.of(body.decimated.v_template, body.decimated.faces, body.decimated.weights)
    background = room(config, stage)
    width, height = config.size
    motions = [_through_the_room(walker, mocap, rest, stage, frames) for walker in walkers]
    far_first = np.argsort([-walker.depth for walker in walkers])
    shaped = body.shaped(np.zeros(10))
    images, joints, visible = [], np.zeros((frames, 2, 24, 2)), np.zeros((frames, 2, 24), bool)
    for t in range(frames):
        canvas = np.zeros((width, width, 3), np.uint8)
        canvas[:height] = background
        parts = np.full((2, width, width), NO_BODY, np.uint8)
        for who in far_first:
            rotvec, pelvis = motions[who]
            posed = shaped.posed(rotvec[t], pelvis[t] - shaped.rest_joints[0])
            vertices = posed.vertices("decimated")
            rendering = render_body(
                mesh,
                vertices,
                stage.to_image(vertices),
                canvas,
                np.random.default_rng(walkers[who].clothes),
            )
            canvas = rendering.image
            parts[:, rendering.part != NO_BODY] = NO_BODY
            parts[who] = np.where(rendering.part != NO_BODY, rendering.part, parts[who])
            joints[t, who] = stage.to_image(posed.joints)
        parts[:, height:] = NO_BODY
        for who in range(2):
            visible[t, who] = visible_joints(parts[who], joints[t, who], reach=5)
        noise = np.random.default_rng(t).normal(0, 2.0, (height, width, 3))
        image = cv2.GaussianBlur(canvas[:height], (0, 0), 0.6) + noise
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return TwoPeople(images, joints, visible)


def _through_the_room(
    walker: Walker, mocap: Path, rest: Float[np.ndarray, "24 3"], stage: Stage, frames: int
) -> tuple[Float[np.ndarray, "T 24 3"], Float[np.ndarray, "T 3"]]:
    """Return poses and pelvises in the camera frame, the path turned along the walker's."""
    motion = load_clip(mocap / walker.file, 30.0, rest)
    time = np.linspace(0, 1, frames)
    if walker.back:
        time = 1 - np.abs(2 * time - 1)
    length = len(motion.rotvec) - 1 - walker.first
    chosen = walker.first + np.round(time * length).astype(int)
    rotvec = motion.rotvec[chosen].astype(float)
    place = motion.transl[chosen].astype(float)
    travelled = motion.transl[-1] - motion.transl[walker.first]
    heading = np.arctan2(-travelled[2], travelled[0])
    wanted = 0.0 if walker.end > walker.start else np.pi
    turn = exp_so3(np.array([0.0, wanted - heading, 0.0]))
    # y up and right-handed to the room's z away from the camera: mirror z.
    mirror = np.diag([1.0, 1.0, -1.0])
    lowest = place[:, 1].mean() - 0.93
    across = walker.start + (walker.end - walker.start) * time
    sway = place[:, 1] - lowest
    room_place = np.column_stack([across, sway, np.full(frames, walker.depth)])
    rotvec[:, 0] = log_so3(stage.R_cam_world @ mirror @ turn @ exp_so3(rotvec[:, 0]))
    return rotvec, stage.to_camera(room_place)
