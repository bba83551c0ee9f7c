"""Render the built-in demo: a person of the test split walks up to a counter and back.

    python -m trainer.build_demo --poses runs/poses.npz

Writes `realtime/assets/demo.mp4` and, beside it, the ground truth: joints in the camera frame,
which of them are visible, the camera. The motion is from CMU's clip 06_01, played
forwards and then backwards; its subject is in no training set.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.rotations import exp_so3, log_so3
from trainer.command import start
from trainer.motion.poses import Poses
from trainer.render.clothed_body import (
    NO_BODY,
    ClothedMesh,
    Rendering,
    render_body,
    visible_joints,
)


@dataclass(frozen=True)
class DemoClipConfig:
    """The clip; lengths in metres.

    The camera stands at x = z = 0 and looks along z; y is up from the floor.
    """

    poses: Path = Path("runs/poses.npz")
    clip: str = "06_01"
    frames: tuple[int, int] = (30, 123)
    """The part of the clip that is played, forwards and then backwards."""
    turn_deg: float = 20.0
    """Turns the clip's world about the vertical; at 0 the person walks straight towards the
    camera.
    """
    counter_height: float = 0.95
    counter_reach: tuple[float, float] = (-0.85, 0.65)
    """Its ends, left and right of the camera."""
    counter_depth: tuple[float, float] = (2.3, 2.65)
    """Its front and back."""
    out: Path = Path("realtime/assets/demo.mp4")
    size: tuple[int, int] = (960, 540)
    fov_deg: float = 63.0
    camera_height: float = 1.45
    look_down_deg: float = 7.0
    distance: float = 4.5
    """To the middle of the path."""
    seed: int = 5


Quad = tuple[tuple[float, float, float], ...]


def occluders(config: DemoClipConfig) -> tuple[tuple[Quad, tuple[int, int, int]], ...]:
    """The counter: quads from back to front, with colours (BGR)."""
    left, right = config.counter_reach
    near, far = config.counter_depth
    top = config.counter_height
    upper = ((left, top, near), (right, top, near), (right, top, far), (left, top, far))
    front = ((left, 0.0, near), (right, 0.0, near), (right, top, near), (left, top, near))
    return (upper, (128, 160, 182)), (front, (70, 96, 122))


@dataclass(frozen=True)
class Stage:
    """A camera in a room."""

    config: DemoClipConfig

    @property
    def focal(self) -> float:
        """Px."""
        return max(self.config.size) / (2 * np.tan(np.radians(self.config.fov_deg) / 2))

    @property
    def R_cam_world(self) -> Float[np.ndarray, "3 3"]:
        """From y up and z away from the camera (x right) to the camera frame."""
        down = exp_so3(np.array([np.radians(self.config.look_down_deg), 0.0, 0.0]))
        return down @ np.diag([1.0, -1.0, 1.0])

    def to_camera(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Room to camera frame."""
        return (points - (0.0, self.config.camera_height, 0.0)) @ self.R_cam_world.T

    def to_image(self, points_cam: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """Camera frame to px."""
        return points_cam[:, :2] / points_cam[:, 2:] * self.focal + np.array(self.config.size) / 2

    def drawn(self, points_cam: Float[np.ndarray, "N 3"], scale: float) -> Float[np.ndarray, "N 2"]:
        """Camera frame to px times `scale`, as OpenCV draws: from the first pixel's centre."""
        return scale * self.to_image(points_cam) - 0.5

    def polygon(self, quad: Quad, scale: float) -> np.ndarray:
        """Where a quad of the room is drawn, px times `scale`."""
        return np.round(self.drawn(self.to_camera(np.array(quad)), scale)).astype(np.int32)


def motion(
    config: DemoClipConfig, stage: Stage
) -> tuple[Float[np.ndarray, "T 24 3"], Float[np.ndarray, "T 3"]]:
    """Poses with the orientation in the camera frame, and pelvis positions there."""
    poses = Poses.load(config.poses)
    frames = np.flatnonzero(poses.clip == int(np.flatnonzero(poses.clip_names == config.clip)[0]))[
        slice(*config.frames)
    ]
    chosen = np.concatenate([frames, frames[::-1]])
    rotvec = poses.rotvec[chosen].astype(float)
    place = poses.transl[chosen].astype(float)
    # The clip's world is y up and right-handed; the room's has z away from the camera, hence
    # left-handed: mirror z.
    turn = exp_so3(np.array([0.0, np.radians(config.turn_deg), 0.0]))
    middle = (place.max(0) + place.min(0)) / 2 * (1, 0, 1)
    room = ((place - middle) @ turn.T) * (1, 1, -1) + (0.0, 0.0, config.distance)
    R_room_body = np.diag([1.0, 1.0, -1.0]) @ turn @ exp_so3(rotvec[:, 0])
    rotvec[:, 0] = log_so3(stage.R_cam_world @ R_room_body)
    return rotvec, stage.to_camera(room)


def room(config: DemoClipConfig, stage: Stage) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a wall, floor boards, a window and a picture frame."""
    rng = np.random.default_rng(config.seed)
    width, height = config.size
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.linspace(205, 178, height)[:, None, None] * np.array([0.93, 0.97, 1.0])
    image = np.ascontiguousarray(image.astype(np.uint8))
    for x in np.arange(-6, 6, 0.35):
        shade = rng.uniform(0.85, 1.0)
        board: Quad = ((x, 0, 0.8), (x + 0.35, 0, 0.8), (x + 0.35, 0, 6.5), (x, 0, 6.5))
        colour = (np.array([96, 128, 160]) * shade).tolist()
        cv2.fillPoly(image, [stage.polygon(board, 1)], colour, cv2.LINE_AA)
    for quad, colour in (
        (((-2.6, 1.2, 6.5), (-1.2, 1.2, 6.5), (-1.2, 2.5, 6.5), (-2.6, 2.5, 6.5)), (235, 222, 205)),
        (((0.9, 1.5, 6.5), (1.7, 1.5, 6.5), (1.7, 2.3, 6.5), (0.9, 2.3, 6.5)), (92, 110, 84)),
    ):
        cv2.fillPoly(image, [stage.polygon(quad, 1)], colour, cv2.LINE_AA)
        cv2.polylines(image, [stage.polygon(quad, 1)], True, (70, 82, 96), 4, cv2.LINE_AA)
    return image


def build(config: DemoClipConfig) -> None:
    """Write the clip and its ground truth.

    Raises:
        PenumbraError: if there are no poses, or the clip cannot be written.
    """
    stage = Stage(config)
    body = BodyModel.load()
    mesh = ClothedMesh.of(body.full.v_template, body.full.faces, body.full.weights)
    rotvec, pelvis = motion(config, stage)
    shaped = body.shaped(np.zeros(10))
    background = cv2.resize(room(config, stage), None, fx=2, fy=2)
    writer = cv2.VideoWriter(str(config.out), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, config.size)
    if not writer.isOpened():
        raise PenumbraError(
            f"--out: cannot write {config.out}; name an .mp4 file in a folder that is there."
        )
    joints, visible = [], []
    for pose, place in zip(rotvec, pelvis, strict=True):
        posed = shaped.posed(pose, place - shaped.rest_joints[0])
        vertices = posed.vertices("full")
        square = _render(mesh, vertices, stage.drawn(vertices, 2), background, config)
        for quad, colour in occluders(config):
            cv2.fillPoly(square.image, [stage.polygon(quad, 2)], colour, cv2.LINE_AA)
            cv2.fillPoly(square.part, [stage.polygon(quad, 2)], [NO_BODY])
        frame = cv2.resize(
            square.image[: background.shape[0]], config.size, interpolation=cv2.INTER_AREA
        )
        noise = np.random.default_rng(len(joints)).normal(0, 1.5, frame.shape)
        writer.write(np.clip(frame + noise, 0, 255).astype(np.uint8))
        square.part[background.shape[0] :] = NO_BODY
        visible.append(visible_joints(square.part, stage.drawn(posed.joints, 2), reach=8))
        joints.append(posed.joints)
    writer.release()
    np.savez_compressed(
        config.out.with_suffix(".npz"),
        joints=np.array(joints, np.float32),
        visible=np.array(visible),
        focal=np.float64(stage.focal),
    )


def _render(
    mesh: ClothedMesh,
    vertices: Float[np.ndarray, "V 3"],
    pixels: Float[np.ndarray, "V 2"],
    background: UInt8[np.ndarray, "h w 3"],
    config: DemoClipConfig,
) -> Rendering:
    """Render on a square canvas, with the same clothes in every frame."""
    side = max(background.shape[:2])
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: background.shape[0], : background.shape[1]] = background
    return render_body(mesh, vertices, pixels, canvas, np.random.default_rng(config.seed))


if __name__ == "__main__":
    start(build, DemoClipConfig)
