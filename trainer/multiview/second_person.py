"""Put a person who walks by into the footage of calibrated cameras: rendered here, or filmed.

The walker is at one place of the world in all cameras, so the geometry is that of two real people:
where the walker is nearer to a camera than the person of the recording, the walker covers that
person, and is covered by the person's silhouette elsewhere. The silhouette is what the landmark
network says (its third output, which the live system leaves out). Worlds are z up. Who was filmed
is in `filmed_walker`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.backends.engine import open_engine
from engines.blazepose.landmarker import SIDE
from engines.blazepose.models import LANDMARKER, import_once, tflite_path
from engines.blazepose.roi import crop_to_image, cut, for_opencv
from engines.body import BodyModel, PosedBody, ShapedBody
from engines.rotations import exp_so3, interpolate, log_so3
from engines.types import NUM_BETAS, Roi
from trainer.motion.clip import Motion
from trainer.multiview.rig import RigCamera
from trainer.render.clothed_body import NO_BODY, ClothedMesh, render_body, visible_joints

_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""From a world that is y up."""
_REACH = 0.012
"""How far from its projection a joint's part is looked for, in heights of the walker."""
_NEAREST_M = 0.1
"""Depth below which nothing is seen."""
_EDGE = 1.0
"""Standard deviation of the blur of the walker's outline, px."""


class Silhouettes:
    """Says where in an image the person is, by the landmark network."""

    def __init__(self) -> None:
        """Open the network with the output that is otherwise left out."""
        model = import_once(tflite_path(LANDMARKER), {2: "silhouette"}, LANDMARKER.pixels)
        self._engine = open_engine(model, "openvino")

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], roi: Roi) -> Float[np.ndarray, "h w"]:
        """Return the probability that a pixel shows the person in a region, 0 outside of it."""
        cut(image, crop_to_image(roi, SIDE), self._engine.inputs["image"][0])
        self._engine.run()
        logits = self._engine.outputs["silhouette"][0, :, :, 0]
        probability = 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))
        size = (image.shape[1], image.shape[0])
        return cv2.warpAffine(probability, for_opencv(crop_to_image(roi, SIDE)), size)


@dataclass(frozen=True)
class Layer:
    """A walker in one image, before anybody covers them."""

    image: UInt8[np.ndarray, "h w 3"]
    """With the walker drawn into it."""
    alpha: Float[np.ndarray, "h w"]
    """How much of each pixel is the walker, 0 to 1."""
    joints_px: Float[np.ndarray, "24 2"]
    """NaN where a joint is unknown or behind the camera."""
    visible: Bool[np.ndarray, "24"]
    """Joints inside the image that the walker's own body does not occlude."""
    depth_m: float
    """Distance along the camera's axis."""


@runtime_checkable
class Walker(Protocol):
    """Somebody who walks through a world, for T frames."""

    def seen_by(self, camera: RigCamera, image: UInt8[np.ndarray, "h w 3"], t: int) -> Layer:
        """Draw frame t of the walk into an image that the camera took; the image stays."""
        ...


