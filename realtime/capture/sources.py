"""Sources of images: one protocol, and the functions that open the right kind of it.

    open_camera("0"), ("HD Webcam"), ...        webcam             live        cameras.py, live.py
    open_video("rtsp://..."), ("http://...")    network stream     live        live.py
    open_video("walk.mp4")                      video file         recording   recordings.py
    open_video("frames/")                       frames of a video  recording   images.py
    open_video("photo.jpg"), ("photos/")        photos             recording   photos.py

A live source has to be read at its own pace and is reconnected when it breaks. A recording ends,
and can be read frame by frame. The built-in demo is another recording.
"""

import logging
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2

from engines.errors import PenumbraError
from engines.printable import printable
from realtime.capture.cameras import lasting_spec, open_camera_capture
from realtime.capture.frame import Frame
from realtime.capture.images import MJPEG_SUFFIXES, ImageFolder, MjpegFile, natural_key
from realtime.capture.live import LiveSource, Retry
from realtime.capture.mjpeg import Capture, open_mjpeg
from realtime.capture.opencv_io import FALLBACK_FPS, open_capture
from realtime.capture.photo_file import PHOTO_SUFFIXES, is_photo
from realtime.capture.photos import (
    PHOTOS_PER_S,
    CameraOf,
    Photos,
    stated_camera,
    why_photos,
)
from realtime.capture.recordings import VideoFile

log = logging.getLogger(__name__)

NETWORK_TIMEOUT_S = 5.0
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile(r"(pass\w*|pwd|token)=[^/&;]*", re.IGNORECASE)


@runtime_checkable
class Source(Protocol):
    """A stream of images, of one size unless they are photos.

    One thread reads it, `close` may come from another.
    """

    @property
    def name(self) -> str:
        """The spec that the user gave, without passwords."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames are lost unless they are read at once."""
        ...

    @property
    def remote(self) -> bool:
        """Whether reads may wait for a network."""
        ...

    @property
    def fps(self) -> float:
        """Nominal frames a second."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first image, px."""
        ...

    @property
    def length(self) -> int | None:
        """Number of frames from the first to the last; None where it is not known."""
        ...

    def read(self) -> Frame | None:
        """Return the next frame, None at the end; raise PenumbraError from a broken stream."""
        ...

    def close(self) -> None:
        """Free the device or file; it may be called again."""
        ...

    def __enter__(self) -> "Source": ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Recording(Source, Protocol):
    """A source that ends, and in which any time can be gone to; forwards only at an address."""

    def seek(self, time_s: float) -> None:
        """Go to the frame that is displayed at a time of the recording, s.

        The next `read` returns it, under the number and the media time that it has in the
        recording, and in another shot; after the end it returns None. Only the thread that reads
        may call this, between two reads.
        """
        ...


def open_video(
    spec: str,
    *,
    folder_fps: float | None = None,
    photos: bool = False,
    camera_of: CameraOf = stated_camera,
    retry: Retry | None = None,
    network_timeout_s: float = NETWORK_TIMEOUT_S,
) -> Source:
    """Open a video file, a photo, a folder of images or an address.

    Args:
        spec: Path or address.
        folder_fps: Images per second of a folder, which are then the frames of a video unless
            `photos` says otherwise. When None, `why_photos` decides what they are, and
            `FALLBACK_FPS` or `PHOTOS_PER_S` is taken; both are logged.
        photos: The images of a folder are photos that have nothing to do with each other.
        camera_of: Says which camera took each photo.
        retry: When a broken live source is opened again.
        network_timeout_s: Limit for opening an address and for each read.

    Raises:
        PenumbraError: It cannot be opened; the message says why and what to do.
    """
    path = Path(spec).expanduser()
    if folder_fps is not None and not path.is_dir():
        raise PenumbraError(f"fps: is for a folder of images, and '{spec}' is none; leave it out.")
    if folder_fps is not None and not 0 < folder_fps < 1000:
        raise PenumbraError(f"fps: must be above 0 and below 1000, not {folder_fps:g}.")
    if photos and not path.is_dir():
        raise PenumbraError(
            f"photos: is for a folder of images, and '{spec}' is none; leave it out."
        )
    if is_address(spec):
        return _open_address(spec, retry, network_timeout_s)
    if path.suffix.lower() in MJPEG_SUFFIXES and path.is_file() and path.stat().st_size:
        return MjpegFile(path)
    if path.is_dir():
        return _open_folder(path, folder_fps, photos, camera_of)
    if re.fullmatch(r"\d+|/dev/video\d+", spec) and not path.is_file():
        raise PenumbraError(f"video '{spec}': is no file; give a webcam as `cam`.")
    if path.is_file() and path.stat().st_size and is_photo(path):
        return Photos(spec, [path], camera_of=camera_of)
    return VideoFile.open_local(path)


