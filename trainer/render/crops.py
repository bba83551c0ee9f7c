"""Scenes as the landmark network gets them: a crop that a tracker would choose, rendered.

The crop is a tracker's about the whole body, with a tracker's errors, whatever is occluded.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.roi import MARGIN, image_to_crop
from engines.body import BodyModel
from engines.types import Roi
from trainer.render.clothed_body import (
    NO_BODY,
    ClothedMesh,
    Rendering,
    render_body,
    visible_joints,
)
from trainer.render.scenes import Scene, crop_window
from trainer.render.surroundings import add_occluders, degrade, random_background

OVERSAMPLE = 2
"""Scenes are rendered at so many times the crop's resolution."""
_NEAREST_M = 0.3
"""A body with a joint nearer to the camera than this is not rendered."""
_JOINT_REACH = 0.016
"""How far about a joint its part is looked for, as a share of the crop's side."""


@dataclass(frozen=True)
class SceneCrop:
    """One rendered crop and what is true of it."""

    image: UInt8[np.ndarray, "S S 3"]
    """BGR, as large as the landmark network's input."""
    crop_from_image: Float[np.ndarray, "2 3"]
    """Affine map from px of the scene's image to px of `image`."""
    window: Float[np.ndarray, "4"]
    """The part of the scene's image that there is: left, top, right, bottom, px."""
    joint_visible: Bool[np.ndarray, "24"]

    @property
    def empty(self) -> bool:
        """Whether the window is less than a pixel wide or high: its joints lie outside."""
        return bool((self.window[2:] - self.window[:2]).min() < 1)


@dataclass(frozen=True)
class SceneRenderer:
    """Renders scenes of one body."""

    body: BodyModel
    mesh: ClothedMesh

    @classmethod
    def of(cls, body: BodyModel) -> "SceneRenderer":
        """Prepare the decimated mesh of a body."""
        mesh = body.decimated
        return cls(body, ClothedMesh.of(mesh.v_template, mesh.faces, mesh.weights))

    def crop(self, scene: Scene, rng: np.random.Generator) -> SceneCrop | None:
        """Render a scene; None where the body is too near to the camera."""
        shaped = self.body.shaped(scene.betas)
        posed = shaped.posed(scene.rotvec, scene.pelvis - shaped.rest_joints[0])
        if posed.joints[:, 2].min() < _NEAREST_M:
            return None
        joints_px = scene.to_image(posed.joints)
        roi = tracked_region(joints_px, rng)
        window = crop_window(scene, joints_px)
        rendering = self._render(scene, posed.vertices("decimated"), joints_px, roi, window, rng)
        crop_from_image = image_to_crop(roi, CROP)
        crop_px = OVERSAMPLE * cv2.transform(joints_px[None], crop_from_image)[0]
        reach = round(_JOINT_REACH * CROP * OVERSAMPLE)
        visible = visible_joints(rendering.part, crop_px, reach)
        return SceneCrop(rendering.image, crop_from_image, window, visible)

    def _render(
        self,
        scene: Scene,
        vertices: Float[np.ndarray, "V 3"],
        joints_px: Float[np.ndarray, "24 2"],
        roi: Roi,
        window: Float[np.ndarray, "4"],
        rng: np.random.Generator,
    ) -> Rendering:
        """Render the crop `roi`: its image at the crop's own size, its parts oversampled."""
        size = CROP * OVERSAMPLE
        crop_from_image = image_to_crop(roi, size)
        pixels = cv2.transform(scene.to_image(vertices)[None], crop_from_image)[0]
        background = random_background(size, rng)
        rendering = render_body(self.mesh, vertices, pixels, background, rng)
        if scene.occluders:
            crop_px = cv2.transform(joints_px[None], crop_from_image)[0]
            add_occluders(rendering, crop_px, 0.75 * size, rng)
        clear_outside(rendering.part, window, crop_from_image)
        small = cv2.resize(rendering.image, (CROP, CROP), interpolation=cv2.INTER_AREA)
        small = repeat_border(small, window, image_to_crop(roi, CROP))
        return Rendering(degrade(small, rng), rendering.part)


def tracked_region(joints_px: Float[np.ndarray, "24 2"], rng: np.random.Generator) -> Roi:
    """Draw a crop as the tracker would choose it.

    It is the square about the body's circle around the hips, with a tracker's errors.
    """
    hips = joints_px[[1, 2]].mean(0)
    shoulders = joints_px[[16, 17]].mean(0)
    radius = np.linalg.norm(joints_px - hips, axis=1).max() * 1.08
    up = shoulders - hips
    rotation = np.arctan2(up[0], -up[1]) + rng.normal(0, 0.1)
    center = hips + rng.normal(0, 0.06, 2) * radius
    size = float(2 * MARGIN * radius * np.exp(rng.normal(0, 0.12)))
    return Roi(center, size, float(rotation))


def clear_outside(
    part: UInt8[np.ndarray, "S S"],
    window: Float[np.ndarray, "4"],
    crop_from_image: Float[np.ndarray, "2 3"],
) -> None:
    """Clear body parts outside the window of the image, in place: nothing is visible there."""
    left, top, right, bottom = window
    border = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners = np.round(cv2.transform(border[None], crop_from_image)[0]).astype(np.int32)
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(inside, corners, [1])
    part[inside == 0] = NO_BODY


def repeat_border(
    image: UInt8[np.ndarray, "S S 3"],
    window: Float[np.ndarray, "4"],
    crop_from_image: Float[np.ndarray, "2 3"],
) -> UInt8[np.ndarray, "S S 3"]:
    """Repeat the window's last pixels beyond it, as the landmark network's own cropping does."""
    left, top, right, bottom = window
    axis = np.arange(len(image), dtype=np.float32) + 0.5
    m = cv2.invertAffineTransform(crop_from_image).astype(np.float32)
    x = np.clip(axis[None] * m[0, 0] + axis[:, None] * m[0, 1] + m[0, 2], left + 0.5, right - 0.5)
    y = np.clip(axis[None] * m[1, 0] + axis[:, None] * m[1, 1] + m[1, 2], top + 0.5, bottom - 0.5)
    m = crop_from_image.astype(np.float32)
    u = x * m[0, 0] + y * m[0, 1] + (m[0, 2] - 0.5)
    v = x * m[1, 0] + y * m[1, 1] + (m[1, 2] - 0.5)
    repeated = cv2.remap(image, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return repeated.astype(np.uint8, copy=False)
