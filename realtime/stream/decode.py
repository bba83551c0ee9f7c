"""Bytes in, a checked message out. Needs msgpack and nothing else: no numpy.

    message = decode(data)
    for person in message.people:
        person.joints.tolist()           # 24 rows of x, y, z, metres
        numpy.asarray(person.joint_cov)  # the same memory as an array, where numpy is there

Whatever the bytes are, the only error is `MessageError`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from realtime.stream.wire import (
    FRAME,
    HYPOTHESIS_ARRAYS,
    ITEM_BYTES,
    PERSON_ARRAYS,
    SCHEMA,
    VERSION,
    Array,
    MessageError,
    VersionError,
    other_version,
    unpack,
)

T = TypeVar("T")


@dataclass(frozen=True)
class StreamCalibration:
    """Where calibrated uncertainties come from."""

    name: str
    data: str
    """What it was fitted on."""
    levels: tuple[tuple[float, float], ...]
    """Nominal and measured coverage, such as (0.9, 0.91)."""
    measured_on: str = ""
    visible_levels: tuple[tuple[float, float], ...] = ()
    """As `levels`, for joints that were truly visible; empty where nothing was measured."""
    hidden_levels: tuple[tuple[float, float], ...] = ()
    radii: tuple[tuple[float, float, float], ...] = ()
    """Level, squared Mahalanobis radius that holds it for seen joints, for hidden ones."""


@dataclass(frozen=True)
class HypothesesMessage:
    """K bodies of one person, camera frame, metres."""

    weights: Array
    joints: Array
    body_pose: Array
    global_orient: Array
    betas: Array
    transl: Array
    log_q: Array | None = None
    """None from a publisher older than 1.2."""


@dataclass(frozen=True)
class PersonMessage:
    """One person; `PERSON_ARRAYS` gives the shapes."""

    track_id: int
    score: float
    distance_std: float
    global_orient: Array
    body_pose: Array
    betas: Array
    transl: Array
    joints: Array
    joint_cov: Array
    joint_std: Array
    joint_visible: Array
    guessed: Array
    ray: Array
    landmarks: Array
    hypotheses: HypothesesMessage


@dataclass(frozen=True)
class PoseMessage:
    """One message. `realtime/wire.py` says what each field means."""

    version: tuple[int, int]
    session: str
    seq: int
    frame_id: int
    t_capture_mono_ns: int
    t_capture_unix_ns: int
    t_publish_mono_ns: int
    t_publish_unix_ns: int
    media_time_s: float
    frame: dict[str, str]
    source: str
    image_size: tuple[int, int]
    camera_matrix: tuple[tuple[float, ...], ...]
    camera_distortion: tuple[float, ...]
    """Empty for none, and from a publisher older than 1.3."""
    camera_calibrated: bool
    backend: str
    dropped: int
    joint_names: tuple[str, ...]
    calibration: StreamCalibration | None
    people: tuple[PersonMessage, ...]


def decode(message: bytes | memoryview) -> PoseMessage:
    """Reads and checks one message; every array lies inside it, every number in its header is
    finite.

    What version 1.3 does not define is skipped.

    Raises:
        VersionError: another major version.
        MessageError: anything else that is not a message.
    """
    header, data = unpack(message)
    fields = _Fields("the header", header)
    if (schema := fields.text("schema")) != SCHEMA:
        raise MessageError(f"The message has schema {schema!r}, not {SCHEMA!r}.")
    version = fields.integers("version", 2)
    if version[0] != VERSION[0]:
        raise VersionError(other_version(version[0]))
    frame, size = fields.fields("frame"), fields.integers("image_size", 2)
    if min(size) < 1:
        raise MessageError(
            f"In the message, the header has 'image_size' {size[0]}x{size[1]}; both must be above zero."
        )
    return PoseMessage(
        version=(version[0], version[1]),
        session=fields.text("session"),
        seq=fields.integer("seq"),
        frame_id=fields.integer("frame_id"),
        t_capture_mono_ns=fields.integer("t_capture_mono_ns"),
        t_capture_unix_ns=fields.integer("t_capture_unix_ns"),
        t_publish_mono_ns=fields.integer("t_publish_mono_ns"),
        t_publish_unix_ns=fields.integer("t_publish_unix_ns"),
        media_time_s=fields.number("media_time_s"),
        frame={key: frame.text(key) for key in FRAME},
        source=fields.text("source"),
        image_size=(size[0], size[1]),
        camera_matrix=_camera_matrix(fields),
        camera_distortion=_distortion(fields),
        camera_calibrated=fields.flag("camera_calibrated"),
        backend=fields.text("backend"),
        dropped=fields.integer("dropped"),
        joint_names=fields.texts("joint_names", 24),
        calibration=_calibration(fields),
        people=tuple(
            _person(_Fields(f"person {i}", p), data)
            for i, p in enumerate(fields.get("people", list))
        ),
    )


def _person(person: "_Fields", data: memoryview) -> PersonMessage:
    arrays = person.fields("arrays")
    return PersonMessage(
        track_id=person.integer("track_id"),
        score=person.number("score"),
        distance_std=person.number("distance_std"),
        hypotheses=_hypotheses(person.fields("hypotheses"), data),
        **{
            name: arrays.array(name, dtype, shape, data)
            for name, (dtype, shape) in PERSON_ARRAYS.items()
        },
    )


def _hypotheses(arrays: "_Fields", data: memoryview) -> HypothesesMessage:
    count = arrays.first_size("weights")
    expected = {
        name: spec
        for name, spec in HYPOTHESIS_ARRAYS.items()
        if name != "log_q" or name in arrays.values
    }
    return HypothesesMessage(
        **{
            name: arrays.array(name, dtype, (count, *one), data)
            for name, (dtype, one) in expected.items()
        }
    )


def _calibration(header: "_Fields") -> StreamCalibration | None:
    if header.get("calibration", dict, type(None)) is None:
        return None
    fields = header.fields("calibration")
    known = StreamCalibration(fields.text("name"), fields.text("data"), _pairs(fields, "levels"))
    if "measured_on" not in fields.values:  # version 1.0
        return known
    return StreamCalibration(
        known.name,
        known.data,
        known.levels,
        measured_on=fields.text("measured_on"),
        visible_levels=_pairs(fields, "visible_levels"),
        hidden_levels=_pairs(fields, "hidden_levels"),
        radii=tuple((row[0], row[1], row[2]) for row in fields.rows("radii", None, 3)),
    )


def _camera_matrix(header: "_Fields") -> tuple[tuple[float, ...], ...]:
    matrix = header.rows("camera_matrix", 3, 3)
    (fx, _, cx), (_, fy, cy), _ = matrix
    if min(fx, fy) <= 0 or matrix != ((fx, 0, cx), (0, fy, cy), (0, 0, 1)):
        raise MessageError(
            "In the message, the header has a 'camera_matrix' that is not [fx 0 cx, 0 fy cy, 0 0 1]."
        )
    return matrix


def _distortion(header: "_Fields") -> tuple[float, ...]:
    if "camera_distortion" not in header.values:
        return ()
    numbers = header.numbers("camera_distortion")
    if len(numbers) not in (0, 4, 5, 8):
        raise MessageError(
            f"In the message, the header has 'camera_distortion' of {len(numbers)} numbers, not 0, 4, 5 or 8."
        )
    return numbers


def _pairs(fields: "_Fields", key: str) -> tuple[tuple[float, float], ...]:
    return tuple((row[0], row[1]) for row in fields.rows(key, None, 2))


@dataclass(frozen=True)
class _Fields:
    """A map that came off the wire; every getter checks that the field is there and what it is."""

    where: str
    values: Any

    def get(self, key: str, *kinds: type) -> Any:
        if not isinstance(self.values, dict):
            raise MessageError(f"In the message, {self.where} is not a map.")
        if key not in self.values:
            raise MessageError(f"In the message, {self.where} has no {key!r}.")
        if (
            type(value := self.values[key]) not in kinds
        ):  # `type`, because True must not pass as an int
            raise MessageError(
                f"In the message, {self.where} has {key!r} of type {type(value).__name__}."
            )
        return value

    def fields(self, key: str) -> "_Fields":
        return _Fields(f"{key!r} of {self.where}", self.get(key, dict))

    def text(self, key: str) -> str:
        return self.get(key, str)

    def flag(self, key: str) -> bool:
        return self.get(key, bool)

    def integer(self, key: str) -> int:
        if (value := self.get(key, int)) < 0:
            raise MessageError(f"In the message, {self.where} has {key!r} below zero.")
        return value

    def number(self, key: str) -> float:
        return self._list(key, [self.get(key, float, int)], 1, (float, int), float)[0]

    def integers(self, key: str, count: int) -> tuple[int, ...]:
        return self._list(key, self.get(key, list), count, (int,), int)

    def texts(self, key: str, count: int) -> tuple[str, ...]:
        return self._list(key, self.get(key, list), count, (str,), str)

    def numbers(self, key: str) -> tuple[float, ...]:
        return self._list(key, self.get(key, list), None, (float, int), float)

    def rows(self, key: str, count: int | None, width: int) -> tuple[tuple[float, ...], ...]:
        rows = self._list(key, self.get(key, list), count, (list,), list)
        return tuple(self._list(key, row, width, (float, int), float) for row in rows)

    def array(self, key: str, dtype: str, shape: tuple[int, ...], data: memoryview) -> Array:
        found, sizes, offset = self._reference(key)
        if found != dtype or sizes != shape:
            raise MessageError(
                f"In the message, {self.where} has {key!r} as {found!r} of {list(sizes)}; "
                f"expected {dtype!r} of {list(shape)}."
            )
        count = ITEM_BYTES[dtype]
        for size in shape:
            count *= size
        if offset + count > len(data):
            raise MessageError(
                f"In the message, {key!r} of {self.where} reaches beyond the {len(data)} bytes of data."
            )
        return Array(dtype, shape, data[offset : offset + count])

    def first_size(self, key: str) -> int:
        sizes = self._reference(key)[1]
        if not sizes or sizes[0] < 1:
            raise MessageError(f"In the message, {key!r} of {self.where} is empty.")
        return sizes[0]

    def _reference(self, key: str) -> tuple[str, tuple[int, ...], int]:
        match self.get(key, list):
            case [str(dtype), list(sizes), int(offset)] if offset >= 0:
                return dtype, self._list(key, sizes, None, (int,), int), offset
        raise MessageError(
            f"In the message, {key!r} of {self.where} is not [dtype, shape, offset]."
        )

    def _list(
        self,
        key: str,
        values: list[Any],
        count: int | None,
        kinds: tuple[type, ...],
        convert: Callable[[Any], T],
    ) -> tuple[T, ...]:
        if count not in (None, len(values)) or any(type(value) not in kinds for value in values):
            raise MessageError(
                f"In the message, {self.where} has {key!r} with the wrong number or type of values."
            )
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise MessageError(
                f"In the message, {self.where} has {key!r} with a number that is not finite."
            )
        return tuple(convert(value) for value in values)
