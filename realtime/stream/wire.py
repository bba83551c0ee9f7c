"""The pose stream on the wire. Another language can read the stream from this page alone.

One ZeroMQ message has one part, so a subscriber may set ZMQ_CONFLATE. All numbers are
little-endian.

    byte   size  content
    0      7     topic, ASCII "pose.v1"; the digit is the major version
    7      5     magic, 00 50 4E 42 52 ("\\0PNBR"); the NUL ends the topic, so "pose.v1\\0" does not
    match "pose.v10"
    12     4     H, length of the header, u32
    16     H     header, one msgpack map
    16+H   0..7  zeros up to the next multiple of 8; the data starts at D = (16 + H + 7) / 8 * 8
    (integer division)
    D      rest  data: arrays in row-major order, each starting at a multiple of 8

A reader subscribes to "pose.v1\\0". A publisher sends no other topic on its endpoint.

An array is named in the header by `[dtype, shape, offset]`, for example `["<f4", [24, 3], 1184]`:
element type ("<f4" 32-bit float, "|u1" byte), sizes, and the first byte counted from D. The 8-byte
alignment is relative to the message; copy (memcpy) if your receive buffer itself is not aligned.

Header fields:

    schema             "penumbra.pose"
    version            [major, minor]. A new minor version only adds; skip keys and arrays that you
    do not know.
    session            32 hex digits, new for every start of the publisher
    seq                u64, 0 for the first message of a session, then one more for each: a gap is a
    loss
    frame_id           counts the frames of the source from 0, dropped ones included
    t_capture_mono_ns  the middle of the grab, nanoseconds of the publisher's monotonic clock
    t_capture_unix_ns  the same instant, nanoseconds of Unix time
    t_publish_mono_ns, t_publish_unix_ns    when the message was made, on the same two clocks
    media_time_s       position in a recording, or seconds since the first frame of a live source
    frame              {"name": "camera", "axes": "x right, y down, z forward", "unit": "m",
                       "rotation": "axis-angle rad"}
    source             name of the camera or file
    image_size         [width, height], px
    camera_matrix      3 rows of 3: fx 0 cx, 0 fy cy, 0 0 1, px
    camera_distortion  (1.3) the lens, OpenCV's k1, k2, p1, p2, k3, k4, k5, k6: all, the first 5,
    the first 4 or none of them
    camera_calibrated  true: measured; false: assumed from a field of view
    backend            what ran the networks
    dropped            frames of the source that were never looked at, since the start
    joint_names        24 names, the order of every axis of length 24
    calibration        nil: the uncertainties are not calibrated; else a map:
        name               of the model
        data               what it was fitted on
        levels             list of [nominal, measured] coverage of true joints, such as [0.9, 0.91];
        measured on other people
        measured_on        (1.1) which ones
        visible_levels     (1.1) the same list for joints that were truly visible
        hidden_levels      (1.1) and for hidden ones; a list is empty where nothing was measured
        radii              (1.1) rows of [level, seen, hidden]: the squared Mahalanobis radius of
        `joint_cov` that holds the
                           share `level` of joints with joint_visible 1 and 0; between, seen^v *
                           hidden^(1 - v). Errors have heavier tails than a normal distribution; at
                           0.9 the radius is the normal one, 6.25
    people             list of maps, empty when nobody is there: a message comes for every frame

Each person:

    track_id           int; another one when somebody comes back after an empty frame, or another
    person is followed
    score              probability that this is a person
    distance_std       metres, standard deviation of the distance along `ray`, shared by all joints
    arrays             map from the names of `PERSON_ARRAYS` to [dtype, shape, offset]
    hypotheses         map from the names of `HYPOTHESIS_ARRAYS` to [dtype, shape, offset], K bodies
    each

`joint_cov` has the distance kept apart: with it, the covariance is `joint_cov + distance_std^2 *
ray * ray^T`. From 1.1 on the hypotheses are calibrated as well: about their mean they have, up to
some percent, the covariance `joint_cov`. Where the camera is assumed, `distance_std` includes what
that may be wrong by; the hypotheses are for `camera_matrix`. `global_orient`, `body_pose`, `betas`
and `transl` mean what they mean in smplx.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5590"
SCHEMA = "penumbra.pose"
VERSION = (1, 3)
FRAME = {
    "name": "camera",
    "axes": "x right, y down, z forward",
    "unit": "m",
    "rotation": "axis-angle rad",
}
TOPIC = b"pose.v%d" % VERSION[0]
ANY_VERSION = b"pose.v"
"""What `Subscriber` subscribes to: a publisher of another major version is then an error and not
silence.
"""
MAX_MESSAGE_BYTES = 16 << 20
"""No message is longer. 100 hypotheses take 65 kB."""

_MAGIC = b"\0PNBR"
_PREFIX = struct.Struct("<7s5sI")
_STARTS = re.compile(rb"pose\.v(\d{1,5})" + re.escape(_MAGIC))
ITEM_BYTES = {"<f4": 4, "|u1": 1}
_ITEM_CODES = {"<f4": "f", "|u1": "B"}

PERSON_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "global_orient": ("<f4", (3,)),  # best estimate, camera frame
    "body_pose": ("<f4", (69,)),  # 23 axis-angle rotations relative to the parent joint
    "betas": ("<f4", (10,)),
    "transl": ("<f4", (3,)),
    "joints": ("<f4", (24, 3)),  # metres, camera frame
    "joint_cov": (
        "<f4",
        (24, 6),
    ),  # xx, xy, xz, yy, yz, zz, square metres, camera frame, distance kept apart
    "joint_std": ("<f4", (24,)),  # sqrt((xx + yy + zz) / 3), metres
    "joint_visible": ("<f4", (24,)),  # probability that the joint is in the picture and not hidden
    "guessed": ("|u1", (24,)),  # 1 where joint_visible < 0.5
    "ray": ("<f4", (3,)),  # unit vector from the camera to the pelvis
    "landmarks": (
        "<f4",
        (33, 3),
    ),  # BlazePose: x px, y px, the network's visibility (not calibrated)
}
HYPOTHESIS_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {  # each shape comes after K
    "weights": ("<f4", ()),  # sum to one
    "joints": ("<f4", (24, 3)),
    "body_pose": ("<f4", (69,)),
    "global_orient": ("<f4", (3,)),
    "betas": ("<f4", (10,)),
    "transl": ("<f4", (3,)),
    "log_q": (
        "<f4",
        (),
    ),  # (1.2) log density of the draw that each body was made from, Haar measure for rotations
}


class MessageError(ValueError):
    """The bytes are not a message of this stream."""


class VersionError(MessageError):
    """The bytes are a message of this stream, but of a major version that this reader does not
    know.
    """


@dataclass(frozen=True)
class Array:
    """An array inside a received message. `numpy.asarray(a)` makes a read-only view of it without
    copying.
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
        items: list[Any] = list(
            struct.unpack(
                f"<{len(self.data) // ITEM_BYTES[self.dtype]}{_ITEM_CODES[self.dtype]}", self.data
            )
        )
        for size in reversed(self.shape[1:]):
            items = [items[i : i + size] for i in range(0, len(items), size)]
        return items


