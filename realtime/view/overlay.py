"""Draws what was found onto the camera picture: landmarks, the best estimate's skeleton, a sample
of hypotheses.

Seen things are solid, guessed ones hollow or dashed. The skeleton has the same colours as the mesh
in 3D, so that one legend serves both. All functions draw in place on a BGR picture and take pixel
coordinates of that picture.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from engines.types import PARENTS
from realtime.view.scene import Scene, ViewConfig, ViewFrame, through_lens

Bgr = tuple[int, int, int]

INK: Bgr = (24, 20, 18)
PAPER: Bgr = (245, 245, 245)
HYPOTHESIS: Bgr = (236, 196, 140)
"""Pale blue: the colour scale has none, so a hypothesis never looks like a value on it."""
_SHIFT = 4  # cv2 draws with 1/16 px precision when told so, which keeps slow motion smooth
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack(
    [np.cos(_ANGLES), np.sin(_ANGLES)], axis=1
)  # cv2.circle makes diamonds of small radii


def bgr(rgb: Float[np.ndarray, "3"]) -> Bgr:
    """RGB in [0, 1] to what cv2 draws with."""
    r, g, b = (round(255 * float(c)) for c in rgb)
    return b, g, r


def fixed_point(points: Float[np.ndarray, "*n 2"], size: int = 1 << 14) -> np.ndarray:
    """Pixel coordinates as cv2's fixed-point integers; cv2 puts integers at pixel centres, we at
    the corner.
    """
    inside = np.clip(
        points, -size, size
    )  # a point far outside would overflow cv2's 16.16 arithmetic
    return np.rint((inside - 0.5) * (1 << _SHIFT)).astype(np.int32)


def draw_line(
    picture: UInt8[np.ndarray, "H W 3"], a: np.ndarray, b: np.ndarray, color: Bgr, width: int
) -> None:
    """One antialiased line; nothing when an end is nan (behind the camera)."""
    if np.isfinite(a).all() and np.isfinite(b).all():
        (ax, ay), (bx, by) = fixed_point(np.stack([a, b])).tolist()
        cv2.line(picture, (ax, ay), (bx, by), color, width, cv2.LINE_AA, _SHIFT)


def draw_dashed(
    picture: UInt8[np.ndarray, "H W 3"], a: np.ndarray, b: np.ndarray, color: Bgr, width: int
) -> None:
    """A line of dashes three times as long as it is wide, the gaps equally long."""
    length = float(np.linalg.norm(b - a))
    if not np.isfinite(length):
        return
    dashes = max(2, min(100, round(length / (6 * width))))
    for i in range(dashes):
        draw_line(
            picture, a + (b - a) * (i / dashes), a + (b - a) * ((i + 0.55) / dashes), color, width
        )


def draw_dot(
    picture: UInt8[np.ndarray, "H W 3"],
    center: np.ndarray,
    radius: float,
    color: Bgr,
    *,
    hollow: bool,
    width: int = 1,
) -> None:
    """A disc with a dark rim, or a ring when `hollow`."""
    if not np.isfinite(center).all():
        return
    inner, outer = (fixed_point(center + r * _CIRCLE) for r in (radius, radius + 1))
    if hollow:
        cv2.polylines(picture, [inner], True, INK, width + 2, cv2.LINE_AA, _SHIFT)
        cv2.polylines(picture, [inner], True, color, width, cv2.LINE_AA, _SHIFT)
    else:
        cv2.fillConvexPoly(picture, outer, INK, cv2.LINE_AA, _SHIFT)
        cv2.fillConvexPoly(picture, inner, color, cv2.LINE_AA, _SHIFT)


def draw_bones(
    picture: UInt8[np.ndarray, "H W 3"],
    uv: Float[np.ndarray, "24 2"],
    colors: list[Bgr],
    guessed: Bool[np.ndarray, "24"],
    width: int,
) -> None:
    """The best estimate's skeleton: a bone has the colour of its far end and is dashed when that
    end is a guess.
    """
    for draw_rim in (True, False):
        for joint in range(1, len(PARENTS)):
            a, b = uv[PARENTS[joint]], uv[joint]
            draw = draw_dashed if guessed[joint] else draw_line
            draw(
                picture, a, b, INK if draw_rim else colors[joint], width + 2 if draw_rim else width
            )
    for joint in range(len(PARENTS)):
        draw_dot(
            picture,
            uv[joint],
            1.4 * width,
            colors[joint],
            hollow=bool(guessed[joint]),
            width=max(1, width // 2),
        )


def draw_skeletons(
    picture: UInt8[np.ndarray, "H W 3"],
    uv: Float[np.ndarray, "S 24 2"],
    color: Bgr,
    alpha: float,
    width: int = 1,
) -> None:
    """Hypotheses as thin translucent lines, all of them blended at once."""
    parents = np.array(PARENTS[1:])
    segments = np.stack([uv[:, parents], uv[:, 1:]], axis=2).reshape(-1, 2, 2)
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    if len(segments) == 0:
        return
    # Blending is most of the cost, so it is done only where the lines are.
    size = np.array([picture.shape[1], picture.shape[0]])
    x0, y0 = np.clip(np.floor(segments.min(axis=(0, 1)) - 2 * width), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(segments.max(axis=(0, 1)) + 2 * width), 0, size).astype(int)
    window = picture[y0:y1, x0:x1]
    if window.size:
        layer = window.copy()
        cv2.polylines(
            layer, list(fixed_point(segments - (x0, y0))), False, color, width, cv2.LINE_AA, _SHIFT
        )
        cv2.addWeighted(layer, alpha, window, 1 - alpha, 0, dst=window)


def draw_overlay(
    frame: ViewFrame, scene: Scene | None, config: ViewConfig, scale: float
) -> UInt8[np.ndarray, "h w 3"]:
    """The camera picture at `scale` with everything on it."""
    height, width = frame.image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(
        frame.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    person = frame.estimate.person
    if person is None or scene is None:
        return picture
    to_picture = np.array(size) / (width, height)
    draw_skeletons(
        picture, through_lens(scene.skeletons, frame.intrinsics) * to_picture, HYPOTHESIS, 0.55
    )
    stroke = max(2, round(min(size) / 180))
    for point, visibility in zip(person.landmarks.points, person.landmarks.visibility, strict=True):
        hollow = bool(visibility < config.visible_threshold)
        draw_dot(picture, point * to_picture, 1.0 * stroke, PAPER, hollow=hollow)
    uv = through_lens(scene.joints, frame.intrinsics) * to_picture
    draw_bones(picture, uv, [bgr(c) for c in scene.joint_colors], scene.joint_guessed, stroke)
    return picture
