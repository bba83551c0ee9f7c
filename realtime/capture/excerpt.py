"""A part of a recording, cut out by time: `start` and `end`."""

import math

from engines.errors import PenumbraError
from realtime.capture.frame import Frame
from realtime.capture.sources import Recording

_ROUNDING_S = 0.0005
"""Containers round their time stamps, to 1 ms at worst."""


class Excerpt:
    """The frames of a recording whose media time is in [start, end), seconds.

    They keep the numbers and the times that they have in the recording.
    """

    live = False

    def __init__(self, source: Recording, start_s: float | None, end_s: float | None) -> None:
        """Go to the start.

        Args:
            source: The recording, which has not been read from yet; owned from now on.
            start_s: The beginning; that of the recording when None.
            end_s: The end; that of the recording when None.

        Raises:
            PenumbraError: The recording ends before `start_s`.
        """
        self.name = source.name
        self.remote = source.remote
        self.fps = source.fps
        self.size = source.size
        self._source = source
        self._start_s = start_s or 0.0
        self._end_s = math.inf if end_s is None else end_s
        self._first = self._go_to_start()

    @property
    def length(self) -> int | None:
        """Number of frames, from the nominal frame rate."""
        whole = self._source.length
        if whole is None and math.isinf(self._end_s):
            return None
        end_s = min(self._end_s, math.inf if whole is None else whole / self.fps)
        return max(1, round((end_s - self._start_s) * self.fps))

    def read(self) -> Frame | None:
        """Return the next frame; None at the end of the excerpt."""
        frame, self._first = self._first or self._source.read(), None
        if frame is None or frame.info.media_time_s >= self._end_s - _ROUNDING_S:
            return None
        return frame

    def seek(self, time_s: float) -> None:
        """Go to the frame that is displayed at a time of the recording, s, within the excerpt."""
        self._first = None
        self._source.seek(min(max(time_s, self._start_s), self._end_s))

    def close(self) -> None:
        """Free the recording."""
        self._source.close()

    def __enter__(self) -> "Excerpt":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _go_to_start(self) -> Frame | None:
        if self._start_s <= 0.0:
            return None
        self._source.seek(self._start_s)
        frame = self._source.read()
        while frame is not None and frame.info.media_time_s < self._start_s - _ROUNDING_S:
            frame = self._source.read()
        if frame is None:
            length = self._source.length
            long = "" if length is None else f", which is {length / self.fps:.1f} s long"
            self.close()
            raise PenumbraError(
                f"start: {self._start_s:g} s is behind the end of '{self.name}'{long}; give an "
                "earlier time."
            )
        return frame
