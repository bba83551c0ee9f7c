"""Composes the whole picture of a frame: no window, no GPU, no Open3D.

    renderer = Renderer(body)
    renderer.compose(view_frame)                  the next frame of a recording
    renderer.draw(scene, state, (width, height))  one picture of a scene, as often as it takes

The recorder and the window use the same renderer, so a recording is what the window shows.

Why our own rasteriser and not Open3D's: recording must not depend on a graphics driver (without
EGL, Open3D does not fail, it ends the process); software OpenGL takes longer for a frame than
`engines.kernels.raster` does for both panels; and one renderer is one look.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.body import BodyModel
from realtime.view.bar import draw_bar, draw_help, draw_message, draw_timeline
from realtime.view.build import SceneBuilder
from realtime.view.card import draw_card, rounded
from realtime.view.chart import draw_chart
from realtime.view.colors import BACKGROUND, MUTED
from realtime.view.image_panel import draw_image_panel
from realtime.view.layout import MIN_SIZE, Layout, Rect, arrange
from realtime.view.scene import Scene, ViewConfig, ViewFrame
from realtime.view.state import ViewState, shoulder
from realtime.view.text import draw_text
from realtime.view.world_camera import SteadyCamera, WorldCamera
from realtime.view.world_panel import draw_world_panel


class Renderer:
    """Draws one run's frames in order; one thread at a time."""

    def __init__(self, body: BodyModel, config: ViewConfig | None = None) -> None:
        self.config = config or ViewConfig()
        self._faces = np.ascontiguousarray(body.decimated.faces)
        self._build = SceneBuilder(body, self.config)
        self._follow = SteadyCamera()

    def compose(self, frame: ViewFrame) -> UInt8[np.ndarray, "height width 3"]:
        """Return the image of the next frame, BGR, in the size of the config."""
        return self.draw(self.scene(frame), ViewState(), (self.config.width, self.config.height))

    def scene(self, frame: ViewFrame) -> Scene:
        """Build the scene of the next frame."""
        return self._build(frame)

    def draw(
        self, scene: Scene, state: ViewState, size: tuple[int, int]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Return one picture of a scene, BGR.

        Args:
            scene: From `scene`.
            state: What the user has chosen.
            size: (width, height), px; below `MIN_SIZE` the picture is scaled down.
        """
        layout = self.layout(scene, state, size)
        canvas = _plain(layout.size).copy()
        _put(canvas, layout.image, draw_image_panel(scene, self._faces, layout, state), layout)
        camera = self.camera(scene, state, layout)
        world = draw_world_panel(scene, self._faces, layout, state, camera)
        _put(canvas, layout.world, world, layout)
        draw_card(canvas, scene, layout, self.config)
        person = scene.followed
        if state.joint is not None and person is not None:
            draw_chart(canvas, person, state.joint, layout, self.config)
        draw_bar(canvas, scene.frame.status, layout, self.config, state)
        if state.position is not None:
            draw_timeline(canvas, layout, state.position, paused=state.paused)
        if state.message:
            draw_message(canvas, state.message, layout)
        if state.help_rows:
            draw_help(canvas, list(state.help_rows), layout)
        if layout.size != size:
            canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
        return canvas

    def empty(self, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
        """Return what there is to see before the first frame."""
        canvas = _plain(size).copy()
        draw_text(
            canvas,
            "waiting for the first frame",
            (size[0] / 2, size[1] / 2),
            15,
            MUTED,
            anchor="middle",
        )
        return canvas

    def layout(self, scene: Scene, state: ViewState, size: tuple[int, int]) -> Layout:
        """Return where everything lies in the picture of a scene."""
        height, width = scene.frame.image.shape[:2]
        large = (max(size[0], MIN_SIZE[0]), max(size[1], MIN_SIZE[1]))
        return arrange(large, (width, height), timeline=state.position is not None)

    def camera(self, scene: Scene, state: ViewState, layout: Layout) -> WorldCamera:
        """Return the camera of the world panel."""
        size = (layout.world.width, layout.world.height)
        return self._follow(scene, state.orbit or shoulder(size[0] / size[1]), size)


@lru_cache(maxsize=2)
def _plain(size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Return an empty picture; it is kept because filling is slower than copying."""
    return np.full((size[1], size[0], 3), BACKGROUND, np.uint8)


def _put(
    canvas: UInt8[np.ndarray, "H W 3"],
    rect: Rect,
    part: UInt8[np.ndarray, "h w 3"],
    layout: Layout,
) -> None:
    """Copy a panel to its place and round its corners."""
    canvas[rect.window] = part
    r = min(layout.px(8), rect.width // 2, rect.height // 2)
    mask = rounded(2 * r, 2 * r, r)
    for rows in (slice(0, r), slice(-r, None)):
        for columns in (slice(0, r), slice(-r, None)):
            corner = canvas[rect.window][rows, columns]
            share = mask[rows, columns, None] * np.float32(1 / 255.0)
            color = np.array(BACKGROUND, np.float32)
            corner[:] = (color + share * (corner - color) + 0.5).astype(np.uint8)
