"""The overlay on the camera image: landmarks, best skeleton, a sample of hypotheses.

What is visible is solid, what is occluded is hollow or dashed. The skeleton has the same colours as
the mesh in 3D, so that one legend serves both. All functions draw in place on a BGR image and take
pixel coordinates of that image.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Real, UInt8

from engines.types import PARENTS
from realtime.view.geometry import through_lens
from realtime.view.person_view import PersonView
from realtime.view.scene import ViewConfig, ViewFrame

Bgr = tuple[int, int, int]

INK: Bgr = (24, 20, 18)
PAPER: Bgr = (245, 245, 245)
HYPOTHESIS: Bgr = (236, 196, 140)
"""Pale blue: the colour scale has none, so a hypothesis never looks like a value on it."""
_SHIFT = 4  # cv2 draws with 1/16 px precision when told so, which keeps slow motion smooth
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
# A polygon, because cv2.circle makes diamonds of small radii.
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def bgr(rgb: Float[np.ndarray, "3"]) -> Bgr:
    """Convert RGB in [0, 1] to the BGR bytes that OpenCV draws with."""
    r, g, b = (round(255 * float(c)) for c in rgb)
    return b, g, r


def fixed_point(points: Real[np.ndarray, "*n 2"], size: int = 1 << 14) -> np.ndarray:
    """Convert pixel coordinates to OpenCV's fixed-point integers.

    OpenCV puts integers at pixel centres, our coordinates at pixel corners.
    """
    # A point far outside would overflow OpenCV's 16.16 arithmetic.
    inside = np.clip(points, -size, size)
    return np.rint((inside - 0.5) * (1 << _SHIFT)).astype(np.int32)


def draw_line(
    image: UInt8[np.ndarray, "H W 3"], a: np.ndarray, b: np.ndarray, color: Bgr, width: int
) -> None:
    """Draw an antialiased line; nothing when an end is nan (behind the camera)."""
    if np.isfinite(a).all() and np.isfinite(b).all():
        (ax, ay), (bx, by) = fixed_point(np.stack([a, b])).tolist()
        cv2.line(image, (ax, ay), (bx, by), color, width, cv2.LINE_AA, _SHIFT)


def draw_dashed(
    image: UInt8[np.ndarray, "H W 3"], a: np.ndarray, b: np.ndarray, color: Bgr, width: int
) -> None:
    """Draw a dashed line; dashes and gaps are three times as long as it is wide."""
    length = float(np.linalg.norm(b - a))
    if not np.isfinite(length):
        return
    dashes = max(2, min(100, round(length / (6 * width))))
    for i in range(dashes):
        start, end = i / dashes, (i + 0.55) / dashes
        draw_line(image, a + (b - a) * start, a + (b - a) * end, color, width)


def draw_dot(
    image: UInt8[np.ndarray, "H W 3"],
    center: np.ndarray,
    radius: float,
    color: Bgr,
    *,
    hollow: bool,
    width: int = 1,
) -> None:
    """Draw a disc with a dark rim, or a ring when `hollow`."""
    if not np.isfinite(center).all():
        return
    inner, outer = (fixed_point(center + r * _CIRCLE) for r in (radius, radius + 1))
    if hollow:
        cv2.polylines(image, [inner], True, INK, width + 2, cv2.LINE_AA, _SHIFT)
        cv2.polylines(image, [inner], True, color, width, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillConvexPoly(image, outer, INK, cv2.LINE_AA, _SHIFT)
        cv2.fillConvexPoly(image, inner, color, cv2.LINE_AA, _SHIFT)


def draw_bones(
    image: UInt8[np.ndarray, "H W 3"],
    uv: Float[np.ndarray, "24 2"],
    colors: list[Bgr],
    occluded: Bool[np.ndarray, "24"],
    width: int,
) -> None:
    """Draw the best estimate's skeleton.

    A bone has the colour of its far end and is dashed when that end is occluded.
    """
    for draw_rim in (True, False):
        for joint in range(1, len(PARENTS)):
            a, b = uv[PARENTS[joint]], uv[joint]
            draw = draw_dashed if occluded[joint] else draw_line
            color = INK if draw_rim else colors[joint]
            draw(image, a, b, color, width + 2 if draw_rim else width)
    for joint in range(len(PARENTS)):
        draw_dot(
            image,
            uv[joint],
            1.4 * width,
            colors[joint],
            hollow=bool(occluded[joint]),
            width=max(1, width // 2),
        )


def draw_skeletons(
    image: UInt8[np.ndarray, "H W 3"],
    uv: Float[np.ndarray, "S 24 2"],
    color: Bgr,
    alpha: float,
    width: int = 1,
) -> None:
    """Draw hypotheses as thin translucent lines, all of them blended at once."""
    parents = np.array(PARENTS[1:])
    segments = np.stack([uv[:, parents], uv[:, 1:]], axis=2).reshape(-1, 2, 2)
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    if len(segments) == 0:
        return
    # Blending is most of the cost, so it is done only where the lines are.
    size = np.array([image.shape[1], image.shape[0]])
    x0, y0 = np.clip(np.floor(segments.min(axis=(0, 1)) - 2 * width), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(segments.max(axis=(0, 1)) + 2 * width), 0, size).astype(int)
    window = image[y0:y1, x0:x1]
    if window.size:
        layer = window.copy()
        cv2.polylines(
            layer, list(fixed_point(segments - (x0, y0))), False, color, width, cv2.LINE_AA, _SHIFT
        )
        cv2.addWeighted(layer, alpha, window, 1 - alpha, 0, dst=window)


def draw_overlay(
    frame: ViewFrame, scene: PersonView | None, config: ViewConfig, scale: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the camera image at `scale` with landmarks and skeletons drawn on it."""
    height, width = frame.image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = cv2.resize(
        frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    person = frame.estimate.person
    if person is None or scene is None:
        return image
    to_image = np.array(size) / (width, height)
    draw_skeletons(
        image, through_lens(scene.skeletons, frame.intrinsics) * to_image, HYPOTHESIS, 0.55
    )
    stroke = max(2, round(min(size) / 180))
    for point, visibility in zip(person.landmarks.points, person.landmarks.visibility, strict=True):
        hollow = bool(visibility < config.visible_threshold)
        draw_dot(image, point * to_image, 1.0 * stroke, PAPER, hollow=hollow)
    uv = through_lens(scene.joints, frame.intrinsics) * to_image
    draw_bones(image, uv, [bgr(c) for c in scene.joint_colors], scene.joint_occluded, stroke)
    return image
