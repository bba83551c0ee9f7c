"""When each frame of a local video is displayed, from its packets alone, without decoding.

    times = display_times(path, first_ms)       # None where the packets do not tell
    found = land(capture, times, frame_at(times, time_ms))

So a place in a long video is found at once, under the number that the frame has when the video is
read from its beginning, also where the frame rate varies.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from realtime.capture.opencv_io import open_capture

_SAME_MS = 0.6
"""Containers round their stamps, to 1 ms at worst."""
_BACK = (0, 2, 16, 128)
"""By how many frames a place is missed on purpose, one try after the other."""


def display_times(path: Path, first_ms: float) -> Float[np.ndarray, "N"] | None:
    """Return the time stamps of the frames in the order in which they are displayed, ms.

    Packets are stored in the order in which they are decoded; each carries the time at which its
    image is displayed.

    Args:
        path: The video.
        first_ms: Time stamp of the first frame that is displayed. Lossless trimming leaves packets
            before it, which are only decoded.

    Returns:
        Strictly increasing; None where stamps are missing or occur twice.
    """
    packets = open_capture(str(path), cv2.CAP_FFMPEG)
    packets.set(cv2.CAP_PROP_FORMAT, -1)
    stamps = []
    while packets.grab():
        stamps.append(float(packets.get(cv2.CAP_PROP_POS_MSEC)))
    packets.release()
    times = np.sort(np.array(stamps))
    times = times[times >= first_ms - 1e-3]
    whole = len(times) and np.isfinite(times).all() and (np.diff(times) > 0).all()
    return times if whole and first_ms >= 0.0 else None


def frame_at(times: Float[np.ndarray, "N"], time_ms: float) -> int:
    """Return the number of the frame that is displayed at a time; N after the last one's."""
    number = int(np.searchsorted(times, time_ms + 1e-3, side="right")) - 1
    last_ms = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return len(times) if time_ms >= times[-1] + last_ms else max(0, number)


def land(
    capture: cv2.VideoCapture, times: Float[np.ndarray, "N"], number: int
) -> tuple[int, UInt8[np.ndarray, "H W 3"]] | None:
    """Go to a frame, or to the next one that can be decoded.

    FFmpeg goes to the key frame before a time and decodes from there; where rates vary, OpenCV may
    then stop a few frames off. So the time stamp of what it finds is compared with the known ones,
    and the place is approached from farther back if need be.

    Returns:
        Number of the frame, and its image; None where the stamps do not agree.
    """
    for back in _BACK:
        if not capture.set(cv2.CAP_PROP_POS_MSEC, times[max(0, number - back)]):
            return None
        came_from_before = number == 0
        while capture.grab():
            stamp_ms = float(capture.get(cv2.CAP_PROP_POS_MSEC))
            found = int(np.abs(times - stamp_ms).argmin())
            if abs(times[found] - stamp_ms) > _SAME_MS:
                return None
            if found == number or (found > number and came_from_before):
                ok, image = capture.retrieve()
                return (found, image) if ok else None
            if found > number:
                break
            came_from_before = True
    return None
