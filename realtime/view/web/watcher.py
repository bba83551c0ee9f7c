"""One browser that watches: its nodes, its controls, its camera, and the thread that serves it."""

import threading
from typing import TYPE_CHECKING

import numpy as np

from realtime.view.controls import Controls
from realtime.view.scene import ViewConfig
from realtime.view.web.cameras import View, camera_of
from realtime.view.web.frame import WebFrame
from realtime.view.web.panel import Panel
from realtime.view.web.stage import Stage

if TYPE_CHECKING:
    import viser

_ANSWERS = 2
"""Answers of the browser to wait for: with the first it has the mesh, with the second decoded."""
_FOLLOW_M = 0.03
"""A followed person moves the view from this on, metres: smaller moves would disturb dragging."""


class Watcher:
    """Serves one browser the newest frame at the browser's own pace."""

    def __init__(
        self, client: "viser.ClientHandle", config: ViewConfig, controls: Controls
    ) -> None:
        self.skipped = 0
        """Frames that were replaced by a newer one before this browser got them."""
        self._client = client
        self._changed = threading.Condition()
        self._newest: WebFrame | None = None
        self._shown: WebFrame | None = None
        self._redraw = False
        self._closing = False
        self._view: View | None = "orbit"
        self._stage = Stage(client, config)
        self._panel = Panel(client, config, controls, self._look_from, self._ask_redraw)
        self._thread = threading.Thread(target=self._work, name="web browser", daemon=True)
        self._thread.start()

    def offer(self, frame: WebFrame) -> None:
        """Offer a frame. Never waits."""
        with self._changed:
            self._newest = frame
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, which may still wait for the browser's answer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _ask_redraw(self) -> None:
        with self._changed:
            self._redraw = True
            self._changed.notify_all()

    def _look_from(self, view: View) -> None:
        with self._changed:
            self._view = view
            self._redraw = True
            self._changed.notify_all()

    def _work(self) -> None:
        while (frame := self._next()) is not None:
            if not self._draw(frame):
                return

    def _next(self) -> WebFrame | None:
        """Wait for what is to be drawn; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._wanted())
            if self._closing:
                return None
            self._redraw = False
            frame = self._shown if self._panel.paused and self._shown else self._newest
            if frame is not self._shown and frame is not None and self._shown is not None:
                self.skipped += frame.number - self._shown.number - 1
            return frame

    def _wanted(self) -> bool:
        if self._newest is None:
            return False
        return self._redraw or (self._newest is not self._shown and not self._panel.paused)

    def _draw(self, frame: WebFrame) -> bool:
        """Return whether the browser is still there."""
        self._stage.shown.update(self._panel.shown)
        self._stage.upload(frame)
        if not self._wait_for_browser():
            return False
        with self._changed:
            view, self._view = self._view, None
        if view is not None:
            self._stage.from_camera = view == "camera"
            self._aim(view, frame)
        elif self._panel.follow and not self._stage.from_camera:
            self._follow(frame)
        self._stage.reveal(frame)
        self._panel.say(frame.words, frame.time_s)
        self._shown = frame
        return True

    def _wait_for_browser(self) -> bool:
        """Wait until the browser has drawn what it was sent; False when it has left.

        viser asks the browser for a stored value, and the browser answers in the order of its
        messages; there is no such value.
        """
        for _ in range(_ANSWERS):
            try:
                self._client.local_storage.get_item("penumbra")
            except RuntimeError as error:
                if "disconnected" in str(error):
                    return False
                # A browser that stores nothing has answered too.
        return True

    def _aim(self, view: View, frame: WebFrame) -> None:
        camera = self._client.camera
        aim = camera_of(view, frame, camera.aspect)
        with self._client.atomic():
            camera.up_direction = aim.up
            camera.position = aim.position
            camera.look_at = aim.look_at
            camera.fov = aim.fov

    def _follow(self, frame: WebFrame) -> None:
        """Move the view along with the person, turned and zoomed as the user has it."""
        camera = self._client.camera
        move = frame.middle - camera.look_at
        if np.linalg.norm(move) > _FOLLOW_M:
            camera.position = camera.position + move
