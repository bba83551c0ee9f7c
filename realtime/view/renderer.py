"""Renders a `ViewFrame` into one image, on any machine: no window, no GPU, no Open3D.

    Renderer(faces, config).compose(frame) -> (height, width, 3) uint8 BGR

Left the camera image with its overlay and the legend, right the person from the side, below the
status line. The recorder uses this; the window shows the same colours, legend and status
line.

Why our own rasteriser and not Open3D's offscreen renderer: recording must not depend on a graphics
driver (without EGL, Open3D does not fail, it ends the process), and for one mesh of some thousand
triangles `engines.rasterizer` at twice the size, scaled down, is as clean and takes a fraction of
the time of software OpenGL.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.rasterizer import fill_triangles, visible_faces
from realtime.view.geometry import ellipsoid_outline, project
from realtime.view.overlay import (
    HYPOTHESIS,
    PAPER,
    bgr,
    draw_bones,
    draw_dashed,
    draw_dot,
    draw_line,
    draw_overlay,
    draw_skeletons,
    fixed_point,
)
from realtime.view.person_view import PersonView, build_scene, colormap
from realtime.view.scene import Status, ViewConfig, ViewFrame

BACKGROUND = (34, 29, 26)
STATUS_BACKGROUND = (24, 20, 18)
MUTED = (168, 160, 154)
STATUS_HEIGHT = 40
LEFT_SHARE = 0.62
"""The share of the width that the camera image gets."""
LEGEND_HEIGHT = 84
MARGIN = 12
_SUPERSAMPLE = 2
# From the surface towards the light, which is above, left of and behind the camera.
_LIGHT = np.array([-0.35, -0.55, -0.76])


class Renderer:
    """Composes images of one body topology; it keeps no state between frames."""

    def __init__(self, faces: Int[np.ndarray, "F 3"], config: ViewConfig | None = None):
        self.faces = np.ascontiguousarray(faces)
        self.config = config or ViewConfig()

    def compose(self, frame: ViewFrame) -> UInt8[np.ndarray, "height width 3"]:
        """Return the image of one frame, BGR."""
        config = self.config
        scene = build_scene(frame, config)
        canvas = _plain(config.width, config.height, BACKGROUND).copy()
        body = config.height - STATUS_HEIGHT
        left = round(config.width * LEFT_SHARE)
        canvas[:body, :left] = draw_left(frame, scene, config)
        canvas[:body, left:] = draw_view(scene, self.faces, config, config.width - left, body)
        draw_distance(canvas[:body, left:], frame)
        canvas[body:] = draw_status(status_line(frame.status), config.width)
        return canvas


def draw_left(
    frame: ViewFrame, scene: PersonView | None, config: ViewConfig
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the camera image with its overlay, fitted into its box, and the legend below."""
    height, width = config.height - STATUS_HEIGHT, round(config.width * LEFT_SHARE)
    canvas = _plain(width, height, BACKGROUND).copy()
    box = canvas[: height - LEGEND_HEIGHT]
    room = np.array(box.shape[:2]) - 2 * MARGIN
    image = draw_overlay(frame, scene, config, scale=float(np.min(room / frame.image.shape[:2])))
    h, w = image.shape[:2]
    y, x = (box.shape[0] - h) // 2, (box.shape[1] - w) // 2
    box[y : y + h, x : x + w] = image
    canvas[height - LEGEND_HEIGHT :] = draw_legend(width, config)
    return canvas


def status_line(status: Status) -> str:
    """Return what the networks run on, how fast, how late, and how many frames were dropped."""
    return (
        f"{status.backend}   |   {status.fps:.1f} fps   |   "
        f"{status.latency_ms:.0f} ms from capture to now   |   {status.dropped} dropped"
    )


