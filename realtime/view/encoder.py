"""Compresses images to MPEG-4 packets with OpenCV's FFmpeg, without a file.

    encoder = Encoder((1280, 720), fps=30.0, deliver=muxer.add)
    encoder.encode(image)
    encoder.close()

OpenCV gives its encoder's output to files only, holds back what does not fill 256 kB, and does not
say when a write failed. So the file is a named pipe: FFmpeg sends each packet through it at once,
in an AVI stream, and a thread takes the packets out at the other end.
"""

import os
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from jaxtyping import UInt8

from engines.errors import PenumbraError

_LISTS = (b"RIFF", b"LIST")
_VIDEO_CHUNK = b"00dc"


class Encoder:
    """One video stream; images go in, and `deliver` gets each packet in a thread of its own."""

    def __init__(self, size: tuple[int, int], fps: float, deliver: Callable[[bytes], None]) -> None:
        """Start the encoder.

        Args:
            size: (width, height) of the images, px.
            fps: Frames per second.
            deliver: Called with each packet; what it raises is raised again by `encode` or `close`.

        Raises:
            PenumbraError: This OpenCV or this system cannot encode.
        """
        self._deliver = deliver
        self._error: Exception | None = None
        self._writer, self._pipe = _open_writer(size, fps)
        self._thread = threading.Thread(target=self._read, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Compress the next image (BGR); its packet may be delivered later.

        Raises:
            Exception: What `deliver` raised for an earlier packet.
        """
        self._raise_error()
        self._writer.write(image)

    def close(self) -> None:
        """Deliver all packets and end; calling it again does nothing.

        Raises:
            Exception: What `deliver` raised.
        """
        self._writer.release()
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _read(self) -> None:
        failed = False
        with os.fdopen(self._pipe, "rb") as pipe:
            while (packet := _next_packet(pipe)) is not None:
                if failed:  # the pipe is emptied all the same, so that `encode` never blocks
                    continue
                try:
                    self._deliver(packet)
                except Exception as error:
                    failed, self._error = True, error


def _open_writer(size: tuple[int, int], fps: float) -> tuple[cv2.VideoWriter, int]:
    """Return a writer into a pipe, and the descriptor that reads it."""
    if not hasattr(os, "mkfifo"):
        raise PenumbraError("record: this system has no named pipes; record on Linux or macOS.")
    with tempfile.TemporaryDirectory(prefix="penumbra-") as folder:
        path = Path(folder) / "video.avi"
        os.mkfifo(path, 0o600)
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for FFmpeg
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size)
    if not writer.isOpened():
        os.close(pipe)
        raise PenumbraError(
            "record: this OpenCV cannot write MPEG-4 video; install the opencv-contrib-python "
            "wheel, which brings FFmpeg."
        )
    os.set_blocking(pipe, True)
    return writer, pipe


def _next_packet(pipe: BinaryIO) -> bytes | None:
    """Return the next video chunk of an AVI stream, or None at its end."""
    while len(head := pipe.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind in _LISTS:
            pipe.read(4)  # the list's name; its chunks follow
            continue
        data = pipe.read(size)
        pipe.read(size % 2)
        if len(data) < size:
            return None
        if kind == _VIDEO_CHUNK and data:
            return data
    return None
