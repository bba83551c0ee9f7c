"""One message as bytes: topic, header, arrays. `README.md` beside this file describes the format.

Needs msgpack and the standard library.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from engines.printable import printable

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5590"
SCHEMA = "penumbra.pose"
VERSION = (2, 3)
TOPIC = b"pose.v%d" % VERSION[0]
ANY_VERSION = b"pose.v"
"""What `Subscriber` subscribes to: another major version is then an error and not silence."""
MAX_MESSAGE_BYTES = 16 << 20
"""No message is longer. 100 hypotheses take 65 kB."""
MAX_HEADER_BYTES = 64 << 10
"""No header is longer: what is made of it stays below 10 MB. With one person it has 1.2 kB."""

_MAGIC = b"\0PNBR"
_PREFIX = struct.Struct("<7s5sI")
_STARTS = re.compile(rb"pose\.v(\d{1,5})" + re.escape(_MAGIC))
_ITEMS = {"<f4": (4, "f"), "|u1": (1, "B")}
_MAX_QUOTED = 60


class MessageError(ValueError):
    """The bytes are not a message of this stream."""


class VersionError(MessageError):
    """The bytes are a message of this stream, of a major version that this reader does not know."""


@dataclass(frozen=True)
class Array:
    """An array inside a received message.

    `numpy.asarray(a)` makes a read-only view of it without copying.
    """

    dtype: str
    """"<f4" or "|u1"."""
    shape: tuple[int, ...]
    data: memoryview
    """The bytes, row-major, little-endian."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "typestr": self.dtype, "shape": self.shape, "data": self.data}

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Array(dtype={self.dtype!r}, shape={self.shape}; see tolist() or numpy.asarray)"

    def tolist(self) -> list[Any]:
        """Nested lists of Python numbers."""
        size, code = _ITEMS[self.dtype]
        items: list[Any] = list(struct.unpack(f"<{len(self.data) // size}{code}", self.data))
        for size in reversed(self.shape[1:]):
            items = [items[i : i + size] for i in range(0, len(items), size)]
        return items


def item_bytes(dtype: str) -> int:
    """Size of one number."""
    return _ITEMS[dtype][0]


def pack(header: Mapping[str, Any], data: bytes) -> bytes:
    """Put a header and the arrays that it names into one message."""
    packed: bytes = msgpack.Packer(unicode_errors="replace").pack(header)
    padding = bytes(-(_PREFIX.size + len(packed)) % 8)
    return b"".join((_PREFIX.pack(TOPIC, _MAGIC, len(packed)), packed, padding, data))


def unpack(message: bytes | memoryview) -> tuple[dict[Any, Any], memoryview]:
    """Split a message into its header and its data.

    Raises:
        VersionError: another major version.
        MessageError: anything else that is not a message.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message: has {len(message)} bytes, at most {MAX_MESSAGE_BYTES} count.")
    start = _STARTS.match(message)
    if start is None:
        raise MessageError(f"message: does not start with {TOPIC.decode()} and the magic bytes.")
    if int(start[1]) != VERSION[0]:
        raise VersionError(other_version(int(start[1])))
    if start.end() != 12 or len(message) < _PREFIX.size:
        raise MessageError(f"message: is cut off after {len(message)} bytes.")
    length = _PREFIX.unpack_from(message)[2]
    end = _PREFIX.size + length
    if end > len(message):
        raise MessageError(
            f"message: has {len(message)} bytes but announces a header that ends at byte {end}."
        )
    if length > MAX_HEADER_BYTES:
        raise MessageError(
            f"message: has a header of {length} bytes, at most {MAX_HEADER_BYTES} count."
        )
    view = memoryview(message).toreadonly()
    try:
        header = msgpack.unpackb(view[_PREFIX.size : end])
    except (ValueError, msgpack.UnpackException) as error:  # what msgpack raises for bad bytes
        raise MessageError(f"message: its header is not msgpack ({quoted(error)}).") from error
    if not isinstance(header, dict):
        raise MessageError(f"message: its header is a msgpack {type(header).__name__}, not a map.")
    return header, view[(end + 7) // 8 * 8 :]


def other_version(major: int) -> str:
    """The sentence for a publisher of another major version."""
    return (
        f"message: the publisher speaks version {major} of the pose stream and this reader version "
        f"{VERSION[0]}; update the older of the two."
    )


def quoted(value: object) -> str:
    """A value from outside for an error message: printable and short."""
    text = printable(str(value)[: _MAX_QUOTED + 1])
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "..."