def view_intrinsics(width: int, height: int) -> Float[np.ndarray, "3 3"]:
    """Return K of the virtual camera, which sees `extent_m` at twice that distance."""
    focal = 2.0 * height
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def draw_view(
    scene: PersonView | None,
    faces: Int[np.ndarray, "F 3"],
    config: ViewConfig,
    width: int,
    height: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the person as the virtual camera sees them."""
    s = _SUPERSAMPLE
    if scene is None:
        return _panel_background(width, height)
    canvas = _panel_background(width * s, height * s).copy()
    K = view_intrinsics(width * s, height * s)
    R, t = scene.T_view_cam[:3, :3], scene.T_view_cam[:3, 3]
    skeletons = project(scene.skeletons @ R.T + t, K)
    draw_skeletons(canvas, skeletons, HYPOTHESIS, 0.75, width=s)
    if len(scene.vertices):
        draw_mesh(canvas, scene.vertices @ R.T + t, scene.vertex_colors, faces, K)
        # Once more on top, fainter: the body would otherwise occlude a spread towards the viewer.
        draw_skeletons(canvas, skeletons, HYPOTHESIS, 0.28, width=s)
    else:
        colors = [bgr(c) for c in scene.joint_colors]
        draw_bones(canvas, project(scene.joints @ R.T + t, K), colors, scene.joint_occluded, 3 * s)
    _draw_ellipsoids(canvas, scene, K)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=8)
def _plain(
    width: int, height: int, color: tuple[int, int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image of one colour; it is cached because filling is slower than copying."""
    return np.full((height, width, 3), color, np.uint8)


@lru_cache(maxsize=4)
def _panel_background(width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """Return a soft pool of light, the background of the person."""
    y, x = np.mgrid[0:height, 0:width]
    r2 = ((x - width / 2) / (0.75 * width)) ** 2 + ((y - 0.45 * height) / (0.7 * height)) ** 2
    glow = np.exp(-1.8 * r2)[..., None] * np.array([26.0, 23.0, 21.0])
    return np.clip(np.array(BACKGROUND) + glow, 0, 255).astype(np.uint8)


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """Return area-weighted unit normals, outward for counter-clockwise faces."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # (F, 3)
    flat = faces.T.ravel()
    summed = np.stack(
        [np.bincount(flat, np.tile(normals[:, c], 3), len(vertices)) for c in range(3)], axis=1
    )
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)


def shade(
    colors: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "V 3"]:
    """Shade colours by one soft light that is fixed to the virtual camera.

    Args:
        colors: RGB in [0, 1].
        normals: In the virtual camera's frame.
    """
    toward_light = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0.0, 1.0)
    return np.clip(colors * (0.42 + 0.62 * toward_light)[:, None], 0.0, 1.0)


def draw_mesh(
    canvas: UInt8[np.ndarray, "H W 3"],
    vertices: Float[np.ndarray, "V 3"],
    colors: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    K: Float[np.ndarray, "3 3"],
) -> None:
    """Draw a mesh in place, each face shaded by the mean of its vertex normals.

    Args:
        canvas: BGR.
        vertices: In the frame of the camera with intrinsics `K`, metres.
        colors: RGB in [0, 1].
        faces: Counter-clockwise as seen from outside.
        K: Pinhole matrix, px of `canvas`.
    """
    pixels = project(vertices, K) - 0.5  # to OpenCV's convention: integers at pixel centres
    height, width = canvas.shape[:2]
    visible = faces[visible_faces(pixels, vertices[:, 2], faces, (width, height))]
    shaded = shade(colors, vertex_normals(vertices, faces))
    fill_triangles(canvas, pixels[visible], shaded[visible].mean(axis=1)[:, ::-1] * 255.0)


def _draw_ellipsoids(
    canvas: UInt8[np.ndarray, "H W 3"], scene: PersonView, K: Float[np.ndarray, "3 3"]
) -> None:
    """Draw the outlines of the 90 % ellipsoids, lightly filled."""
    R, t = scene.T_view_cam[:3, :3], scene.T_view_cam[:3, 3]
    hulls = []
    for j in scene.ellipsoid_joints:
        outline = ellipsoid_outline(R @ scene.joints[j] + t, R @ scene.joint_cov[j] @ R.T, K)
        if outline is not None:
            hulls.append((fixed_point(outline), bgr(scene.joint_colors[j])))
    if not hulls:
        return
    layer = canvas.copy()
    for hull, color in hulls:
        cv2.fillConvexPoly(layer, hull, color, cv2.LINE_AA, 4)
    cv2.addWeighted(layer, 0.12, canvas, 0.88, 0, dst=canvas)
    np.copyto(layer, canvas)
    for hull, color in hulls:
        cv2.polylines(layer, [hull], True, color, _SUPERSAMPLE, cv2.LINE_AA, 4)
    cv2.addWeighted(layer, 0.7, canvas, 0.3, 0, dst=canvas)


def draw_text(
    canvas: UInt8[np.ndarray, "H W 3"], text: str, x: int, y: int, size: float, color: tuple
) -> None:
    """Draw left-aligned text with its baseline at (x, y); `size` 1 is about 21 px high."""
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)


def text_width(text: str, size: float) -> int:
    """Return the width of what `draw_text` draws, px."""

    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]


def legend_ticks(config: ViewConfig) -> list[tuple[float, str]]:
    """Return four values from 0 to the end of the scale, cm, with their labels.

    The last one is open-ended: larger values get the same colour.
    """
    values = [config.max_std_cm * i / 3 for i in range(4)]
    return [(v, f"{v:g}" if i < 3 else f"{v:g}+ cm") for i, v in enumerate(values)]


@lru_cache(maxsize=4)
def draw_legend(width: int, config: ViewConfig) -> UInt8[np.ndarray, "h width 3"]:
    """Return the colour scale in centimetres and the meaning of the marks."""
    canvas = np.full((LEGEND_HEIGHT, width, 3), BACKGROUND, np.uint8)
    x0, bar = 2 * MARGIN, round(0.40 * width)
    draw_text(canvas, "standard deviation per axis", x0, 20, 0.45, MUTED)
    columns = np.linspace(0, 255, bar).round().astype(int)
    canvas[30:44, x0 : x0 + bar] = colormap()[columns][:, ::-1]
    for value, label in legend_ticks(config):
        x = x0 + round(value / config.max_std_cm * (bar - 1))
        canvas[44:49, x] = MUTED
        draw_text(canvas, label, x - text_width(label.split("+")[0], 0.45) // 2, 64, 0.45, PAPER)
    _draw_keys(canvas, x0 + bar + 70, x0 + bar + 70 + round(0.25 * width))
    return canvas


def _draw_keys(canvas: UInt8[np.ndarray, "H W 3"], first: int, second: int) -> None:
    """Draw two columns of marks with their meaning."""
    bone = bgr(colormap()[70] / 255.0)
    length = 40
    for y, draw, hollow in ((20, draw_line, False), (48, draw_dashed, True)):
        draw(canvas, np.array([first, y]), np.array([first + length, y]), bone, 2)
        draw_dot(canvas, np.array([first + length / 2, y]), 4.5, bone, hollow=hollow, width=2)
    draw_line(canvas, np.array([second, 20]), np.array([second + length, 20]), HYPOTHESIS, 1)
    ring = np.array(cv2.ellipse2Poly((second + length // 2, 48), (length // 2, 9), 0, 0, 360, 6))
    cv2.polylines(canvas, [ring], True, bgr(colormap()[200] / 255.0), 1, cv2.LINE_AA)
    labels = (
        (first, 24, "visible"),
        (first, 52, "occluded"),
        (second, 24, "hypothesis"),
        (second, 52, "90 % ellipsoid"),
    )
    for x, y, text in labels:
        draw_text(canvas, text, x + length + 12, y, 0.45, PAPER)


def distance_lines(frame: ViewFrame) -> list[str]:
    """Return the person's distance and its standard deviation, which the 3D view leaves out."""
    person = frame.estimate.person
    if person is None:
        return ["no person found"]
    away = float(person.best.joints[0] @ person.ray)
    return [f"{away:.2f} m away", f"standard deviation {100 * person.distance_std:.0f} cm"]


def draw_distance(panel: UInt8[np.ndarray, "H W 3"], frame: ViewFrame) -> None:
    """Draw `distance_lines` into the upper left corner."""
    for line, y, size, color in zip(
        distance_lines(frame), (34, 56), (0.6, 0.45), (PAPER, MUTED), strict=False
    ):
        draw_text(panel, line, 2 * MARGIN, y, size, color)


def draw_status(text: str, width: int) -> UInt8[np.ndarray, "h width 3"]:
    """Return the status line as an image."""
    canvas = _plain(width, STATUS_HEIGHT, STATUS_BACKGROUND).copy()
    draw_text(canvas, text, 2 * MARGIN, 26, 0.5, PAPER)
    return canvas
