"""A recording that OpenCV's FFmpeg decodes: a video file, local or at an address.

Broken frames are skipped and counted. A video that stops before the number of frames in its header
is delivered as far as it goes. After the last readable frame, `read` raises when the container
itself proves that bytes are missing (a cut download) or when what follows is damaged to the end,
and otherwise only warns: lossless trimming leaves headers that count frames which are not meant to
be displayed.

FFmpeg conceals damage inside of a frame, and OpenCV does not tell which frames it repaired.
"""

import logging
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.errors import PenumbraError
from engines.printable import printable
from engines.types import FrameInfo
from realtime.capture.bitstream import SizeWatch
from realtime.capture.container import MediaClock, frame_tolerance, holds_more, is_cut_short
from realtime.capture.frame import Frame
from realtime.capture.opencv_io import (
    FALLBACK_FPS,
    another_size,
    check_size,
    image_size,
    interruptible,
    nominal_fps,
    open_capture,
    silence_opencv,
)
from realtime.capture.packet_times import display_times, frame_at, land

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 0.2
MIN_PATIENCE = 50
MAX_PATIENCE = 100_000
STALL_S = 1.0  # a read that fails after so long has lost its connection


class VideoFile:
    """A recording that OpenCV's FFmpeg can decode, local or at an address."""

    live = False

    def __init__(
        self,
        name: str,
        capture: cv2.VideoCapture,
        *,
        path: Path | None = None,
        cut_short: bool = False,
    ) -> None:
        """Decode the first frame.

        Args:
            name: How messages call it.
            capture: Open; owned by this object from now on.
            path: The file, when it is local.
            cut_short: The container is known to have lost its end.

        Raises:
            PenumbraError: No frame can be decoded.
        """
        self.name = name
        self._capture = capture
        # Neither capture, that of the watch included, may be released while a thread reads it.
        self._decoder = threading.Lock()
        self._closed = False
        self._path = path
        self._watch: SizeWatch | None = None
        self._cut_short = cut_short
        self._announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = nominal_fps(capture)
        if fps is None:
            log.warning("'%s' does not say its frame rate; %g fps is assumed", name, FALLBACK_FPS)
        self.fps = fps or FALLBACK_FPS
        self._media_clock = MediaClock(name, self.fps)
        self._count = 0
        self._skipped = 0
        self._shot = 0
        self._pending: Frame | None = None
        self._times: np.ndarray | None = None  # of all frames, ms; made by `seek`
        self._last_ms = 0.0  # the container's time of the newest frame
        # Decoded now, so that a video without any readable frame is refused at once.
        self._first = interruptible(self._decode_next) if self.remote else self._decode_next()
        if self._first is None:
            capture.release()
            raise PenumbraError(
                f"'{name}': opens as a video but no frame can be decoded; {_repair(cut_short)}."
            )
        self._first_ms = float(capture.get(cv2.CAP_PROP_POS_MSEC))
        self.size = image_size(self._first)
        self._watch = None if path is None else SizeWatch(path)

    @classmethod
    def open_local(cls, path: Path) -> "VideoFile":
        """Open a video file.

        Raises:
            PenumbraError: It is missing, empty, truncated before its index, or no video.
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
        cut_short = is_cut_short(path)
        capture = open_capture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise PenumbraError(f"video '{path}': cannot be read as a video; {_repair(cut_short)}.")
        return cls(printable(str(path)), capture, path=path, cut_short=cut_short)

    @property
    def remote(self) -> bool:
        """Whether reads may wait for a network."""
        return self._path is None

    @property
    def length(self) -> int | None:
        """Number of frames that the container announces."""
        return self._announced or None

    def seek(self, time_s: float) -> None:
        """Go to the frame that is displayed at a time of the video, s.

        The next `read` returns it, under the number and the time that it has when the video is read
        from its beginning, and in another shot; after the end it returns None. Only the thread that
        reads may call this, between two reads.

        The first call reads through the file's packets, which takes a second for a gigabyte that
        the system has in memory. Where they carry no time stamps, or where FFmpeg misses the place,
        everything before it is decoded.
        """
        self._shot += 1
        if self._path is not None and self._times is None:
            self._times = display_times(self._path, self._first_ms)
        if self._times is None or not self._seek_by_times(self._times, 1000.0 * time_s):
            self._seek_by_decoding(time_s)

    def read(self) -> Frame | None:
        """Return the next frame that can be decoded; None after the last.

        Raises:
            PenumbraError: The frame has another size than the first, the file was cut before its
                last frame, or what follows is damaged to the end.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            return pending
        before_ns = time.monotonic_ns()
        image, self._first = self._first, None
        if image is None:
            image = self._decode_next()
        if image is None:
            if not self._closed:
                self._check_complete()
            return None
        t_capture_ns = (before_ns + time.monotonic_ns()) // 2
        with self._decoder:
            self._check_size(image)
            self._last_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        media_time_s = self._media_clock.stamp(self._last_ms)
        info = FrameInfo(
            self._count, t_capture_ns, media_time_s, skipped=self._skipped, shot=self._shot
        )
        self._count += 1
        return Frame(image, info)

    def close(self) -> None:
        """Free the file; a read in another thread that does not return frees it at its end."""
        self._closed = True
        self._release(CLOSE_TIMEOUT_S)

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode_next(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """Decode the next frame, skipping broken ones; None at the end.

        OpenCV tells no difference between a broken frame and the end: a read fails, and the next
        one goes on behind it. So as many are tried as the container has frames left.
        """
        patience = min(max(MIN_PATIENCE, self._announced - self._count), MAX_PATIENCE)
        for broken in range(patience):
            before_s = time.monotonic()
            with self._decoder:
                ok, image = self._capture.read()
            if self._closed:
                self._release()
                return None
            if ok:
                self._skip(broken)
                return image
            if time.monotonic() - before_s > STALL_S:
                return None
        return None

    def _seek_by_times(self, times: Float[np.ndarray, "N"], target_ms: float) -> bool:
        """Jump to a frame whose time stamp is known; False where FFmpeg does not find it."""
        number = frame_at(times, target_ms)
        with self._decoder:
            found = land(self._capture, times, min(number, len(times) - 1))
        if found is None:
            return False
        self._count, self._first = found
        self._pending = None
        self._media_clock = MediaClock(self.name, self.fps)
        if number == len(times):
            self.read()
        return True

    def _seek_by_decoding(self, time_s: float) -> None:
        """Decode from the beginning up to the frame that is displayed at a time."""
        if self._count > 1:
            self._begin_again()
        frame = self.read()
        while frame is not None and frame.info.media_time_s + 0.999 / self.fps <= time_s:
            frame = self.read()
        self._pending = frame

    def _begin_again(self) -> None:
        """Open the file again.

        Raises:
            PenumbraError: It is at an address.
        """
        if self._path is None:
            raise PenumbraError(f"'{self.name}': cannot go back; download it for that.")
        with self._decoder:
            self._capture.release()
            self._capture = open_capture(str(self._path), cv2.CAP_FFMPEG)
        self._count = 0
        self._first = None
        self._media_clock = MediaClock(self.name, self.fps)

    def _check_size(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        what = f"frame {self._count} of '{self.name}'"
        check_size(what, image, self.size)
        changed = self._watch and self._watch.changed_by(self._count)
        if changed:
            raise another_size(what, changed, self.size)

    def _skip(self, broken: int) -> None:
        if broken and not self._skipped:
            log.warning("'%s': frame %d is broken; such frames are skipped", self.name, self._count)
        self._skipped += broken
        self._count += broken

    def _release(self, timeout_s: float = -1.0) -> None:
        """Free the capture, unless another thread reads it for longer than `timeout_s`."""
        if self._decoder.acquire(timeout=timeout_s):
            self._capture.release()
            if self._watch is not None:
                self._watch.close()
            self._decoder.release()

    def _check_complete(self) -> None:
        """Find out why the frames end.

        Raises:
            PenumbraError: There should be more of them.
        """
        missing = self._announced - self._count
        if missing > 0 and self._cut_short:
            raise PenumbraError(
                f"'{self.name}': is truncated: it ends after {self._count} of {self._announced} "
                "frames; those were processed, for the rest copy or download it again."
            )
        if missing <= frame_tolerance(self._announced):
            return
        if self._path is None:
            raise PenumbraError(
                f"'{self.name}': broke off after {self._count} of {self._announced} frames; those "
                "were processed, check the network for the rest."
            )
        if holds_more(self._path, self._last_ms, self.fps, self._announced):
            raise PenumbraError(
                f"'{self.name}': is damaged: nothing can be decoded after {self._count} of about "
                f"{self._announced} frames; those were processed, repair it for the rest."
            )
        log.warning(
            "'%s' ends after %d of about %d frames", self.name, self._count, self._announced
        )


def _repair(cut_short: bool) -> str:
    if cut_short:
        return "it is truncated (its end is missing), so copy or download it again"
    return "it is damaged or not a video, so try to play it, or convert it with ffmpeg"
