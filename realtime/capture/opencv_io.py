"""Opens OpenCV captures the same way everywhere: quiet, upright, and with time limits."""

import os

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError

FALLBACK_FPS = 30.0


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr: what matters is said once, in our own words.

    OpenCV reads the FFmpeg level when it opens its first capture, not at import, so this is early
    enough. Somebody who sets `OPENCV_LOG_LEVEL` or `OPENCV_FFMPEG_LOGLEVEL` wants to see the noise
    and gets it.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.setLogLevel(0)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


def open_capture(
    target: str | int, backend: int, timeout_s: float | None = None
) -> cv2.VideoCapture:
    """A capture that may or may not have opened (`isOpened`).

    Args:
        target: path, address or camera index.
        backend: one of `cv2.CAP_*`.
        timeout_s: limit for opening and for each read; only FFmpeg knows it.
    """
    silence_opencv()
    if timeout_s is None:
        capture = cv2.VideoCapture(target, backend)
    else:
        limit_ms = int(timeout_s * 1000)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            limit_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            limit_ms,
        ]
        capture = cv2.VideoCapture(target, backend, limits)
    # Phones record lying on their side and write the turn beside the pictures; this backend ignores
    # it unless asked.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def nominal_fps(capture: cv2.VideoCapture) -> float | None:
    """Frames a second that the device or container claims, None where the claim is absent or
    absurd.
    """
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0.1 <= fps <= 1000.0 else None


def image_size(image: UInt8[np.ndarray, "H W 3"]) -> tuple[int, int]:
    """(width, height) in pixels."""
    return image.shape[1], image.shape[0]


def check_size(what: str, image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> None:
    """Refuse a picture of another size than the first one: intrinsics and buffers belong to one
    size.

    Raises:
        PenumbraError: the sizes differ.
    """
    if image_size(image) != size:
        width, height = image_size(image)
        raise PenumbraError(
            f"{what} is {width}x{height} px but the stream began with {size[0]}x{size[1]} px; "
            "give pictures of one size, or run once for each size"
        )
