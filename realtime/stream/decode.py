"""Bytes in, a checked message out. Needs msgpack and nothing else: no numpy.

    message = decode(data)
    for person in message.people:
        person.joints.tolist()           # 24 rows of x, y, z, metres
        numpy.asarray(person.joint_cov)  # the same memory as an array, where numpy is there

Whatever the bytes are, the only error is `MessageError`. Decoding takes at most 10 MB beside the
message and about 50 ms (0.2 ms for ours), because headers are bounded (`wire.MAX_HEADER_BYTES`) and
arrays are views of the message.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from realtime.stream.fields import Field, declared, sizes
from realtime.stream.message import COORDINATES, PoseMessage
from realtime.stream.wire import (
    SCHEMA,
    VERSION,
    Array,
    MessageError,
    VersionError,
    item_bytes,
    other_version,
    quoted,
    unpack,
)

T = TypeVar("T")


def decode(message: bytes | memoryview) -> PoseMessage:
    """Read and check one message.

    Every array lies inside the message and every number of its header is finite. What version 2.3
    does not define is skipped.

    Raises:
        VersionError: another major version.
        MessageError: anything else that is not a message.
    """
    header, data = unpack(message)
    fields = _Fields("the header", header, data)
    if (schema := fields.get("schema", str)) != SCHEMA:
        raise MessageError(f"message: has schema '{quoted(schema)}', not '{SCHEMA}'.")
    version = fields.counts("version", 2)
    if version[0] != VERSION[0]:
        raise VersionError(other_version(version[0]))
    if version[1] < 0:  # nothing came with it: all fields would be missing
        fields.refuse("version", "has a minor number below zero")
    fields.minor = version[1]
    return _read(PoseMessage, fields)


def _read(message: type[T], fields: "_Fields") -> T:
    """One of the classes of `message.py`, each field read as it is declared."""
    return message(
        **{
            name: None
            if fields.predates(name, field)
            else _READERS[field.kind](fields, name, field)
            for name, field in declared(message).items()
        }
    )


@dataclass
class _Fields:
    """A map that came off the wire; every getter checks that the field is there and what it is."""

    where: str
    values: Any
    data: memoryview
    """That arrays are references to."""
    hypotheses: int | None = None
    """The K of this map, known from its first array on."""
    minor: int = 0
    """Minor version of the message."""

    def refuse(self, key: str, what: str) -> NoReturn:
        """Raise the error about one field."""
        raise MessageError(f"message: '{key}' of {self.where} {what}.")

    def predates(self, key: str, field: Field) -> bool:
        """Whether the field is missing because the message is of an earlier version."""
        if field.since <= self.minor:
            return False
        return isinstance(self.values, dict) and key not in self.values

    def get(self, key: str, *kinds: type) -> Any:
        if not isinstance(self.values, dict):
            raise MessageError(f"message: {self.where} is not a map.")
        if key not in self.values:
            self.refuse(key, "is missing")
        value = self.values[key]
        if type(value) not in kinds:  # `type`, because True must not pass as an int
            self.refuse(key, f"is of type {type(value).__name__}")
        return value

    def inner(self, key: str) -> "_Fields":
        where = f"'{key}' of {self.where}"
        return _Fields(where, self.get(key, dict), self.data, minor=self.minor)

    def count(self, key: str) -> int:
        if (value := self.get(key, int)) < 0:
            self.refuse(key, "is below zero")
        return value

    def number(self, key: str) -> float:
        return self._list(key, [self.get(key, float, int)], 1, (float, int), float)[0]

    def counts(self, key: str, count: int | None) -> tuple[int, ...]:
        return self._list(key, self.get(key, list), count, (int,), int)

    def texts(self, key: str, count: int | None) -> tuple[str, ...]:
        return self._list(key, self.get(key, list), count, (str,), str)

    def numbers(self, key: str, count: int | None) -> tuple[float, ...]:
        return self._list(key, self.get(key, list), count, (float, int), float)

    def rows(self, key: str, count: int | None, width: int | None) -> tuple[tuple[float, ...], ...]:
        rows = self._list(key, self.get(key, list), count, (list,), list)
        return tuple(self._list(key, row, width, (float, int), float) for row in rows)

    def array(self, key: str, field: Field) -> Array:
        dtype, shape, offset = self._reference(key)
        expected = self._expected_shape(key, field, shape)
        if dtype != field.dtype or shape != expected:
            found, wanted = quoted(list(shape)), quoted(list(expected))
            self.refuse(key, f"is {quoted(dtype)} of {found}, expected {field.dtype} of {wanted}")
        size = item_bytes(dtype) * math.prod(shape)
        if offset + size > len(self.data):
            self.refuse(key, f"reaches beyond the {len(self.data)} bytes of data")
        return Array(dtype, shape, self.data[offset : offset + size])

    def _expected_shape(
        self, key: str, field: Field, shape: tuple[int, ...]
    ) -> tuple[int | None, ...]:
        """The declared shape, with the K of the first array that has one."""
        if self.hypotheses is None and field.shape.startswith("K"):
            if not shape or shape[0] < 1:
                self.refuse(key, "is empty")
            self.hypotheses = shape[0]
        return sizes(field.shape, K=self.hypotheses or 0)

    def _reference(self, key: str) -> tuple[str, tuple[int, ...], int]:
        match self.get(key, list):
            case [str(dtype), list(sizes), int(offset)] if offset >= 0:
                return dtype, self._list(key, sizes, None, (int,), int), offset
        self.refuse(key, "is not [dtype, shape, offset]")

    def _list(
        self,
        key: str,
        values: list[Any],
        count: int | None,
        kinds: tuple[type, ...],
        convert: Callable[[Any], T],
    ) -> tuple[T, ...]:
        if count not in (None, len(values)) or any(type(value) not in kinds for value in values):
            self.refuse(key, "has the wrong number or type of values")
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            self.refuse(key, "has a number that is not finite")
        return tuple(convert(value) for value in values)


def _checked(fields: _Fields, key: str, field: Field, value: T) -> T:
    if field.valid is not None and not field.valid(value):
        fields.refuse(key, f"is {quoted(value)}; expected {field.meaning}")
    return value


def _many(fields: _Fields, key: str, field: Field) -> tuple[Any, ...]:
    assert field.nested is not None
    return tuple(
        _read(field.nested, _Fields(f"person {i}", values, fields.data, minor=fields.minor))
        for i, values in enumerate(fields.get(key, list))
    )


def _one(fields: _Fields, key: str, field: Field) -> Any:
    assert field.nested is not None
    return _read(field.nested, fields.inner(key))


def _optional(fields: _Fields, key: str, field: Field) -> Any:
    return None if fields.get(key, dict, type(None)) is None else _one(fields, key, field)


def _map(fields: _Fields, key: str, field: Field) -> dict[str, str]:
    inner = fields.inner(key)
    return {name: inner.get(name, str) for name in COORDINATES}


_READERS: dict[str, Callable[[_Fields, str, Field], Any]] = {
    "text": lambda fields, key, _: fields.get(key, str),
    "flag": lambda fields, key, _: fields.get(key, bool),
    "count": lambda fields, key, _: fields.count(key),
    "signed": lambda fields, key, _: fields.get(key, int),
    "number": lambda fields, key, _: fields.number(key),
    "finite": lambda fields, key, _: (
        None if fields.get(key, float, int, type(None)) is None else fields.number(key)
    ),
    "counts": lambda fields, key, field: _checked(
        fields, key, field, fields.counts(key, *sizes(field.shape))
    ),
    "numbers": lambda fields, key, field: _checked(
        fields, key, field, fields.numbers(key, *sizes(field.shape))
    ),
    "rows": lambda fields, key, field: _checked(
        fields, key, field, fields.rows(key, *sizes(field.shape))
    ),
    "texts": lambda fields, key, field: fields.texts(key, *sizes(field.shape)),
    "array": lambda fields, key, field: fields.array(key, field),
    "map": _map,
    "one": _one,
    "optional": _optional,
    "many": _many,
}
"""How each `message.Kind` is read."""
