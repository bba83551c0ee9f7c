"""Flatbuffers, read so that a damaged or malicious file costs an error and nothing else.

Every offset is checked against the file before it is followed, so nothing is read outside of it;
vectors of numbers are views of the file, and vectors of tables are no longer than their reader
allows. The format: https://flatbuffers.dev/internals. Slots are the positions of the fields in the
schema.
"""

import struct
from dataclasses import dataclass

import numpy as np

from engines.printable import printable


class FlatbufferError(Exception):
    """Raised where the bytes are not what the format says; the message says what is wrong."""


@dataclass(frozen=True)
class Table:
    """A table of fields, any of which may be missing."""

    data: bytes
    position: int

    @staticmethod
    def root(data: bytes) -> "Table":
        """Return the table that the file begins with."""
        return Table(data, _follow(data, 0))

    def number(self, slot: int, kind: str, default: int = 0) -> int:
        """Read a number; `kind` is a format character of `struct`."""
        position = self._field(slot)
        return default if position is None else _number(self.data, position, kind)

    def table(self, slot: int) -> "Table | None":
        """Return the table that a field refers to; None where it is missing."""
        position = self._field(slot)
        return None if position is None else Table(self.data, _follow(self.data, position))

    def tables(self, slot: int, at_most: int) -> "list[Table]":
        """Return a vector of tables; empty where it is missing.

        Raises:
            FlatbufferError: if there are more than `at_most`.
        """
        start, count = self._vector(slot, 4)
        if count > at_most:
            raise FlatbufferError(f"{count} entries where {at_most} are allowed")
        positions = range(start, start + 4 * count, 4)
        return [Table(self.data, _follow(self.data, position)) for position in positions]

    def numbers(self, slot: int, dtype: str) -> np.ndarray:
        """Return a vector of numbers as a view of the file; empty where it is missing."""
        start, count = self._vector(slot, np.dtype(dtype).itemsize)
        return np.frombuffer(self.data, dtype, count, start)

    def text(self, slot: int, at_most: int = 80) -> str:
        """Return the first characters of a string, safe to be shown in a terminal."""
        start, count = self._vector(slot, 1)
        return printable(self.data[start : start + min(count, at_most)].decode(errors="replace"))

    def _vector(self, slot: int, itemsize: int) -> tuple[int, int]:
        """Return start and length of a vector that lies within the file."""
        position = self._field(slot)
        if position is None:
            return 0, 0
        start = _follow(self.data, position)
        count = _number(self.data, start, "I")
        if count * itemsize > len(self.data) - start - 4:
            raise FlatbufferError(f"a vector of {count} elements leaves the file")
        return start + 4, count

    def _field(self, slot: int) -> int | None:
        vtable = self.position - _number(self.data, self.position, "i")
        offset = 4 + 2 * slot
        if offset + 2 > _number(self.data, vtable, "H"):
            return None
        offset = _number(self.data, vtable + offset, "H")
        return self.position + offset if offset else None


def _number(data: bytes, position: int, kind: str) -> int:
    if position < 0:  # struct would count from the end
        raise FlatbufferError("an offset leads out of the file")
    try:
        return struct.unpack_from(f"<{kind}", data, position)[0]
    except struct.error as error:
        raise FlatbufferError("an offset leads out of the file") from error


def _follow(data: bytes, position: int) -> int:
    return position + _number(data, position, "I")