def pack(header: Mapping[str, Any], data: bytes) -> bytes:
    """Puts a header and the arrays that it names into one message."""
    packed: bytes = msgpack.Packer().pack(header)
    padding = bytes(-(_PREFIX.size + len(packed)) % 8)
    return b"".join((_PREFIX.pack(TOPIC, _MAGIC, len(packed)), packed, padding, data))


def unpack(message: bytes | memoryview) -> tuple[dict[Any, Any], memoryview]:
    """Splits a message into its header and its data.

    Raises:
        VersionError: another major version.
        MessageError: anything else that is not a message.
    """
    start = _STARTS.match(message)
    if start is None:
        raise MessageError(
            f"The message does not start with the topic {TOPIC.decode()} and the magic bytes."
        )
    if int(start[1]) != VERSION[0]:
        raise VersionError(other_version(int(start[1])))
    if start.end() != 12 or len(message) < _PREFIX.size:
        raise MessageError(f"The message is cut off after {len(message)} bytes.")
    length = _PREFIX.unpack_from(message)[2]
    end = _PREFIX.size + length
    if end > len(message):
        raise MessageError(
            f"The message has {len(message)} bytes but announces a header that ends at byte {end}."
        )
    view = memoryview(message).toreadonly()
    try:
        header = msgpack.unpackb(view[_PREFIX.size : end])
    except (
        ValueError,
        msgpack.UnpackException,
    ) as error:  # the two families that msgpack raises for bad bytes
        raise MessageError(f"The header is not msgpack: {error}.") from error
    if not isinstance(header, dict):
        raise MessageError(f"The header is a msgpack {type(header).__name__}, not a map.")
    return header, view[(end + 7) // 8 * 8 :]


def other_version(major: int) -> str:
    """The sentence for a publisher of another major version."""
    return (
        f"The publisher speaks version {major} of the pose stream and this reader version {VERSION[0]}; "
        "update the older of the two."
    )
