"""The camera image with the bodies on the people.

The person that is followed is drawn strongest. Landmarks are a layer for those who look for the
cause of an error; it is off by default.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.kernels.raster import vertex_normals
from realtime.view.bodies import BodyInPanel, draw_bodies
from realtime.view.colors import ACCENT, INK, MUTED, PANEL, PAPER, Bgr
from realtime.view.geometry import through_lens
from realtime.view.layout import Layout
from realtime.view.scene import PersonScene, Scene
from realtime.view.state import ViewState
from realtime.view.text import blend, draw_text, text_size

_OPACITY = {True: 0.80, False: 0.55}
"""Of the person that is followed, and of the others."""
_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
# A polygon, because cv2.circle makes diamonds of small radii.
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_FIXED = 4  # fractional bits of cv2's coordinates


def draw_image_panel(
    scene: Scene, faces: Int[np.ndarray, "F 3"], layout: Layout, state: ViewState
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the camera image in the size of its rectangle with everybody drawn on it."""
    image = scene.frame.image
    width, height = layout.image.width, layout.image.height
    shrinks = width < image.shape[1]
    canvas = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    scale = np.array([width, height]) / image.shape[1::-1]
    bodies = [_body(scene, person, faces, scale) for person in scene.people]
    layers = state.layers
    if len(faces):
        draw_bodies(
            canvas,
            [body for body in bodies if body is not None],
            faces,
            surface=layers.body,
            guesses=layers.guesses,
        )
    if layers.landmarks:
        for person in scene.people:
            _draw_landmarks(canvas, person, scale, layout.px(3))
    if state.mirror:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
    for person in scene.people:
        _draw_tag(canvas, scene, person, scale, layout, mirror=state.mirror)
    if not scene.people:
        _draw_notice(canvas, "nobody found", layout)
    return canvas


def to_panel(
    scene: Scene, points: Float[np.ndarray, "*n 3"], layout: Layout, *, mirror: bool
) -> Float[np.ndarray, "*n 2"]:
    """Project points (camera frame) to the image's rectangle, px of that rectangle."""
    rect = layout.image
    scale = np.array([rect.width, rect.height]) / scene.frame.image.shape[1::-1]
    uv = through_lens(points, scene.frame.intrinsics) * scale
    return uv * (-1.0, 1.0) + (rect.width, 0.0) if mirror else uv


def _body(
    scene: Scene,
    person: PersonScene,
    faces: Int[np.ndarray, "F 3"],
    scale: Float[np.ndarray, "2"],
) -> BodyInPanel | None:
    if not len(person.vertices):
        return None
    lens = scene.frame.intrinsics
    return BodyInPanel(
        pixels=through_lens(person.vertices, lens) * scale,
        depth=person.vertices[:, 2],
        normals=vertex_normals(person.vertices, faces),
        colors=person.vertex_colors,
        visible=person.vertex_visible,
        hypotheses=through_lens(person.hypotheses, lens) * scale,
        opacity=_OPACITY[person.followed],
        px_per_m=lens.fy * scale[1] / max(float(person.joints[0, 2]), 0.1),
    )


def _draw_landmarks(
    canvas: UInt8[np.ndarray, "H W 3"],
    person: PersonScene,
    scale: Float[np.ndarray, "2"],
    radius: int,
) -> None:
    for x, y, visibility in person.landmarks:
        draw_dot(canvas, np.array([x, y]) * scale, radius, PAPER, hollow=bool(visibility < 0.5))


def draw_dot(
    image: UInt8[np.ndarray, "H W 3"],
    center: Float[np.ndarray, "2"],
    radius: float,
    color: Bgr,
    *,
    hollow: bool = False,
) -> None:
    """Draw a disc with a dark rim, or a ring when `hollow`; nothing at nan."""
    if not np.isfinite(center).all():
        return
    inner, outer = (_fixed(center + r * _CIRCLE) for r in (radius, radius + 1))
    if hollow:
        cv2.polylines(image, [inner], True, INK, 3, cv2.LINE_AA, _FIXED)
        cv2.polylines(image, [inner], True, color, 1, cv2.LINE_AA, _FIXED)
    else:
        cv2.fillConvexPoly(image, outer, INK, cv2.LINE_AA, _FIXED)
        cv2.fillConvexPoly(image, inner, color, cv2.LINE_AA, _FIXED)


def _fixed(points: Float[np.ndarray, "*n 2"], size: int = 1 << 14) -> Int[np.ndarray, "*n 2"]:
    """Convert px to OpenCV's fixed-point integers, which lie at pixel centres."""
    inside = np.clip(points, -size, size)  # far outside they would overflow its arithmetic
    return np.rint((inside - 0.5) * (1 << _FIXED)).astype(np.int32)


def _draw_tag(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    person: PersonScene,
    scale: Float[np.ndarray, "2"],
    layout: Layout,
    *,
    mirror: bool,
) -> None:
    """Write the track id above the head; a filled tag is the followed person's."""
    points = person.vertices if len(person.vertices) else person.joints
    uv = through_lens(points, scene.frame.intrinsics) * scale
    if not np.isfinite(uv).any():
        return
    height, width = canvas.shape[:2]
    top = uv[np.nanargmin(uv[:, 1])]
    size = layout.font(13)
    text = f"{person.track_id}"
    text_w, text_h = text_size(text, size)
    radius = max(text_w, text_h) // 2 + layout.px(3)
    x = width - top[0] if mirror else top[0]
    x = int(np.clip(x, radius + 2, width - radius - 2))
    y = int(np.clip(top[1] - radius - layout.px(8), radius + 2, height - radius - 2))
    back, front = (PAPER, INK) if person.followed else (PANEL, MUTED)
    disc = _disc(radius)
    rim = _disc(radius + 2)
    blend(canvas, rim, (x - radius - 2, y - radius - 2), INK, 0.55)
    blend(canvas, disc, (x - radius, y - radius), back, 0.92 if person.followed else 0.7)
    draw_text(canvas, text, (x, y - text_h / 2), size, front, anchor="middle")


@lru_cache(maxsize=8)
def _disc(radius: int) -> UInt8[np.ndarray, "d d"]:
    mask = np.zeros((2 * radius, 2 * radius), np.uint8)
    points = _fixed(np.array([radius, radius]) + (radius - 0.5) * _CIRCLE)
    cv2.fillConvexPoly(mask, points, (255,), cv2.LINE_AA, _FIXED)
    return mask


def _draw_notice(canvas: UInt8[np.ndarray, "H W 3"], text: str, layout: Layout) -> None:
    x, y = canvas.shape[1] / 2, canvas.shape[0] - layout.px(40)
    draw_text(canvas, text, (x, y), layout.font(16), ACCENT, anchor="middle", halo=True)
