"""Scenes as images: a crop that a tracker would choose, or all that the camera sees.

The crop is a tracker's about the whole body, with a tracker's errors, whatever is occluded. In a
frame the live detector and tracker must find the person themselves.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.roi import MARGIN, apply_affine, image_to_crop
from engines.body import BodyModel, PosedBody
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
FRAME = 640
"""Frames are rendered at so many px along their longer side."""
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
class SceneFrame:
    """All that the camera of a scene sees, and what is true of it."""

    image: UInt8[np.ndarray, "h w 3"]
    """BGR."""
    frame_from_image: Float[np.ndarray, "2 3"]
    """Affine map from px of the scene's image to px of `image`."""
    window: Float[np.ndarray, "4"]
    """The part of the scene's image that `image` shows: left, top, right, bottom, px."""
    joints_px: Float[np.ndarray, "24 2"]
    """True joints, px of `image`."""
    joint_visible: Bool[np.ndarray, "24"]


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
        """Render a scene's person; None where the body is too near to the camera."""
        posed = self._posed(scene)
        if posed is None:
            return None
        joints_px = scene.to_image(posed.joints)
        roi = tracked_region(joints_px, rng)
        window = crop_window(scene, joints_px)
        region = _Region(roi, window, CROP, OVERSAMPLE, CROP)
        rendering, visible = self._render(scene, posed, region, rng)
        return SceneCrop(rendering.image, image_to_crop(roi, CROP), window, visible)

    def frame(self, scene: Scene, rng: np.random.Generator) -> SceneFrame | None:
        """Render all that the camera sees; None where the body is too near or outside."""
        posed = self._posed(scene)
        if posed is None:
            return None
        joints_px = scene.to_image(posed.joints)
        window = crop_window(scene, joints_px)
        extent = window[2:] - window[:2]
        if extent.min() < 1:
            return None
        roi = Roi((window[:2] + window[2:]) / 2, float(extent.max()), 0.0)
        person = tracked_region(joints_px, None).size / roi.size * FRAME
        rendering, visible = self._render(scene, posed, _Region(roi, window, FRAME, 1, person), rng)
        frame_from_image = image_to_crop(roi, FRAME)
        low, high = np.round(apply_affine(frame_from_image, window.reshape(2, 2))).astype(int)
        high = np.maximum(high, low + 1)
        frame_from_image[:, 2] -= low
        image = np.ascontiguousarray(rendering.image[low[1] : high[1], low[0] : high[0]])
        joints = apply_affine(frame_from_image, joints_px)
        return SceneFrame(image, frame_from_image, window, joints, visible)

    def _posed(self, scene: Scene) -> PosedBody | None:
        shaped = self.body.shaped(scene.betas)
        posed = shaped.posed(scene.rotvec, scene.pelvis - shaped.rest_joints[0])
        return None if posed.joints[:, 2].min() < _NEAREST_M else posed

    def _render(
        self, scene: Scene, posed: PosedBody, region: "_Region", rng: np.random.Generator
    ) -> tuple[Rendering, Bool[np.ndarray, "24"]]:
        """Render a region, its parts oversampled, and find the joints that are visible in it."""
        size = region.side * region.oversample
        person = region.person * region.oversample
        from_image = image_to_crop(region.roi, size)
        vertices = posed.vertices("decimated")
        pixels = apply_affine(from_image, scene.to_image(vertices))
        joints = apply_affine(from_image, scene.to_image(posed.joints))
        pixels, joints = pixels - 0.5, joints - 0.5  # OpenCV counts from the first pixel's centre
        background = random_background(size, rng)
        rendering = render_body(self.mesh, vertices, pixels, background, rng)
        if scene.occluders:
            add_occluders(rendering, joints, 0.75 * person, rng)
        clear_outside(rendering.part, region.window, from_image)
        visible = visible_joints(rendering.part, joints, round(_JOINT_REACH * person))
        image = rendering.image
        if region.oversample > 1:
            image = cv2.resize(image, (region.side, region.side), interpolation=cv2.INTER_AREA)
        image = repeat_border(image, region.window, image_to_crop(region.roi, region.side))
        return Rendering(degrade(image, rng), rendering.part), visible


@dataclass(frozen=True)
class _Region:
    """A square of a scene's image that is to be rendered."""

    roi: Roi
    window: Float[np.ndarray, "4"]
    """The part of the scene's image that there is, px of it."""
    side: int
    """Of the rendered square, px."""
    oversample: int
    person: float
    """Side of the crop that a tracker would choose, px of the rendered square."""


def tracked_region(joints_px: Float[np.ndarray, "24 2"], rng: np.random.Generator | None) -> Roi:
    """Draw a crop as the tracker would choose it.

    It is the square about the body's circle around the hips, with a tracker's errors; without them
    when `rng` is None.
    """
    hips = joints_px[[1, 2]].mean(0)
    shoulders = joints_px[[16, 17]].mean(0)
    radius = np.linalg.norm(joints_px - hips, axis=1).max() * 1.08
    up = shoulders - hips
    rotation = np.arctan2(up[0], -up[1])
    if rng is None:
        return Roi(hips, float(2 * MARGIN * radius), float(rotation))
    rotation += rng.normal(0, 0.1)
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
    corners = np.round(cv2.transform(border[None], crop_from_image)[0] - 0.5).astype(np.int32)
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
