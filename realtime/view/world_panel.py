"""The world: floor, camera with its live image, and everybody upright where they stand."""

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from engines.kernels.raster import vertex_normals
from realtime.view.bodies import BodyInPanel, draw_bodies, draw_lines
from realtime.view.colors import ACCENT, MUTED, PAPER, bgr
from realtime.view.floor import draw_shadows, draw_trail, floor_of
from realtime.view.geometry import ellipsoid_outline, project
from realtime.view.layout import Layout
from realtime.view.scene import PersonScene, Scene
from realtime.view.state import ViewState
from realtime.view.text import draw_text
from realtime.view.world_camera import WorldCamera

_IMAGE_OPACITY = 0.92
_FIXED = 4


def draw_world_panel(
    scene: Scene,
    faces: Int[np.ndarray, "F 3"],
    layout: Layout,
    state: ViewState,
    camera: WorldCamera,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the world as the virtual camera sees it."""
    size = (layout.world.width, layout.world.height)
    middle = scene.to_world(scene.people[0].joints[0]) if scene.people else np.zeros(3)
    canvas = floor_of(camera, size, (round(float(middle[0])), round(float(middle[1])))).copy()
    if camera.eye[2] > 0:
        draw_shadows(canvas, scene, faces, camera)
    for person in scene.people if state.layers.trail else ():
        color = PAPER if person.followed else MUTED
        draw_trail(canvas, scene, person, camera, color, layout.px(2))
    _draw_people_and_camera(canvas, scene, faces, layout, state, camera)
    _draw_notes(canvas, scene, layout, state)
    return canvas


def _draw_people_and_camera(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    faces: Int[np.ndarray, "F 3"],
    layout: Layout,
    state: ViewState,
    camera: WorldCamera,
) -> None:
    """Draw bodies, and the camera behind or in front of them."""
    bodies = [b for p in scene.people if (b := _body(scene, p, faces, camera)) is not None]
    depth = camera.see(scene.frustum.mean(axis=0))[2]
    nearest = min((float(np.median(b.depth)) for b in bodies), default=-np.inf)
    if depth >= nearest:
        draw_frustum(canvas, scene, camera, layout.px(1), mirror=state.mirror)
    draw_bodies(canvas, bodies, faces, surface=state.layers.body, guesses=state.layers.guesses)
    if state.layers.ellipsoids:
        for person in scene.people:
            _draw_ellipsoids(canvas, scene, person, camera, layout.px(1))
    if depth < nearest:
        draw_frustum(canvas, scene, camera, layout.px(1), mirror=state.mirror)


def _body(
    scene: Scene, person: PersonScene, faces: Int[np.ndarray, "F 3"], camera: WorldCamera
) -> BodyInPanel | None:
    if not len(person.vertices):
        return None
    seen = camera.see(scene.to_world(person.vertices))
    others = camera.see(scene.to_world(person.hypotheses))
    return BodyInPanel(
        pixels=project(seen, camera.K),
        depth=seen[:, 2],
        normals=vertex_normals(seen, faces),
        colors=person.vertex_colors,
        visible=person.vertex_visible,
        hypotheses=project(others, camera.K),
        opacity=1.0 if person.followed else 0.8,
        px_per_m=camera.K[1, 1] / max(float(np.median(seen[:, 2])), 0.1),
        ghost_floor=0.3,
    )


def draw_frustum(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    camera: WorldCamera,
    width: int,
    *,
    mirror: bool = False,
) -> None:
    """Draw the camera as a frustum with the live image in it, in place."""
    seen = camera.see(scene.frustum)
    if not (seen[:, 2] > 0.05).all():
        return
    uv = project(seen, camera.K)
    corners = uv[1:].astype(np.float32)
    image = scene.frame.image
    scale = min(1.0, 240.0 / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = np.ascontiguousarray(small[:, ::-1]) if mirror else small
    h, w = small.shape[:2]
    source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - 0.5
    M = cv2.getPerspectiveTransform(source, corners - 0.5)
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, canvas.shape[1::-1])
    if (low < high).all():
        shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]], float)
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        warped = cv2.warpPerspective(small, shift @ M, size, flags=cv2.INTER_LINEAR)
        mask = np.zeros(size[::-1], np.uint8)
        fixed = np.rint((corners - low - 0.5) * (1 << _FIXED)).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, (255,), cv2.LINE_AA, _FIXED)
        share = mask[..., None] * np.float32(_IMAGE_OPACITY / 255.0)
        part = canvas[low[1] : high[1], low[0] : high[0]]
        part[:] = (part + share * (warped.astype(np.float32) - part)).astype(np.uint8)
    edges = [np.stack([uv[0], c]) for c in uv[1:]]
    edges.append(np.concatenate([uv[1:], uv[1:2]]))
    draw_lines(canvas, edges[:4], PAPER, 0.4, width)
    draw_lines(canvas, edges[4:], PAPER, 0.8, width)


def _draw_ellipsoids(
    canvas: UInt8[np.ndarray, "H W 3"],
    scene: Scene,
    person: PersonScene,
    camera: WorldCamera,
    width: int,
) -> None:
    """Draw the 90 % ellipsoids of the uncertain joints as thin outlines."""
    R = camera.T_panel_world[:3, :3] @ scene.T_world_cam[:3, :3]
    hulls = []
    for j in person.ellipsoid_joints:
        center = camera.see(scene.to_world(person.joints[j]))
        outline = ellipsoid_outline(center, R @ person.joint_cov[j] @ R.T, camera.K)
        if outline is not None:
            inside = np.clip(outline, -(1 << 14), 1 << 14)
            fixed = np.rint((inside - 0.5) * (1 << _FIXED)).astype(np.int32)
            hulls.append((fixed, bgr(person.joint_colors[j])))
    if not hulls:
        return
    layer = canvas.copy()
    for hull, color in hulls:
        cv2.polylines(layer, [hull], True, color, width, cv2.LINE_AA, _FIXED)
    cv2.addWeighted(layer, 0.5, canvas, 0.5, 0, dst=canvas)


def notes(scene: Scene) -> list[str]:
    """Return what is assumed about the world, in words."""
    said = []
    if scene.upright == "assumed":
        said.append("assumed: camera held level")
    if not scene.floor_known:
        said.append("assumed: floor below the lowest foot")
    return said


def _draw_notes(
    canvas: UInt8[np.ndarray, "H W 3"], scene: Scene, layout: Layout, state: ViewState
) -> None:
    """Write what is assumed into the upper right corner."""
    size, step = layout.font(13), layout.px(19)
    y = layout.px(8)
    for line in notes(scene):
        draw_text(canvas, line, (canvas.shape[1] - layout.px(12), y), size, ACCENT, anchor="right")
        y += step


def points_in_panel(
    scene: Scene, points: Float[np.ndarray, "N 3"], camera: WorldCamera
) -> Float[np.ndarray, "N 2"]:
    """Project points (camera frame) to the panel, px."""
    return project(camera.see(scene.to_world(points)), camera.K)