@dataclass(frozen=True)
class RenderedWalker:
    """T bodies in a world that is z up."""

    body: BodyModel
    rotvec: Float[np.ndarray, "T 24 3"]
    transl: Float[np.ndarray, "T 3"]
    clothes: int = 1
    """Seed of the clothes and the light."""

    @staticmethod
    def of(
        clip: Motion,
        body: BodyModel,
        frames: int,
        through: Float[np.ndarray, "3"],
        heading: Float[np.ndarray, "2"],
        clothes: int = 1,
    ) -> "RenderedWalker":
        """Lay a walk through a place.

        Args:
            clip: of somebody who walks, for the body.
            body: of average shape.
            frames: T, over which the clip is spread.
            through: place on the floor that is passed in the middle, metres.
            heading: direction of the walk on the floor.
            clothes: seed of the clothes and the light.
        """
        at = np.linspace(0, len(clip.rotvec) - 1, frames)
        before = np.minimum(at.astype(int), len(clip.rotvec) - 2)
        share = at - before
        R = exp_so3(clip.rotvec.astype(np.float64))
        R = interpolate(R[before], R[before + 1], np.repeat(share[:, None], R.shape[1], 1))
        transl = clip.transl.astype(np.float64)
        transl = transl[before] + share[:, None] * (transl[before + 1] - transl[before])
        root = body.rest_joints(np.zeros(NUM_BETAS))[0]
        pelvis = (transl + root) @ _Z_UP.T
        travelled = pelvis[-1] - pelvis[0]
        turn = np.arctan2(heading[1], heading[0]) - np.arctan2(travelled[1], travelled[0])
        R_turn = exp_so3(np.array([0.0, 0.0, turn]))
        middle = (pelvis[0] + pelvis[-1]) / 2 * (1, 1, 0)
        R[:, 0] = R_turn @ _Z_UP @ R[:, 0]
        pelvis = (pelvis - middle) @ R_turn.T
        walker = RenderedWalker(body, log_so3(R), pelvis - root)
        lowest = min(
            float(walker.posed(t).vertices("decimated")[:, 2].min()) for t in range(0, frames, 5)
        )
        transl = walker.transl + through - (0.0, 0.0, lowest)
        return RenderedWalker(body, walker.rotvec, transl, clothes)

    def seen_by(self, camera: RigCamera, image: UInt8[np.ndarray, "h w 3"], t: int) -> Layer:
        """Render frame t over an image."""
        height, width = image.shape[:2]
        posed = self.posed(t)
        vertices = camera.to_camera(posed.vertices("decimated").astype(np.float64))
        joints = camera.to_camera(posed.joints.astype(np.float64))
        side = max(height, width)
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[:height, :width] = image
        ahead = vertices[:, 2:] > _NEAREST_M  # what is behind the camera has no projection
        pixels = np.where(ahead, camera.intrinsics.project(np.where(ahead, vertices, 1.0)), np.nan)
        rng = np.random.default_rng(self.clothes)
        # The renderer counts from the centre of the first pixel.
        rendering = render_body(self.mesh, vertices, pixels - 0.5, canvas, rng)
        alpha = (rendering.part[:height, :width] != NO_BODY).astype(np.float32)
        joints_px = np.full((24, 2), np.nan)
        ahead = joints[:, 2] > _NEAREST_M
        joints_px[ahead] = camera.intrinsics.project(joints[ahead])
        part = rendering.part.copy()
        part[height:], part[:, width:] = NO_BODY, NO_BODY
        rows = joints_px[np.isfinite(joints_px[:, 1]), 1]
        reach = max(1, round(_REACH * float(np.ptp(rows)))) if len(rows) else 1
        visible = visible_joints(part, np.nan_to_num(joints_px - 0.5, nan=-1e6), reach)
        drawn = np.ascontiguousarray(rendering.image[:height, :width])
        return Layer(drawn, alpha, joints_px, visible, float(joints[0, 2]))

    def posed(self, t: int) -> PosedBody:
        """Return the body of a frame."""
        return self._shaped.posed(self.rotvec[t], self.transl[t])

    @cached_property
    def _shaped(self) -> ShapedBody:
        return self.body.shaped(np.zeros(NUM_BETAS))

    @cached_property
    def mesh(self) -> ClothedMesh:
        """Faces and clothes."""
        decimated = self.body.decimated
        return ClothedMesh.of(decimated.v_template, decimated.faces, decimated.weights)


@dataclass(frozen=True)
class Composite:
    """An image with the walker in it."""

    image: UInt8[np.ndarray, "h w 3"]
    covered: Bool[np.ndarray, "h w"]
    """Where the walker covers what was there."""
    in_front: bool
    """Whether the walker is nearer to the camera than the person of the recording."""
    joints_px: Float[np.ndarray, "24 2"]
    """Of the walker."""
    visible: Bool[np.ndarray, "24"]
    """Joints of the walker that are inside the image and occluded by nobody."""


def composite(
    image: UInt8[np.ndarray, "h w 3"],
    layer: Layer,
    person_m: float,
    silhouette: Float[np.ndarray, "h w"] | None,
) -> Composite:
    """Put a walker into an image.

    Args:
        image: BGR, not changed.
        layer: the walker, drawn into it.
        person_m: depth of the person of the recording, camera frame.
        silhouette: probability that a pixel shows that person; None where there is none.
    """
    in_front = bool(layer.depth_m < person_m)
    covered, visible = layer.alpha > 0.5, layer.visible
    alpha = cv2.GaussianBlur(layer.alpha, (0, 0), _EDGE)
    if not in_front and silhouette is not None:
        alpha *= 1.0 - silhouette.astype(np.float32)
        covered &= silhouette <= 0.5
        visible = visible & ~at(silhouette > 0.5, layer.joints_px)
    mixed = image + alpha[..., None] * (layer.image.astype(float) - image)
    return Composite(mixed.round().astype(np.uint8), covered, in_front, layer.joints_px, visible)


def at(mask: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
    """Tell which points, px, lie where a mask is set; NaN and what is outside do not."""
    x, y = np.floor(np.nan_to_num(points, nan=-1.0)).astype(int).T
    height, width = mask.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return inside & mask[y.clip(0, height - 1), x.clip(0, width - 1)]
