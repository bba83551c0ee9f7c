"""Photos: images that have nothing to do with each other, of any size, each with its own camera.

A photo that cannot be read is named, skipped and counted. Whether a folder holds photos or the
frames of a video is decided by `why_photos`.
"""

import contextlib
import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from engines import camera
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.printable import printable
from engines.types import FrameInfo
from realtime.capture.frame import Frame
from realtime.capture.photo_file import PhotoHeader, decode, read_header

log = logging.getLogger(__name__)

PHOTOS_PER_S = 0.5
"""How fast photos follow each other where they are shown or recorded."""

CameraOf = Callable[[tuple[int, int], float | None], Intrinsics]
"""The camera of an image: its size (width, height), px, and the focal length in px that the image
itself states, if any."""


def stated_camera(size: tuple[int, int], focal_px: float | None) -> Intrinsics:
    """The camera that an image states; without one, the assumed field of view."""
    if focal_px is None:
        return camera.from_fov(size)
    return camera.from_focal(size, focal_px, source="EXIF")


class Photos:
    """Photos one after the other, each a shot of its own."""

    live = False
    remote = False

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        per_s: float = PHOTOS_PER_S,
        camera_of: CameraOf = stated_camera,
    ) -> None:
        """Read the headers, and decode the first photo that can be read.

        Args:
            name: How messages call them all.
            paths: At least one.
            per_s: Photos per second.
            camera_of: Says which camera took each.

        Raises:
            PenumbraError: None of them can be read, or `camera_of` refuses one.
        """
        assert paths and per_s > 0.0
        self.name = printable(name)
        self.fps = per_s
        self.paths = tuple(paths)
        """Their files; the number of a frame is an index into them."""
        self._headers = read_headers(paths)
        self._cameras = {
            path: camera_of(header.size, header.focal_px) for path, header in self._headers.items()
        }
        self._next = 0
        self._skipped = 0
        self._first = self._decode_next()
        if self._first is None:
            raise PenumbraError(
                f"photos '{self.name}': none of the {len(paths)} can be read; repair them."
            )
        self.size = self._first[1].size
        """(width, height) of the first, px; the `intrinsics` of each frame have its own."""
        _log_cameras(list(self._headers.values()), list(self._cameras.values()))
        _log_left_out(self._headers)

    @property
    def cameras(self) -> dict[int, Intrinsics]:
        """By frame, the camera of each photo that has a header."""
        numbered = enumerate(self.paths)
        return {i: self._cameras[path] for i, path in numbered if path in self._cameras}

    @property
    def length(self) -> int:
        """Number of photos, unreadable ones included."""
        return len(self.paths)

    def read(self) -> Frame | None:
        """Return the next photo that can be read; None after the last."""
        before_ns = time.monotonic_ns()
        decoded, self._first = self._first or self._decode_next(), None
        if decoded is None:
            return None
        image, intrinsics = decoded
        t_capture_ns = (before_ns + time.monotonic_ns()) // 2
        index = self._next - 1
        info = FrameInfo(index, t_capture_ns, index / self.fps, skipped=self._skipped, shot=index)
        return Frame(image, info, intrinsics)

    def seek(self, time_s: float) -> None:
        """Go to the photo that is due at a time, s; the next `read` returns it."""
        self._first = None
        self._next = min(max(0, math.floor(time_s * self.fps + 1e-6)), self.length)

    def close(self) -> None:
        """Nothing is held open between reads."""

    def __enter__(self) -> "Photos":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode_next(self) -> tuple[UInt8[np.ndarray, "H W 3"], Intrinsics] | None:
        while self._next < self.length:
            path = self.paths[self._next]
            self._next += 1
            try:
                header = self._headers.get(path) or read_header(path)
                return decode(path, header), self._cameras[path]
            except PenumbraError as error:
                if self.length == 1:
                    raise
                log.warning("%s It is skipped.", error)
                self._skipped += 1
        return None


def read_headers(paths: Sequence[Path]) -> dict[Path, PhotoHeader]:
    """Read the headers of those files that have one."""
    headers = {}
    for path in paths:
        with contextlib.suppress(PenumbraError):  # said when its turn comes
            headers[path] = read_header(path)
    return headers


def why_photos(paths: Sequence[Path]) -> str | None:
    """Return why the images of a folder are photos; None if they are the frames of a video.

    Frames have names that differ in digits only (`frame_0001.png`) and one size, and none of them
    names a camera that took it, as photos do in their EXIF data. There are at least two.
    """
    if len(paths) < 2:
        return "there is only one"
    patterns = {re.sub(r"\d+", "#", path.stem.lower()) for path in paths}
    if len(patterns) > 1 or "#" not in patterns.pop():
        return "their names are not numbered"
    headers = read_headers(paths).values()
    if len({header.size for header in headers}) > 1:
        return "their sizes differ"
    if any(header.by_camera for header in headers):
        return "they name the camera that took them"
    return None


def _log_cameras(headers: Sequence[PhotoHeader], cameras: Sequence[Intrinsics]) -> None:
    """Say where the focal lengths come from, if it is not from the user."""
    stated = sum(one.source == "EXIF" for one in cameras)
    assumed = sum(not one.calibrated for one in cameras)
    fov = f"a field of view of {camera.DEFAULT_FOV_DEG:g} degrees is assumed"
    if len(cameras) == 1 and stated:
        log.info("focal length: %.0f px (%s).", cameras[0].fx, headers[0].focal_source)
    elif len(cameras) == 1 and assumed:
        log.info("focal length: %s (%s).", fov, headers[0].focal_source)
    elif stated or assumed:
        log.info("focal lengths: from EXIF for %d photos; for %d %s.", stated, assumed, fov)


def _log_left_out(headers: Mapping[Path, PhotoHeader]) -> None:
    """Name the files that hold more than the image that is taken, such as animations."""
    for path, header in headers.items():
        if header.images > 1:
            log.warning(
                "photo '%s': only the first of its %d images is taken; save them as a video or as "
                "a folder of images.",
                path,
                header.images,
            )
