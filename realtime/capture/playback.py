"""Pause, single steps and jumps of a recording, asked for by a window.

    playback = Playback()
    source = Played(recording, playback)     read by the thread that reads sources
    playback.pause(True); playback.step(); playback.seek(12.0)     from any thread

A camera cannot wait, so live sources are never played back.
"""

import threading
from dataclasses import replace

from realtime.capture.frame import Frame
from realtime.capture.sources import Recording


class Playback:
    """What the user has asked for; every method returns at once but `hold`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._steps = 0
        self._target_s: float | None = None
        self._ended = False
        self._shots = 0

    def pause(self, on: bool) -> None:
        """Hold the recording or let it go on."""
        with self._changed:
            self._paused = on
            self._steps = 0
            self._changed.notify_all()

    def step(self) -> None:
        """Let one more frame pass while the recording is held."""
        with self._changed:
            self._steps += 1
            self._changed.notify_all()

    def seek(self, time_s: float) -> None:
        """Go to a time of the recording, s; while it is held, one frame from there passes."""
        with self._changed:
            self._target_s = time_s
            self._steps = 1
            self._changed.notify_all()

    def end(self) -> None:
        """Hold nothing from now on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_jump(self) -> bool:
        """Wait at the end of the recording until the user goes elsewhere; False to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._target_s is not None)
            return not self._ended

    def hold(self, closed: threading.Event) -> float | None:
        """Wait until a frame may pass; return where to go first, s, or None to go on.

        Args:
            closed: Ends the wait as well, after `wake`.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or closed.is_set() or not self._paused or self._steps > 0
            )
            if self._ended or closed.is_set():
                return None
            self._steps = max(0, self._steps - 1)
            target_s, self._target_s = self._target_s, None
            return target_s

    def new_shot(self) -> int:
        """Return the number of a shot that begins; only for the thread that reads."""
        self._shots += 1
        return self._shots - 1

    def wake(self) -> None:
        """Let who waits look again."""
        with self._changed:
            self._changed.notify_all()


class Played:
    """A recording that waits and jumps as its playback says.

    The shots are those of the playback: a recording that was opened again counts its own from the
    beginning, and a photo has the same number each time that it is gone to.
    """

    live = False

    def __init__(self, source: Recording, playback: Playback) -> None:
        """Take the recording, which is owned from now on."""
        self.name = source.name
        self.remote = source.remote
        self.fps = source.fps
        self.size = source.size
        self._source = source
        self._playback = playback
        self._closed = threading.Event()
        self._shot = 0
        self._source_shot: int | None = None  # the newest; None where the next frame begins a shot

    @property
    def length(self) -> int | None:
        """Number of frames; None where it is not known."""
        return self._source.length

    def read(self) -> Frame | None:
        """Return the next frame as soon as it may pass; None at the end."""
        target_s = self._playback.hold(self._closed)
        if target_s is not None:
            self.seek(target_s)
        frame = self._source.read()
        if frame is None:
            return None
        if frame.info.shot != self._source_shot:
            self._source_shot = frame.info.shot
            self._shot = self._playback.new_shot()
        return replace(frame, info=replace(frame.info, shot=self._shot))

    def seek(self, time_s: float) -> None:
        """Go to a time of the recording, s; only for the thread that reads."""
        self._source_shot = None
        self._source.seek(time_s)

    def close(self) -> None:
        """Free the recording, and let a read that waits return."""
        self._closed.set()
        self._playback.wake()
        self._source.close()

    def __enter__(self) -> "Played":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
