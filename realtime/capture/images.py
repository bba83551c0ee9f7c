"""Recordings that are images one after the other: a folder of a video's frames, raw motion JPEG."""

import logging
import math
import mmap
import re
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError
from engines.printable import printable
from engines.types import FrameInfo
from realtime.capture import jpeg
from realtime.capture.frame import Frame
from realtime.capture.opencv_io import (
    FALLBACK_FPS,
    check_size,
    image_size,
    silence_opencv,
)

log = logging.getLogger(__name__)

MJPEG_SUFFIXES = (".mjpeg", ".mjpg")
MJPEG_FPS = 25.0


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Return a sort key under which `image10` follows `image9`."""
    parts = re.split(r"(\d+)", path.name.lower())
    # split() with a group alternates text and digits, so text is only ever compared with text.
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


class ImageFolder:
    """Images in the given order, as a recording of a fixed rate.

    An image that is missing, broken or of another size ends the run with an error that names it: in
    a folder that can be repaired.
    """

    live = False
    remote = False

    def __init__(self, name: str, paths: Sequence[Path], fps: float = FALLBACK_FPS) -> None:
        """Decode the first image, for its size.

        Args:
            name: How messages call the folder.
            paths: The images, at least one.
            fps: Images per second.

        Raises:
            PenumbraError: The first image cannot be read.
        """
        assert paths and fps > 0.0, f"fps = {fps}"
        self.name = printable(name)
        self.fps = fps
        self._paths = tuple(paths)
        self._next = 0
        self._shot = 0
        silence_opencv()
        self.size = image_size(_read_image(self._paths[0]))

    @property
    def length(self) -> int:
        """Number of images."""
        return len(self._paths)

    def seek(self, time_s: float) -> None:
        """Go to the image that is displayed at a time, s; the next `read` returns it."""
        self._next = min(max(0, math.floor(time_s * self.fps + 1e-6)), self.length)
        self._shot += 1

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
        info = FrameInfo(index, t_capture_ns, index / self.fps, shot=self._shot)
        return Frame(image, info)

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
    try:
        if data[:2].tobytes() == b"\xff\xd8":
            return jpeg.decode(data.tobytes())
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (jpeg.BrokenImage, cv2.error):  # OpenCV raises for sizes that it does not allocate
        image = None
    if image is None:
        raise PenumbraError(f"image '{path}': cannot be decoded; repair or remove it.")
    return image


class MjpegFile:
    """A file of raw motion JPEG: JPEGs one after the other, without time stamps.

    Broken ones are skipped and counted.
    """

    live = False
    remote = False
    length = None
    """How many there are is known only at the end."""

    def __init__(self, path: Path) -> None:
        """Open the file and decode its first whole image.

        Raises:
            PenumbraError: It cannot be opened, or holds no whole JPEG.
        """
        self.name = printable(str(path))
        self.fps = MJPEG_FPS
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise PenumbraError(
                f"video '{self.name}': cannot be read ({error}); give another file."
            ) from error
        self._parts = jpeg.split(self._data)
        self._count = 0
        self._skipped = 0
        self._shot = 0
        self._first = self._decode_next()
        if self._first is None:
            self._data.close()
            raise PenumbraError(f"video '{self.name}': holds no whole JPEG; give another file.")
        self.size = image_size(self._first)
        log.warning("'%s': time stamps are missing; its frames are timed at %g fps", path, self.fps)

    def read(self) -> Frame | None:
        """Return the next whole image; None after the last.

        Raises:
            PenumbraError: It has another size than the first.
        """
        before_ns = time.monotonic_ns()
        image, self._first = self._first, None
        if image is None:
            image = self._decode_next()
        if image is None:
            return None
        t_capture_ns = (before_ns + time.monotonic_ns()) // 2
        check_size(f"frame {self._count} of '{self.name}'", image, self.size)
        media_time_s = self._count / self.fps
        info = FrameInfo(
            self._count, t_capture_ns, media_time_s, skipped=self._skipped, shot=self._shot
        )
        self._count += 1
        return Frame(image, info)

    def seek(self, time_s: float) -> None:
        """Go to the image that is displayed at a time, s; the next `read` returns it."""
        self._parts = jpeg.split(self._data)
        self._first = None
        self._shot += 1
        self._count = 0
        while self._count < math.floor(time_s * self.fps + 1e-6) and next(self._parts, None):
            self._count += 1

    def close(self) -> None:
        """Free the file with the object: another thread may be reading it."""

    def __enter__(self) -> "MjpegFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode_next(self) -> UInt8[np.ndarray, "H W 3"] | None:
        for start, end, whole in self._parts:
            if whole:
                try:
                    return jpeg.decode(self._data[start:end])
                except jpeg.BrokenImage:
                    pass
            if not self._skipped:
                log.warning(
                    "'%s': frame %d is broken; such frames are skipped", self.name, self._count
                )
            self._skipped += 1
            self._count += 1
        return None
