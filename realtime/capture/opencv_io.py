"""Opens OpenCV captures the same way everywhere: quiet, upright, and with time limits."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from realtime.capture.mjpeg import Capture

FALLBACK_FPS = 30.0
POLL_S = 0.1
T = TypeVar("T")


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: our errors and logs say what matters.

    OpenCV reads the FFmpeg level when it opens its first capture, not at import, so this is early
    enough. A user who sets `OPENCV_LOG_LEVEL` or `OPENCV_FFMPEG_LOGLEVEL` still gets the messages.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.setLogLevel(0)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


def open_capture(
    target: str | int, backend: int, timeout_s: float | None = None
) -> cv2.VideoCapture:
    """Return a capture that may or may not have opened (`isOpened`).

    Args:
        target: Path, address or camera index.
        backend: One of `cv2.CAP_*`.
        timeout_s: Limit for opening and for each read; only FFmpeg supports it.
    """
    silence_opencv()
    if timeout_s is None:
        capture = cv2.VideoCapture(target, backend)
    else:
        limit_ms = int(timeout_s * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        capture = interruptible(lambda: cv2.VideoCapture(target, backend, limits))
    # Phones record lying on their side and store the rotation; FFmpeg ignores it unless asked.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def interruptible(call: Callable[[], T]) -> T:
    """Return what `call` returns, and handle signals while it waits for a network.

    Python runs signal handlers in the main thread, and not before OpenCV returns to it.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # raised in the main thread
            done.set_exception(error)

    threading.Thread(target=work, name="open", daemon=True).start()
    while not done.done():
        wait([done], POLL_S)
    return done.result()


def nominal_fps(capture: Capture) -> float | None:
    """Return the frames a second that the device or container states, or None if implausible."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0.1 <= fps <= 1000.0 else None


def image_size(image: UInt8[np.ndarray, "H W 3"]) -> tuple[int, int]:
    """Return (width, height) in pixels."""
    return image.shape[1], image.shape[0]


def check_size(what: str, image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> None:
    """Refuse an image of another size than the first one, because intrinsics belong to one size.

    Raises:
        PenumbraError: The sizes differ.
    """
    if image_size(image) != size:
        raise another_size(what, image_size(image), size)


def another_size(what: str, found: tuple[int, int], size: tuple[int, int]) -> PenumbraError:
    """Return the error for an image of size `found` in a stream of another `size`, px."""
    return PenumbraError(
        f"{what}: is {found[0]}x{found[1]} px but the stream began with {size[0]}x{size[1]} px; "
        "give images of one size, or run once for each size."
    )
