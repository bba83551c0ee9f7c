"""Where pictures come from: one protocol, and `open_source`, which finds the right kind for what the user typed.

    "0", "HD Webcam", "/dev/video0"     webcam             live       cameras.py, live.py
    "rtsp://...", "http://..."          network stream     live       live.py
    "walk.mp4"                          video file         recording  recordings.py
    "frames/"                           folder of images   recording  recordings.py

A live source has to be read at its own pace and is reconnected when it breaks. A recording ends, and can be read frame
by frame. The built-in demo is another recording.
"""

import re
from pathlib import Path
from typing import Protocol

import cv2

from engines.errors import PenumbraError
from realtime.cameras import lasting_spec, list_cameras, open_camera_capture
from realtime.frame import Frame
from realtime.live import LiveSource, Retry
from realtime.opencv_io import FALLBACK_FPS, open_capture
from realtime.recordings import ImageFolder, VideoFile

NETWORK_TIMEOUT_S = 5.0
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Source(Protocol):
    """A stream of pictures of one size. Read by one thread; `close` may come from another."""

    @property
    def name(self) -> str:
        """What the user typed, without passwords."""
        ...

    @property
    def live(self) -> bool:
        """Frames are lost unless they are read at once."""
        ...

    @property
    def fps(self) -> float:
        """Nominal frames a second."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        ...

    def read(self) -> Frame | None:
        """The next frame; None at the end. Raises PenumbraError when the stream is at fault."""
        ...

    def close(self) -> None:
        """Free the device or file. May be called again."""
        ...

    def __enter__(self) -> "Source": ...

    def __exit__(self, *exc: object) -> None: ...


def open_source(
    spec: str,
    *,
    folder_fps: float = FALLBACK_FPS,
    camera_size: tuple[int, int] | None = None,
    retry: Retry | None = None,
    network_timeout_s: float = NETWORK_TIMEOUT_S,
) -> Source:
    """Open whatever `spec` means: an existing path first, then an address, then a camera.

    Args:
        spec: see the table at the top of this file.
        folder_fps: frame rate of a folder of images.
        camera_size: (width, height) px to ask of a webcam.
        retry: how a live source comes back after a break.
        network_timeout_s: limit for opening an address and for each read.

    Raises:
        PenumbraError: it cannot be opened; the message says why and what to do.
    """
    if _ADDRESS.match(spec) or (not _is_camera(spec) and not spec.isdecimal()):
        return open_video(spec, folder_fps=folder_fps, retry=retry, network_timeout_s=network_timeout_s)
    return open_camera(spec, size=camera_size, retry=retry)


def open_video(
    spec: str,
    *,
    folder_fps: float = FALLBACK_FPS,
    retry: Retry | None = None,
    network_timeout_s: float = NETWORK_TIMEOUT_S,
) -> Source:
    """Open a video file, a folder of images or an address. Arguments and errors as in `open_source`."""
    if _ADDRESS.match(spec):
        return _open_address(spec, retry, network_timeout_s)
    path = Path(spec).expanduser()
    return ImageFolder(path, folder_fps) if path.is_dir() else VideoFile.open_local(path)


def open_camera(spec: str, *, size: tuple[int, int] | None = None, retry: Retry | None = None) -> LiveSource:
    """Open a webcam by index, name or device path. Arguments and errors as in `open_source`."""
    wanted = spec  # after the first success, what finds the same camera again

    def connect() -> cv2.VideoCapture:
        nonlocal wanted
        index, capture = open_camera_capture(wanted, size)
        wanted = lasting_spec(index)
        return capture

    return LiveSource(f"camera {spec}", connect, retry)


def _is_camera(spec: str) -> bool:
    """Whether a word that is not a path in use can only mean a camera."""
    if spec.startswith("/dev/"):
        return True
    if Path(spec).expanduser().exists():
        return False
    return any(spec.casefold() in camera.name.casefold() for camera in list_cameras())


def _open_address(address: str, retry: Retry | None, timeout_s: float) -> Source:
    name = _without_password(address)

    def connect() -> cv2.VideoCapture:
        capture = open_capture(address, cv2.CAP_FFMPEG, timeout_s)
        if not capture.isOpened():
            raise PenumbraError(f"'{name}' does not answer with a video; check address, network and password")
        return capture

    capture = connect()
    if capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:  # only something with an end has a count
        return VideoFile(name, capture)
    capture.release()
    return LiveSource(name, connect, retry)


def _without_password(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//", address)
