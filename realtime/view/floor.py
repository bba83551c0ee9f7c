"""The floor of the world panel: its grid, the shadows on it, and the trails of the people."""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.kernels.raster import silhouettes
from realtime.view.colors import Bgr
from realtime.view.geometry import box_around, project, shadow
from realtime.view.scene import PersonScene, Scene
from realtime.view.text import blend
from realtime.view.world_camera import WorldCamera

_REACH_M = 7.0
"""The grid fades out at this distance from its middle."""
_CELL_M = 0.5
_LINE: Bgr = (150, 140, 130)
_WALL: Bgr = (40, 34, 30)
_FLOOR: Bgr = (80, 72, 66)
_CONTACT_M = 0.25
"""What is lower than this throws the dark contact shadow."""
_FIXED = 4


def floor_of(
    camera: WorldCamera, size: tuple[int, int], middle: tuple[int, int]
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the empty floor below a soft gradient; do not write into it.

    It is kept as long as the camera holds still, which is most of the time.

    Args:
        camera: That sees it.
        size: (width, height), px.
        middle: (x, y) in whole metres, around which the grid fades.
    """
    return _floor(camera.T_panel_world.tobytes(), camera.K.tobytes(), size, middle)


@lru_cache(maxsize=2)
def _floor(
    T_panel_world: bytes, K: bytes, size: tuple[int, int], middle: tuple[int, int]
) -> UInt8[np.ndarray, "H W 3"]:
    camera = WorldCamera(np.frombuffer(T_panel_world).reshape(4, 4), np.frombuffer(K).reshape(3, 3))
    width, height = size
    forward = camera.T_panel_world[2, :3]
    tilt = -forward[2] / max(float(np.hypot(forward[0], forward[1])), 1e-6)
    horizon = camera.K[1, 2] - camera.K[1, 1] * tilt  # where the floor ends, px
    canvas = _gradient(height, width, round(float(np.clip(horizon, -height, height)) / 8) * 8)
    if camera.eye[2] <= 0:
        return canvas
    share = _grid(camera, size, middle)[..., None] * np.float32(1.0 / 255.0)
    return (canvas + share * (np.array(_LINE, np.float32) - canvas)).astype(np.uint8)


@lru_cache(maxsize=16)
def _gradient(height: int, width: int, horizon: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return a dark wall above the horizon and a floor that grows lighter towards the viewer."""
    y = np.arange(height)[:, None, None]
    below = np.clip((y - horizon) / (0.55 * height), 0.0, 1.0) ** 0.7
    column = np.array(_WALL) + below * (np.array(_FLOOR, float) - _WALL)
    return np.broadcast_to(column, (height, width, 3)).astype(np.uint8)


def _grid(
    camera: WorldCamera, size: tuple[int, int], middle: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """Return the coverage of grid lines every half metre, every second one stronger."""
    steps = np.arange(-_REACH_M, _REACH_M + 1e-9, _CELL_M)
    cuts = np.arange(-_REACH_M, _REACH_M + 1e-9, 1.0)
    along = np.stack(np.meshgrid(steps, cuts, indexing="ij"), axis=-1)  # (lines, cuts, 2)
    far = np.linalg.norm((along[:, :-1] + along[:, 1:]) / 2, axis=-1)
    whole = np.isclose(steps, np.round(steps))[:, None]
    strength = np.where(whole, 150, 62) * np.maximum(0.0, 1.0 - (far / _REACH_M) ** 2) ** 1.5
    layer = np.zeros(size[::-1], np.uint8)
    for flat in (along, along[..., ::-1]):
        points = np.concatenate([flat + middle, np.zeros((*flat.shape[:2], 1))], axis=-1)
        uv = project(camera.see(points), camera.K)
        _draw_segments(layer, np.stack([uv[:, :-1], uv[:, 1:]], axis=2), strength)
    return layer


def _draw_segments(
    layer: UInt8[np.ndarray, "H W"],
    segments: Float[np.ndarray, "*n 2 2"],
    strength: Float[np.ndarray, "*n"],
    width: int = 1,
) -> None:
    """Draw segments, each as strong as it says (0 to 255), faint ones first."""
    flat, values = segments.reshape(-1, 2, 2), (strength.ravel() / 6).round() * 6
    fine = np.isfinite(flat).all(axis=(1, 2)) & (values > 0)
    fixed = np.rint((np.clip(flat, -(1 << 14), 1 << 14) - 0.5) * (1 << _FIXED))
    for value in np.unique(values[fine]):
        chosen = list(fixed[fine & (values == value)].astype(np.int32))
        cv2.polylines(layer, chosen, False, (float(value),), width, cv2.LINE_AA, _FIXED)


def draw_shadows(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    faces: Int[np.ndarray, "F 3"],
    camera: WorldCamera,
) -> None:
    """Darken the floor below everybody, in place: softly the whole body, firmly what touches it."""
    for person in scene.people:
        if len(person.vertices):
            _draw_shadow(canvas, scene.to_world(person.vertices), faces, camera)


def _draw_shadow(
    canvas: UInt8[np.ndarray, "H W 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    camera: WorldCamera,
) -> None:
    pixels = project(camera.see(shadow(vertices)), camera.K)
    px_per_m = camera.K[1, 1] / max(float(camera.see(vertices.mean(axis=0))[2]), 0.5)
    box = box_around(pixels, canvas.shape, margin=round(0.3 * px_per_m))
    if box is None:
        return
    x0, y0, x1, y1 = box
    size = ((x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2)  # soft, so half the size is enough
    half = ((pixels - (x0, y0)) / 2.0)[None]
    low = vertices[faces, 2].min(axis=1) < _CONTACT_M
    light = np.ones(size[::-1], np.float32)
    for chosen, strength, spread_m in ((slice(None), 0.40, 0.08), (low, 0.60, 0.03)):
        bits = silhouettes(half, faces[chosen], size).astype(np.float32)
        blur = max(0.6, spread_m * px_per_m / 2.0)
        light *= 1.0 - strength * cv2.GaussianBlur(bits, (0, 0), blur)
    part = canvas[y0:y1, x0:x1]
    kept = cv2.resize(light, part.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    part[:] = (part * kept[..., None]).astype(np.uint8)


def draw_trail(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    person: PersonScene,
    camera: WorldCamera,
    color: Bgr,
    width: int,
) -> None:
    """Draw where a person was on the floor, fading with time, in place."""
    if len(person.trail) < 2:
        return
    points = smooth_trail(shadow(scene.to_world(person.trail)))
    uv = project(camera.see(points), camera.K)
    box = box_around(uv, canvas.shape, margin=width + 2)
    if box is None:
        return
    x0, y0, x1, y1 = box
    part = canvas[y0:y1, x0:x1]
    layer = np.zeros(part.shape[:2], np.uint8)
    strength = 210.0 * np.arange(1, len(uv)) / len(uv)
    _draw_segments(layer, np.stack([uv[:-1], uv[1:]], axis=1) - (x0, y0), strength, width)
    blend(canvas, layer, (x0, y0), color)


def smooth_trail(points: Float[np.ndarray, "T 3"], reach: int = 4) -> Float[np.ndarray, "T 3"]:
    """Return a path without the jitter of single frames; its last point stays near its place."""
    if len(points) < 3:
        return points
    size = min(2 * reach + 1, len(points) // 2 * 2 - 1)
    padded = np.pad(points, ((size // 2, size // 2), (0, 0)), mode="edge")
    kernel = np.ones(size) / size
    return np.stack([np.convolve(padded[:, i], kernel, mode="valid") for i in range(3)], axis=1)
