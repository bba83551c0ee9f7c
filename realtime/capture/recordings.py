"""Sources that end: a video file (local or at an address) and a folder of images.

A video that stops before the number of frames in its header is delivered as far as it goes. After
the last readable frame, `read` raises when the container itself proves that bytes are missing (a
cut download), and otherwise only warns: lossless trimming leaves headers that count frames which
are not meant to be displayed.
"""

import logging
import math
import re
import struct
import threading
import time
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from engines.types import FrameInfo
from realtime.capture.frame import Frame
from realtime.capture.opencv_io import (
    FALLBACK_FPS,
    check_size,
    image_size,
    nominal_fps,
    open_capture,
    silence_opencv,
)

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
RAW_MJPEG_SUFFIXES = (".mjpeg", ".mjpg")  # begin like an image, but many follow


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


class VideoFile:
    """A recording that OpenCV's FFmpeg can decode, local or at an address."""

    live = False

    def __init__(self, name: str, capture: cv2.VideoCapture, cut_short: bool = False) -> None:
        """
        Args:
            name: How messages call it.
            capture: Open; owned by this object from now on.
            cut_short: The container is known to have lost its end.
        """
        self.name = name
        self._capture = capture
        # A capture must not be released while another thread reads it.
        self._decoder = threading.Lock()
        self._closed = False
        self._cut_short = cut_short
        self._announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = nominal_fps(capture)
        if fps is None:
            log.warning("'%s' does not say its frame rate; %g fps is assumed", name, FALLBACK_FPS)
        self.fps = fps or FALLBACK_FPS
        self._media_clock = MediaClock(name, self.fps)
        self._count = 0
        # Decoded now, so that a video without any readable frame is refused at once.
        self._first = self._decode()
        if self._first is None:
            capture.release()
            raise PenumbraError(
                f"'{name}': opens as a video but no frame can be decoded; {_repair(cut_short)}."
            )
        self.size = image_size(self._first)

    @classmethod
    def open_local(cls, path: Path) -> "VideoFile":
        """Open a video file.

        Raises:
            PenumbraError: It is missing, empty, an image, truncated before its index, or no video.
        """
        if not path.exists():
            raise PenumbraError(f"video '{path}': does not exist; check the path.")
        if not path.is_file():
            raise PenumbraError(
                f"video '{path}': is not a file; give a video file or a folder of images."
            )
        if path.stat().st_size == 0:
            raise PenumbraError(f"video '{path}': is empty (0 bytes); copy or download it again.")
        silence_opencv()
        if path.suffix.lower() not in RAW_MJPEG_SUFFIXES and cv2.haveImageReader(str(path)):
            raise PenumbraError(
                f"video '{path}': is an image; put it into a folder and give the folder instead."
            )
        cut_short = is_cut_short(path)
        capture = open_capture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise PenumbraError(f"video '{path}': cannot be read as a video; {_repair(cut_short)}.")
        return cls(str(path), capture, cut_short)

    def read(self) -> Frame | None:
        """Return the next frame; None after the last.

        Raises:
            PenumbraError: The frame has another size than the first, or the file was cut before
                its last frame.
        """
        before_ns = time.monotonic_ns()
        if self._first is not None:
            image, self._first = self._first, None
        else:
            image = self._decode()
        if image is None:
            if not self._closed:
                self._check_complete()
            return None
        t_capture_ns = (before_ns + time.monotonic_ns()) // 2
        check_size(f"frame {self._count} of '{self.name}'", image, self.size)
        media_time_s = self._media_clock.stamp(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)))
        frame = Frame(image, FrameInfo(self._count, t_capture_ns, media_time_s))
        self._count += 1
        return frame

    def close(self) -> None:
        """Free the file; a read in another thread ends first."""
        self._closed = True
        with self._decoder:
            self._capture.release()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode(self) -> UInt8[np.ndarray, "H W 3"] | None:
        with self._decoder:
            ok, image = self._capture.read()
        return image if ok else None

    def _check_complete(self) -> None:
        missing = self._announced - self._count
        if missing > 0 and self._cut_short:
            raise PenumbraError(
                f"'{self.name}': is truncated: it ends after {self._count} of {self._announced} "
                "frames; those were processed, for the rest copy or download it again."
            )
        if missing > max(3, 0.02 * self._announced):
            log.warning(
                "'%s' ends after %d of about %d frames", self.name, self._count, self._announced
            )


def _repair(cut_short: bool) -> str:
    if cut_short:
        return "it is truncated (its end is missing), so copy or download it again"
    return "it is damaged or not a video, so try to play it, or convert it with ffmpeg"


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Return a sort key under which `image10` follows `image9`."""
    parts = re.split(r"(\d+)", path.name.lower())
    # split() with a group alternates text and digits, so text is only ever compared with text.
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


class ImageFolder:
    """The JPEG, PNG and BMP images of a folder in natural order, as a recording of a fixed rate.

    An image that cannot be read ends the run with an error that names it: a silent gap would shift
    every later frame.
    """

    live = False

    def __init__(self, path: Path, fps: float = FALLBACK_FPS) -> None:
        if not path.is_dir():
            raise PenumbraError(f"folder '{path}': does not exist; check the path.")
        assert fps > 0.0, f"fps = {fps}"
        self.name = str(path)
        self.fps = fps
        self._paths = sorted(
            (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_key
        )
        if not self._paths:
            raise PenumbraError(
                f"folder '{path}': holds no images ({', '.join(IMAGE_SUFFIXES)}); check the path."
            )
        self._next = 0
        silence_opencv()
        self.size = image_size(_read_image(self._paths[0]))

    def read(self) -> Frame | None:
        """Return the next image; None after the last.

        Raises:
            PenumbraError: The image cannot be read or has another size than the first.
        """
        if self._next == len(self._paths):
            return None
        index, path = self._next, self._paths[self._next]
        before_ns = time.monotonic_ns()
        image = _read_image(path)
        t_capture_ns = (before_ns + time.monotonic_ns()) // 2
        check_size(f"image '{path}'", image, self.size)
        self._next += 1
        return Frame(image, FrameInfo(index, t_capture_ns, index / self.fps))

    def close(self) -> None:
        """Nothing is held open between reads."""

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    try:
        # Not cv2.imread: it cannot open non-ASCII paths on Windows and gives no reason.
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise PenumbraError(
            f"image '{path}': cannot be opened ({error.strerror}); make it readable."
        ) from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise PenumbraError(f"image '{path}': cannot be decoded; repair or remove it.")
    return image
