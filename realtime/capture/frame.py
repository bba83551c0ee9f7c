"""One picture with its time stamps, and the slot that hands the newest one from the capture thread
to the pipeline.
"""

import threading
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from engines.types import FrameInfo


@dataclass(frozen=True)
class Frame:
    """One picture of a source."""

    image: UInt8[np.ndarray, "H W 3"]
    """BGR. The consumer owns it: a source never writes into it again."""
    info: FrameInfo


class LatestSlot:
    """Holds one frame. A newer frame replaces one that nobody has looked at, and that loss is
    counted.

    So a slow reader loses frames instead of falling behind: latency never grows. One writer, one
    reader.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unseen: Frame | None = None
        self._dropped = 0
        self._closed = False
        self._error: BaseException | None = None

    @property
    def dropped(self) -> int:
        """Frames that were replaced before the reader took them."""
        with self._changed:
            return self._dropped

    def put(self, frame: Frame) -> None:
        """Offer a frame. Never blocks on the reader."""
        with self._changed:
            assert not self._closed, "put() after close()"
            self._dropped += self._unseen is not None
            self._unseen = frame
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> Frame | None:
        """Take the newest frame that was not taken before, waiting for one if need be.

        Returns:
            The frame, which says how many were replaced so far, or None at the end of the stream. A
            frame that is waiting is handed out before the end is told.

        Raises:
            TimeoutError: nothing new came within `timeout_s`.
            BaseException: whatever the writer passed to `close`.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._unseen is not None or self._closed, timeout_s
            ):
                raise TimeoutError(f"no new frame within {timeout_s} s")
            if self._unseen is not None:
                frame, self._unseen = self._unseen, None
                return replace(frame, info=replace(frame.info, dropped=self._dropped))
            if self._error is not None:
                raise self._error
            return None

    def close(self, error: BaseException | None = None) -> None:
        """End the stream. The reader gets what is waiting, then `error`, or None without an
        error.
        """
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()
