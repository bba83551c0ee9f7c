"""What the window does with keys and mouse, without knowing what a window is.

A desk holds the newest scene and the user's choices. It is told of frames, keys and the mouse, and
gives the picture whenever something has changed.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from realtime.view.bar import timeline_track
from realtime.view.controls import Controls
from realtime.view.keys import JUMP_S, Key, hint
from realtime.view.layout import Layout
from realtime.view.pick import joint_at, person_at
from realtime.view.renderer import Renderer
from realtime.view.scene import Scene, ViewFrame
from realtime.view.state import Orbit, Position, ViewState, shoulder

_CLICK_PX = 5.0
"""A button that moves less than this between down and up has clicked."""
_MESSAGE_S = 2.5
_DEG_PER_PX = 0.35


@dataclass(frozen=True)
class Mouse:
    """One event of the mouse, at px of the picture."""

    kind: str
    """`down`, `drag`, `up` or `wheel`."""
    x: float
    y: float
    pan: bool = False
    """Whether it is the button that moves the world instead of turning it."""
    wheel: float = 0.0


class Desk:
    """The user's side of the view; belongs to one thread."""

    def __init__(self, renderer: Renderer, controls: Controls, folder: Path | None = None) -> None:
        """Begin with an empty picture.

        Args:
            renderer: Draws.
            controls: Of the run.
            folder: Where screenshots go; the working directory by default.
        """
        self._renderer = renderer
        self._controls = controls
        self._folder = folder or Path()
        self._scene: Scene | None = None
        self._waiting: ViewFrame | None = None
        self._picture: UInt8[np.ndarray, "H W 3"] | None = None
        self._size = (renderer.config.width, renderer.config.height)
        self._dirty = True
        self._down: Mouse | None = None
        self._last: Mouse | None = None
        self._dragged = False
        self._message_until = 0.0
        self.state = ViewState(hint=hint(recording=controls.seekable))

    def offer(self, frame: ViewFrame | None) -> None:
        """Take the newest frame; while a live source is paused it waits."""
        if frame is not None:
            self._waiting = frame
        frozen = self.state.paused and not self._controls.pausable and self._scene is not None
        if self._waiting is None or frozen:
            return
        self._take()

    def _take(self) -> None:
        frame, self._waiting = self._waiting, None
        if frame is None:
            return
        self._scene = self._renderer.scene(frame)
        duration = self._controls.duration_s
        if self._controls.seekable and duration is not None:
            now_s = frame.estimate.frame.media_time_s
            self.state = replace(self.state, position=Position(now_s, duration))
        self._dirty = True

    def changed(self) -> None:
        """Ask for a new picture."""
        self._dirty = True

    def picture(self, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"] | None:
        """Return the picture, BGR, or None when it has not changed since the last call."""
        if self.state.message and time.monotonic() > self._message_until:
            self.state, self._dirty = replace(self.state, message=""), True
        if not self._dirty and size == self._size:
            return None
        self._dirty, self._size = False, size
        if self._scene is None:
            return self._renderer.empty(size)
        self._picture = self._renderer.draw(self._scene, self.state, size)
        return self._picture

    def press(self, key: Key) -> None:
        """Do what a key does."""
        if key.recordings and not self._controls.seekable:
            self._say("only a recording that is not being saved can be searched")
        elif key.change is not None:
            self.state = key.change(self.state)
        elif key.command == "pause":
            self._pause(not self.state.paused)
        elif key.command == "step":
            self._step()
        elif key.command == "screenshot":
            self._screenshot()
        elif key.command in ("back", "forward") and self.state.position is not None:
            jump = -JUMP_S if key.command == "back" else JUMP_S
            self._seek(self.state.position.now_s + jump)
        self._dirty = True

    def mouse(self, event: Mouse) -> None:
        """Do what the mouse does."""
        if self._scene is None:
            return
        if event.kind == "down":
            self._down = self._last = event
            self._dragged = False
        elif event.kind == "drag" and self._down is not None and self._last is not None:
            self._drag(self._down, self._last, event)
            self._last = event
            self._dragged |= _apart(event, self._down) >= _CLICK_PX
        elif event.kind == "up" and self._down is not None:
            still = not self._dragged and _apart(event, self._down) < _CLICK_PX
            if still or self._on_timeline(self._down):
                self._click(self._scene, event if self._on_timeline(self._down) else self._down)
            self._down = None
        elif event.kind == "wheel" and self._layout().world.contains(event.x, event.y):
            orbit = self.state.orbit or self._default_orbit()
            self.state = replace(self.state, orbit=orbit.zoomed(1.1 ** float(event.wheel)))
            self._dirty = True

    def _layout(self) -> Layout:
        assert self._scene is not None
        return self._renderer.layout(self._scene, self.state, self._size)

    def _default_orbit(self) -> Orbit:
        world = self._layout().world
        return shoulder(world.width / world.height)

    def _on_timeline(self, event: Mouse) -> bool:
        layout = self._layout()
        return self.state.position is not None and layout.timeline.contains(event.x, event.y)

    def _drag(self, down: Mouse, last: Mouse, event: Mouse) -> None:
        world = self._layout().world
        if not world.contains(down.x, down.y):
            return
        right, lower = event.x - last.x, event.y - last.y
        orbit = self.state.orbit or self._default_orbit()
        if down.pan:
            orbit = orbit.panned(right / world.height, -lower / world.height)
        else:
            orbit = orbit.turned(-right * _DEG_PER_PX, lower * _DEG_PER_PX)
        self.state = replace(self.state, orbit=orbit)
        self._dirty = True

    def _click(self, scene: Scene, event: Mouse) -> None:
        layout = self._layout()
        if self._on_timeline(event) and self.state.position is not None:
            track = timeline_track(layout)
            share = float(np.clip((event.x - track.x) / max(track.width, 1), 0.0, 1.0))
            self._seek(share * self.state.position.duration_s)
            return
        camera = self._renderer.camera(scene, self.state, layout)
        person = person_at(scene, layout, self.state, camera, event.x, event.y)
        if person is not None and not person.followed:
            self._controls.follow(person.track_id)
            self._say(f"following person {person.track_id}")
            return
        joint = joint_at(scene, layout, self.state, camera, event.x, event.y)
        self.state = replace(self.state, joint=None if joint == self.state.joint else joint)
        self._dirty = True

    def _pause(self, on: bool) -> None:
        self.state = replace(self.state, paused=on)
        if self._controls.pausable:
            self._controls.pause(on)
        self._say("paused" if on else "")

    def _step(self) -> None:
        if not self.state.paused:
            self._pause(True)
        if self._controls.pausable:
            self._controls.step()
        else:
            self._take()

    def _seek(self, time_s: float) -> None:
        assert self.state.position is not None
        time_s = float(np.clip(time_s, 0.0, self.state.position.duration_s))
        self._controls.seek(time_s)
        # Drawn there at once, so that several presses add up before the first frame comes.
        self.state = replace(self.state, position=replace(self.state.position, now_s=time_s))
        self._dirty = True

    def _screenshot(self) -> None:
        if self._picture is None:
            return
        path = self._folder / time.strftime("penumbra-%Y%m%d-%H%M%S.png")
        ok, data = cv2.imencode(".png", self._picture)
        try:
            assert ok
            with path.open("xb") as file:
                file.write(data.tobytes())
        except OSError as error:
            self._say(f"screenshot: cannot be written ({error.strerror})")
        else:
            self._say(f"saved {path.name}")

    def _say(self, message: str) -> None:
        self.state = replace(self.state, message=message)
        self._message_until = time.monotonic() + _MESSAGE_S
        self._dirty = True


def _apart(a: Mouse, b: Mouse) -> float:
    """Return the distance between two events, px."""
    return float(np.hypot(a.x - b.x, a.y - b.y))
