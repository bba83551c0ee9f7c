"""Sources that do not end: a webcam or a network stream, with reconnection."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from engines.types import FrameInfo
from realtime.capture.frame import Frame
from realtime.capture.mjpeg import Capture, MjpegStream
from realtime.capture.opencv_io import (
    FALLBACK_FPS,
    check_size,
    image_size,
    interruptible,
    nominal_fps,
)
from realtime.timing import NS_PER_S

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 0.2
MAX_CORRUPT = 30  # images in a row that cannot be decoded, before the stream counts as broken


@dataclass(frozen=True)
class Retry:
    """When a broken stream is opened again."""

    first_s: float = 1.0
    """Wait before the first try."""
    factor: float = 1.5
    """Ratio of each wait to the one before."""
    max_s: float = 10.0
    """Longest wait."""
    tries: int = 10
    """Number of tries in a row before the stream is given up."""

    def waits_s(self) -> Iterator[float]:
        """Yield the wait before each try."""
        for attempt in range(self.tries):
            yield min(self.max_s, self.first_s * self.factor**attempt)


class LiveSource:
    """Reads a capture as fast as it delivers, and opens it again when it breaks.

    While a stream is gone `read` blocks; it never returns an old image again. Frame numbers
    continue after the gap.
    """

    live = True
    remote = True
    length = None

    def __init__(
        self, name: str, connect: Callable[[], Capture], retry: Retry | None = None
    ) -> None:
        """Connect, and take a first image.

        Args:
            name: How messages call it.
            connect: Opens the device or address, or raises PenumbraError. It is called now and
                after each break.
            retry: When it is opened again.
        """
        self.name = name
        self._connect = connect
        self._retry = retry or Retry()
        self._closing = threading.Event()
        # A capture must not be released while another thread reads it.
        self._device = threading.Lock()
        self._count = 0
        self._skipped = 0
        self._first_ns: int | None = None
        capture, image = interruptible(self._connect_and_probe)
        self._capture: Capture | None = capture
        self.fps = nominal_fps(capture) or FALLBACK_FPS
        self.size = image_size(image)

    def read(self) -> Frame | None:
        """Wait for the next whole image; None once the source is closed.

        Raises:
            PenumbraError: The stream broke and did not come back, or its images changed size.
        """
        while not self._closing.is_set():
            grabbed = self._grab()
            if grabbed is not None:
                return self._stamp(*grabbed)
            if not self._closing.is_set():
                self._reconnect()
        self._release()  # `close` may not have waited for the read to return
        return None

    def close(self) -> None:
        """Free the device, and end a wait in another thread.

        A read that cannot be interrupted frees the device when it returns.
        """
        self._closing.set()
        capture = self._capture
        if isinstance(capture, MjpegStream):
            capture.interrupt()
        self._release(CLOSE_TIMEOUT_S)

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _grab(self) -> tuple[int, UInt8[np.ndarray, "H W 3"]] | None:
        """Return the middle of the grab (monotonic ns) and the image; None from a broken stream."""
        with self._device:
            if self._capture is None:
                return None
            for _ in range(MAX_CORRUPT):
                before_ns = time.monotonic_ns()
                if not self._capture.grab() or self._closing.is_set():
                    return None
                after_ns = time.monotonic_ns()
                ok, image = self._capture.retrieve()
                if ok and image is not None:
                    return (before_ns + after_ns) // 2, image
                self._skip()
        return None

    def _skip(self) -> None:
        if self._skipped == 0:
            log.warning("'%s': image %d is broken; such images are skipped", self.name, self._count)
        self._skipped += 1
        self._count += 1

    def _stamp(self, t_capture_ns: int, image: UInt8[np.ndarray, "H W 3"]) -> Frame:
        check_size(f"frame {self._count} of '{self.name}'", image, self.size)
        if self._first_ns is None:
            self._first_ns = t_capture_ns
        media_time_s = (t_capture_ns - self._first_ns) / NS_PER_S
        info = FrameInfo(self._count, t_capture_ns, media_time_s, skipped=self._skipped)
        self._count += 1
        return Frame(image, info)

    def _reconnect(self) -> None:
        self._release()
        for attempt, wait_s in enumerate(self._retry.waits_s(), start=1):
            tries = self._retry.tries
            log.warning("'%s' is lost; try %d of %d in %.1f s", self.name, attempt, tries, wait_s)
            if self._closing.wait(wait_s):
                return
            try:
                capture, _ = self._connect_and_probe()
            except PenumbraError as error:
                log.info("%s", error)
                continue
            with self._device:
                self._capture = capture
            log.warning("'%s' is back", self.name)
            return
        raise PenumbraError(
            f"'{self.name}': was lost after {self._count} frames and did not come back in "
            f"{self._retry.tries} tries; check the cable, the power or the network."
        )

    def _connect_and_probe(self) -> tuple[Capture, UInt8[np.ndarray, "H W 3"]]:
        """Open and take one whole image, which proves that it works.

        It may be older than the connection, so it is not used.
        """
        capture = self._connect()
        for _ in range(MAX_CORRUPT):
            if not capture.grab():
                break
            ok, image = capture.retrieve()
            if ok and image is not None:
                return capture, image
        capture.release()
        raise PenumbraError(
            f"'{self.name}': opens but delivers no image; check that nothing else is using it."
        )

    def _release(self, timeout_s: float = -1.0) -> None:
        if not self._device.acquire(timeout=timeout_s):
            return
        try:
            if self._capture is not None:
                self._capture.release()
                self._capture = None
        finally:
            self._device.release()
