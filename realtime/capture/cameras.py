"""Finds webcams: by index everywhere, by name or device path on Linux."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2

from engines.errors import PenumbraError
from realtime.capture.opencv_io import open_capture

SYSFS_ROOT = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class CameraInfo:
    """One camera that the system lists."""

    index: int
    name: str


def list_cameras(sysfs: Path = SYSFS_ROOT) -> list[CameraInfo]:
    """Return the cameras in order of their index; none where the system is not Linux."""
    cameras = []
    for node in sysfs.glob("video*"):
        number = re.fullmatch(r"video(\d+)", node.name)
        # One device makes several nodes; those after the first carry metadata instead of images.
        if number and _line(node / "index") in ("", "0"):
            cameras.append(CameraInfo(int(number.group(1)), _line(node / "name") or node.name))
    return sorted(cameras, key=lambda camera: camera.index)


def find_camera(spec: str, sysfs: Path = SYSFS_ROOT) -> int:
    """Return the index of the camera that `spec` means.

    Args:
        spec: An index ("0"), a device path ("/dev/video0", "/dev/v4l/by-id/..."), or a name or
            unique part of one.
        sysfs: Where Linux lists its cameras.

    Raises:
        PenumbraError: No camera fits, or more than one does.
    """
    if spec.isdecimal():
        return int(spec)
    if spec.startswith("/dev/"):
        node = re.fullmatch(r"video(\d+)", Path(spec).resolve().name)
        if node is None or not Path(spec).exists():
            raise PenumbraError(f"camera '{spec}': does not exist; {available(sysfs)}.")
        return int(node.group(1))
    cameras = list_cameras(sysfs)
    wanted = spec.casefold()
    fits = [c for c in cameras if c.name.casefold() == wanted] or [
        c for c in cameras if wanted in c.name.casefold()
    ]
    if len(fits) != 1:
        reason = "more than one camera has this name" if fits else "no camera has this name"
        raise PenumbraError(f"camera '{spec}': {reason}; {available(sysfs)}.")
    return fits[0].index


def lasting_spec(index: int, sysfs: Path = SYSFS_ROOT) -> str:
    """Return the spec that finds this camera after it was unplugged and got another index."""
    cameras = list_cameras(sysfs)
    names = [c.name for c in cameras if c.index == index]
    if len(names) == 1 and sum(c.name.casefold() == names[0].casefold() for c in cameras) == 1:
        return names[0]
    return str(index)


def available(sysfs: Path = SYSFS_ROOT) -> str:
    """Return half a sentence that says which cameras could be given instead."""
    cameras = list_cameras(sysfs)
    if cameras:
        return "available: " + ", ".join(f"{c.index} ({c.name})" for c in cameras)
    if sys.platform == "linux":
        return "no camera is connected"
    return "cameras cannot be listed on this system, so give an index: 0, 1, ..."


def open_camera_capture(
    spec: str, size: tuple[int, int] | None = None, sysfs: Path = SYSFS_ROOT
) -> tuple[int, cv2.VideoCapture]:
    """Open a camera.

    Args:
        spec: See `find_camera`.
        size: (width, height) px to ask for; the camera's own choice when None.
        sysfs: Where Linux lists its cameras.

    Returns:
        The camera's index and the open capture.

    Raises:
        PenumbraError: It is missing, does not open, or does not deliver the size.
    """
    index = find_camera(spec, sysfs)
    # Naming the backend keeps OpenCV from trying every other one, each with its own complaints.
    capture = open_capture(index, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    if not capture.isOpened():
        raise PenumbraError(f"camera '{spec}' (index {index}): does not open; {available(sysfs)}.")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if size is not None:
        _ask_size(capture, spec, size)
    return index, capture


def _ask_size(capture: cv2.VideoCapture, spec: str, size: tuple[int, int]) -> None:
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    got = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if got != size:  # drivers ignore what they cannot do, silently
        capture.release()
        raise PenumbraError(
            f"size: camera '{spec}' does not deliver {size[0]}x{size[1]} px but {got[0]}x{got[1]}; "
            "ask for that, or leave it out."
        )


def _line(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.is_file() else ""
