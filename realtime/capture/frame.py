"""One image with its time stamps, and the slot that passes the newest to the pipeline."""

import threading
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from engines.camera import Intrinsics
from engines.types import FrameInfo


@dataclass(frozen=True)
class Frame:
    """One image of a source."""

    image: UInt8[np.ndarray, "H W 3"]
    """BGR. The consumer owns it: a source never writes into it again."""
    info: FrameInfo
    intrinsics: Intrinsics | None = None
    """The camera that took the image, of sources whose frames are not all of one camera and size
    (photos); None: the camera of the whole source."""


class NoNewFrame(Exception):
    """Nothing came in time; no `TimeoutError`, which a source may raise itself."""


class LatestSlot:
    """Holds one frame; a newer frame replaces one that was not taken, and that loss is counted.

    So a slow reader loses frames instead of falling behind: latency never grows. There is one
    writer and one reader.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Frame | None = None
        self._dropped = 0
        self._closed = False
        self._error: BaseException | None = None

    @property
    def dropped(self) -> int:
        """Number of frames that were replaced before the reader took them."""
        with self._changed:
            return self._dropped

    def put(self, frame: Frame) -> None:
        """Offer a frame; this never blocks on the reader."""
        with self._changed:
            assert not self._closed, "put() after close()"
            self._dropped += self._waiting is not None
            self._waiting = frame
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> Frame | None:
        """Take the newest frame that was not taken before, waiting for one if need be.

        Returns:
            The frame, which says how many were replaced so far, or None at the end of the stream. A
            waiting frame comes before the end.

        Raises:
            NoNewFrame: Nothing new came within `timeout_s`.
            BaseException: Whatever the writer passed to `close`.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._waiting is not None or self._closed, timeout_s
            ):
                raise NoNewFrame(f"no new frame within {timeout_s} s")
            if self._waiting is not None:
                frame, self._waiting = self._waiting, None
                return replace(frame, info=replace(frame.info, dropped=self._dropped))
            if self._error is not None:
                raise self._error
            return None

    def close(self, error: BaseException | None = None) -> None:
        """End the stream: the reader gets the waiting frame, then `error`, or None without one."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()
