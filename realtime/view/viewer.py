"""The window: the picture of a recording, and the mouse and keys to look around in it.

    if (reason := why_no_window()) is None:          realtime.view.display
        viewer = Viewer(body, controls)
        ... start the pipeline in a thread that calls viewer.show(frame), and viewer.close() at its
        end ...
        viewer.run()  # on the main thread, until the user closes the window
        ... tell the pipeline to stop ...

`show` never waits: the window draws the newest frame and skips the others. Open3D gives the window
and its events and is imported by `Viewer.run` only; `realtime.view.renderer` draws.
"""

import threading
from typing import Any

import numpy as np

from engines.body import BodyModel
from realtime.view.colors import BACKGROUND
from realtime.view.controls import Controls, NoControls
from realtime.view.desk import Desk, Mouse
from realtime.view.keys import KEYS
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewConfig, ViewFrame

_TICK_S = 0.01
_LARGEST_PX = (1920, 1200)
"""Larger windows show a picture of at most this size, enlarged."""


class Viewer:
    """One Open3D window.

    `show` and `close` may be called from any thread, `run` only from the main one.
    """

    def __init__(
        self,
        body: BodyModel,
        controls: Controls | None = None,
        config: ViewConfig | None = None,
        title: str = "Penumbra",
    ):
        self._config = config or ViewConfig()
        self._title = title
        self._desk = Desk(Renderer(body, self._config), controls or NoControls())
        self._lock = threading.Lock()
        self._newest: ViewFrame | None = None
        self._closing = threading.Event()
        self.closed = threading.Event()
        """Set when the window is gone and `run` returns."""
        self.skipped = 0
        """Frames that a newer one replaced before they were drawn."""

    def show(self, frame: ViewFrame) -> None:
        """Offer a frame. Never waits."""
        with self._lock:
            self.skipped += self._newest is not None
            self._newest = frame

    def close(self) -> None:
        """Ask the window to close; `run` returns soon after."""
        self._closing.set()

    def run(self) -> None:
        """Open the window and keep it alive until the user or `close` closes it.

        Call it only where `why_no_window` returns None.
        """
        from open3d.visualization import gui

        app = gui.Application.instance
        app.initialize()
        # Escape and the window's X destroy the window at once, with everything that is drawn in it,
        # unless they are refused. So they only end the loop, and the window is freed in order.
        window = _Window(app, self._desk, self._closing, self._config, self._title)
        try:
            while not self._closing.is_set() and app.run_one_tick():
                self._desk.offer(self._take())
                if not window.draw():
                    # Not time.sleep alone: waiting on the event lets `close` end the pause.
                    self._closing.wait(_TICK_S)
        finally:
            self.closed.set()
            window.close()

    def _take(self) -> ViewFrame | None:
        with self._lock:
            frame, self._newest = self._newest, None
            return frame


class _Window:
    """Everything that belongs to Open3D: one widget with our picture, and its events."""

    def __init__(
        self, app: Any, desk: Desk, closing: threading.Event, config: ViewConfig, title: str
    ) -> None:
        import open3d as o3d
        from open3d.visualization import gui

        self._o3d, self._gui, self._app = o3d, gui, app
        self._desk, self._closing = desk, closing
        self._ours = False
        self._window = app.create_window(title, config.width, config.height)
        # An image widget without an image is a red field that says "Error".
        self._image = gui.ImageWidget(
            o3d.geometry.Image(np.full((4, 4, 3), BACKGROUND[::-1], np.uint8))
        )
        b, g, r = (c / 255.0 for c in BACKGROUND)
        self._image.background_color = gui.Color(r, g, b, 1.0)
        self._window.add_child(self._image)
        self._size = (config.width, config.height)
        self._scale = 1.0
        self._names = {int(getattr(gui.KeyName, key.name)): key for key in KEYS}
        self._window.set_on_layout(self._layout)
        self._window.set_on_key(self._on_key)
        self._image.set_on_mouse(self._on_mouse)
        self._window.set_on_close(self._refuse)

    def draw(self) -> bool:
        """Draw what has changed; False when nothing has."""
        picture = self._desk.picture(self._size)
        if picture is None:
            return False
        self._image.update_image(self._o3d.geometry.Image(np.ascontiguousarray(picture[..., ::-1])))
        self._window.post_redraw()
        return True

    def close(self) -> None:
        """Free the window and its GPU memory."""
        self._ours = True
        self._window.close()
        self._app.run_one_tick()

    def _refuse(self) -> bool:
        """Let only our own `close` close the window; the user's ends the loop first."""
        self._closing.set()
        return self._ours

    def _layout(self, _context: Any) -> None:
        rect = self._window.content_rect
        self._image.frame = self._gui.Rect(rect.x, rect.y, rect.width, rect.height)
        width, height = max(rect.width, 1), max(rect.height, 1)
        self._scale = min(1.0, _LARGEST_PX[0] / width, _LARGEST_PX[1] / height)
        self._size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
        self._desk.changed()

    def _on_key(self, event: Any) -> bool:
        if event.type != self._gui.KeyEvent.Type.DOWN:
            return False
        key = self._names.get(int(event.key))
        if key is None:
            return False
        if key.command == "close":
            self._closing.set()
        else:
            self._desk.press(key)
        return True

    def _on_mouse(self, event: Any) -> Any:
        gui = self._gui
        kinds = gui.MouseEvent.Type
        rect = self._image.frame
        x, y = (event.x - rect.x) * self._scale, (event.y - rect.y) * self._scale
        pan = False
        if event.type != kinds.WHEEL and event.type != kinds.MOVE:
            buttons = (gui.MouseButton.RIGHT, gui.MouseButton.MIDDLE)
            pan = any(event.is_button_down(button) for button in buttons)
        name = {kinds.BUTTON_DOWN: "down", kinds.BUTTON_UP: "up", kinds.DRAG: "drag"}.get(
            event.type
        )
        if event.type == kinds.WHEEL:
            self._desk.mouse(Mouse("wheel", x, y, wheel=float(event.wheel_dy)))
        elif name is not None:
            self._desk.mouse(Mouse(name, x, y, pan=pan))
        else:
            return self._gui.Widget.EventCallbackResult.IGNORED
        return self._gui.Widget.EventCallbackResult.CONSUMED
