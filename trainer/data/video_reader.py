"""The frames of a video file that is read to its end."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError


def read_frames(video: Path, argument: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield every frame, BGR.

    Args:
        video: file.
        argument: what the user called it, for the error message.

    Raises:
        PenumbraError: if it cannot be read.
    """
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise PenumbraError(f"{argument}: cannot read {video}; is it a video file?")
        while (grabbed := capture.read())[0]:
            yield grabbed[1].astype(np.uint8, copy=False)
    finally:
        capture.release()


def frame_rate(video: Path, argument: str) -> float:
    """Return how many frames a second a video file says that it has.

    Args:
        video: file.
        argument: what the user called it, for the error message.

    Raises:
        PenumbraError: if it cannot be read, or does not say.
    """
    capture = cv2.VideoCapture(str(video))
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) if capture.isOpened() else 0.0
    finally:
        capture.release()
    if not 0 < rate < np.inf:
        raise PenumbraError(f"{argument}: {video} has no frame rate; is it a video file?")
    return rate
