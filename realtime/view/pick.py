"""What lies under the mouse: a joint of the followed person, or another person."""

import numpy as np
from jaxtyping import Float

from realtime.view.image_panel import to_panel
from realtime.view.layout import Layout, Rect
from realtime.view.scene import PersonScene, Scene
from realtime.view.state import ViewState
from realtime.view.world_camera import WorldCamera
from realtime.view.world_panel import points_in_panel

JOINT_RADIUS = 16.0
"""A click this near to a joint picks it, in units of the layout."""
PERSON_RADIUS = 24.0
"""A click this near to a person's surface means that person, in units of the layout."""


def nearest(points: Float[np.ndarray, "N 2"], x: float, y: float) -> tuple[int, float]:
    """Return the index of the nearest point and its distance; infinite where there is none."""
    if not len(points):
        return 0, np.inf
    away = np.nan_to_num(np.linalg.norm(points - (x, y), axis=1), nan=np.inf)
    index = int(away.argmin())
    return index, float(away[index])


def person_at(
    scene: Scene, layout: Layout, state: ViewState, camera: WorldCamera, x: float, y: float
) -> PersonScene | None:
    """Return the person under a point of the picture, the nearest one; None beside everybody."""
    found = []
    for person in scene.people:
        points = person.vertices[::4] if len(person.vertices) else person.joints
        pixels = _in_picture(scene, points, layout, state, camera, x, y)
        if pixels is not None:
            found.append((nearest(pixels, x, y)[1], person))
    found.sort(key=lambda pair: pair[0])
    limit = PERSON_RADIUS * layout.unit
    return found[0][1] if found and found[0][0] <= limit else None


def joint_at(
    scene: Scene, layout: Layout, state: ViewState, camera: WorldCamera, x: float, y: float
) -> int | None:
    """Return the followed person's joint under a point of the picture; None beside all of them."""
    person = scene.followed
    if person is None:
        return None
    pixels = _in_picture(scene, person.joints, layout, state, camera, x, y)
    if pixels is None:
        return None
    joint, away = nearest(pixels, x, y)
    return joint if away <= JOINT_RADIUS * layout.unit else None


def _in_picture(
    scene: Scene,
    points: Float[np.ndarray, "N 3"],
    layout: Layout,
    state: ViewState,
    camera: WorldCamera,
    x: float,
    y: float,
) -> Float[np.ndarray, "N 2"] | None:
    """Project points (camera frame) to the panel that holds (x, y), px of the whole picture."""
    if layout.image.contains(x, y):
        return _shift(to_panel(scene, points, layout, mirror=state.mirror), layout.image)
    if layout.world.contains(x, y):
        return _shift(points_in_panel(scene, points, camera), layout.world)
    return None


def _shift(pixels: Float[np.ndarray, "N 2"], rect: Rect) -> Float[np.ndarray, "N 2"]:
    return pixels + np.array([rect.x, rect.y])
