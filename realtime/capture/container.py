"""What containers of video say about time and length, and how far it can be believed."""

import logging
import math
import struct
from pathlib import Path
from typing import BinaryIO

import cv2

from realtime.capture.opencv_io import open_capture

log = logging.getLogger(__name__)


class MediaClock:
    """Turns the time stamps of a container into strictly increasing seconds.

    A stamp that does not increase is replaced by the one before plus a frame period; the first such
    case is logged. So a container without stamps (they come out as zero, negative or not finite) is
    timed by frame number over fps.
    """

    def __init__(self, name: str, fps: float) -> None:
        self._name = name
        self._fps = fps
        self._warned = False
        self._last_s: float | None = None

    def stamp(self, container_ms: float) -> float:
        """Return the media time of the next frame, seconds, from the container's time stamp."""
        stamp_s = container_ms / 1000.0
        earliest_s = -math.inf if self._last_s is None else self._last_s
        if not (math.isfinite(stamp_s) and stamp_s >= 0.0 and stamp_s > earliest_s):
            stamp_s = 0.0 if self._last_s is None else self._last_s + 1.0 / self._fps
            self._warn(stamp_s)
        self._last_s = stamp_s
        return stamp_s

    def _warn(self, stamp_s: float) -> None:
        if not self._warned:
            log.warning(
                "'%s': time stamps are missing or do not increase at %.3f s; "
                "such frames are timed at %.4g fps",
                self._name,
                stamp_s,
                self._fps,
            )
            self._warned = True


def is_cut_short(path: Path) -> bool:
    """Whether an MP4/MOV or AVI file is shorter than its header says; False for other formats."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return 8 + struct.unpack("<I", head[4:8])[0] > length
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            return False
        return _boxes_run_out(file, length)


def frame_tolerance(announced: int) -> float:
    """Return how many frames headers are wrong by in whole files."""
    return max(3.0, 0.02 * announced)


def holds_more(path: Path, decoded_ms: float, fps: float, announced: int) -> bool:
    """Whether a file holds more than what could be decoded.

    Otherwise its header only announces too much, as a lossless cut leaves it.

    Args:
        path: the file.
        decoded_ms: the container's time of the last frame that was decoded.
        fps: frames per second.
        announced: number of frames by the header.
    """
    packets = open_capture(str(path), cv2.CAP_FFMPEG)
    packets.set(cv2.CAP_PROP_FORMAT, -1)
    end_ms, size = 0.0, 0
    while packets.grab():
        end_ms = max(end_ms, float(packets.get(cv2.CAP_PROP_POS_MSEC)))
        size += packets.retrieve()[1].size
    packets.release()
    undecoded = (end_ms - decoded_ms) / 1000.0 * fps
    return undecoded > frame_tolerance(announced) or size < path.stat().st_size / 2


def _boxes_run_out(file: BinaryIO, length: int) -> bool:
    """Whether a top-level box of an ISO media file passes the end, or the index is missing."""
    offset, kinds = 0, set()
    while offset + 8 <= length:
        file.seek(offset)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:  # a 64-bit size follows
            wide = file.read(8)
            size = struct.unpack(">Q", wide)[0] if len(wide) == 8 else length + 1
        elif size == 0:  # "until the end of the file"
            size = length - offset
        if size < 8 or offset + size > length:
            return True
        kinds.add(kind)
        offset += size
    return b"moov" not in kinds
