"""Motion JPEG over HTTP, as network cameras serve it, read part by part.

FFmpeg reads such streams too, but passes truncated images on as whole ones, stretches an image of
another size over the old one, believes any length that a part announces, and cannot be interrupted.
"""

import base64
import contextlib
import http.client
import socket
import urllib.parse
import urllib.request
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from realtime.capture import jpeg

MAX_PART_BYTES = 32 << 20
"""No part of a stream is longer, whatever it announces."""
_MAX_HEADERS = 64
_STREAM_TYPE = "multipart/x-mixed-replace"


@runtime_checkable
class Capture(Protocol):
    """The part of `cv2.VideoCapture` that a live source needs."""

    def grab(self) -> bool:
        """Wait for the next image; False when the stream is broken."""
        ...

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        """Decode the image that was grabbed; False when it is broken."""
        ...

    def get(self, propId: int) -> float:
        """Return a property, 0 where it is unknown."""
        ...

    def release(self) -> None:
        """Free the device or connection."""
        ...


class MjpegStream:
    """A multipart stream of JPEGs over one HTTP connection."""

    def __init__(self, response: http.client.HTTPResponse, boundary: bytes) -> None:
        """Take over an open response.

        Args:
            response: At the beginning of its body.
            boundary: What separates the parts, without the leading hyphens.
        """
        self._response = response
        # The same connection once more: `interrupt` ends it under a thread that reads.
        self._connection = socket.fromfd(response.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        self._boundary = b"--" + boundary
        self._buffer = bytearray()
        self._part = b""

    def grab(self) -> bool:
        """Wait for the next part; False when the stream has ended or stalls."""
        try:
            self._part = self._next_part()
        except (OSError, EOFError, ValueError, http.client.HTTPException):
            return False
        return True

    def retrieve(self) -> tuple[bool, UInt8[np.ndarray, "H W 3"] | None]:
        """Decode the part; False when it is not a whole JPEG."""
        try:
            return True, jpeg.decode(self._part)
        except jpeg.BrokenImage:
            return False, None

    def get(self, propId: int) -> float:
        """Return 0: the stream says nothing about itself."""
        return 0.0

    def interrupt(self) -> None:
        """End a `grab` in another thread at once."""
        with contextlib.suppress(OSError):  # it is closed already
            self._connection.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def _next_part(self) -> bytes:
        """Return the body of the next part, whole or not."""
        self._take_until(self._boundary)
        length = self._read_length()
        end, searched = b"\r\n" + self._boundary, 0
        while (found := self._buffer.find(end, searched)) < 0:
            if length is not None and len(self._buffer) >= length:
                found = length
                break
            searched = max(0, len(self._buffer) - len(end))
            self._receive()
        part = bytes(self._buffer[:found])
        del self._buffer[:found]
        return part

    def _read_length(self) -> int | None:
        """Read the headers of a part; None where they give no length that can be true."""
        self._take_until(b"\n")  # the rest of the boundary's line
        length = None
        for _ in range(_MAX_HEADERS):
            name, _, value = self._take_until(b"\n").strip().lower().partition(b":")
            if not name:
                return length if length and length <= MAX_PART_BYTES else None
            if name.strip() == b"content-length" and value.strip().isdigit():
                length = int(value)
        raise ValueError("the headers of a part have no end")

    def _take_until(self, mark: bytes) -> bytes:
        """Take everything before `mark` out of the buffer, and `mark` itself."""
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark))
            self._receive()
        data = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return data

    def _receive(self) -> None:
        if len(self._buffer) > MAX_PART_BYTES:
            raise ValueError("a part has no end")
        data = self._response.read1(1 << 16)
        if not data:
            raise EOFError
        self._buffer += data


def open_mjpeg(address: str, timeout_s: float) -> MjpegStream | None:
    """Connect to an address and return its stream of JPEGs.

    Args:
        address: `http://` or `https://`; it may hold a user and a password.
        timeout_s: Limit for the connection and for each read.

    Returns:
        The stream, or None where the address serves something else, or not to us: FFmpeg may know
        more about it.
    """
    request = _request(address)
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    boundary = response.headers.get_param("boundary")
    if response.headers.get_content_type() != _STREAM_TYPE or not isinstance(boundary, str):
        response.close()
        return None
    return MjpegStream(response, boundary.strip().lstrip("-").encode("latin-1", "replace"))


def _request(address: str) -> urllib.request.Request:
    """Return a request whose user and password, if any, are in its header and not its address."""
    scheme, _, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    request = urllib.request.Request(f"{scheme}://{host}{slash}{path}")
    if at:
        secret = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request