def is_address(spec: str) -> bool:
    """Whether a source is an address, such as rtsp://host/stream."""
    return _ADDRESS.match(spec) is not None


def open_camera(
    spec: str, *, size: tuple[int, int] | None = None, retry: Retry | None = None
) -> LiveSource:
    """Open a webcam by index, name or device path.

    Args:
        spec: See `find_camera`.
        size: (width, height) px to ask for; the camera's own choice when None.
        retry: When it is opened again after a break.

    Raises:
        PenumbraError: It cannot be opened; the message says why and what to do.
    """
    wanted = spec  # after the first success, the spec that finds the same camera again

    def connect() -> cv2.VideoCapture:
        nonlocal wanted
        index, capture = open_camera_capture(wanted, size)
        wanted = lasting_spec(index)
        return capture

    return LiveSource(printable(f"camera {spec}"), connect, retry)


def _open_folder(
    folder: Path, fps: float | None, photos: bool, camera_of: CameraOf
) -> ImageFolder | Photos:
    images = images_in(folder)
    name = str(folder)
    why = "as asked" if photos else None
    if fps is None and not photos:
        why = why_photos(images)
    if why is not None:
        log.info(
            "%s: %d photos, each by itself (%s); give `fps` if they are the frames of a video.",
            *(name, len(images), why),
        )
        return Photos(name, images, per_s=fps or PHOTOS_PER_S, camera_of=camera_of)
    if fps is None:
        log.info(
            "%s: %d frames of a video, %g a second assumed; give `fps` if that is wrong, or "
            "`photos` if they have nothing to do with each other.",
            *(name, len(images), FALLBACK_FPS),
        )
    return ImageFolder(name, images, fps or FALLBACK_FPS)


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder in natural order.

    Raises:
        PenumbraError: There are none.
    """
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
    ]
    if not images:
        raise PenumbraError(
            f"folder '{folder}': holds no images ({', '.join(PHOTO_SUFFIXES)}); check the path."
        )
    return sorted(images, key=natural_key)


def _open_address(address: str, retry: Retry | None, timeout_s: float) -> Source:
    name = printable(_without_password(address))

    def connect() -> Capture:
        stream = None
        if address.lower().startswith(("http://", "https://")):
            stream = open_mjpeg(address, timeout_s)
        if stream is not None:
            return stream
        capture = open_capture(address, cv2.CAP_FFMPEG, timeout_s)
        if not capture.isOpened():
            raise PenumbraError(
                f"'{name}': does not answer with a video; check address, network and password."
            )
        return capture

    capture = connect()
    # Only something with an end has a count of frames.
    if isinstance(capture, cv2.VideoCapture) and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        return VideoFile(name, capture)
    opened = [capture]  # many cameras serve one connection at a time
    return LiveSource(name, lambda: opened.pop() if opened else connect(), retry)


def _without_password(address: str) -> str:
    """Return an address that may be displayed: without user, query and `password=` in the path.

    Unescaped passwords hold any character, so everything before the last @ goes, even a part of the
    path.
    """
    scheme, _, rest = address.partition("://")
    rest, _, query = rest.partition("?")
    if "@" in query:  # or a password with a question mark, whose end is unknown
        return f"{scheme}://..."
    return _SECRET.sub(r"\1=...", f"{scheme}://{rest.rpartition('@')[2].partition('#')[0]}")
