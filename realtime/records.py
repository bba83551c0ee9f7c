"""The scratch file of an archive, and the `.npz` that is made of it.

A scratch file is a magic line, a JSON line with K and the meta data, and one fixed-size
little-endian record for each frame. The fields of a record are those that `stream.message` declares
as archived.
"""

import json
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import FileIO
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engines.errors import PenumbraError
from engines.outputs import OutputFile
from engines.types import Estimate
from realtime.stream.message import (
    HypothesesMessage,
    PersonMessage,
    PoseMessage,
    Stored,
    archived,
    sizes,
)

FORMAT = 3
MAGIC = b"PENUMBRA RECORDS %d\n" % FORMAT
MAX_HEADER_BYTES = 1 << 20
"""Of the JSON line; reading one takes less than 64 MB."""
MAX_K = 100_000
"""Hypotheses in a record, which is then 30 MB long."""
CHUNK_BYTES = 8 << 20
"""How much of a field is in memory while the `.npz` is written."""


@cache
def _takers() -> tuple[list[tuple[str, Callable[[Any], Any]]], ...]:
    """Name of a field and the function that takes it: of an estimate, of a person."""
    return tuple(
        [(field.name, attrgetter(field.take)) for field in archived(*messages)]
        for messages in ((PoseMessage,), (PersonMessage, HypothesesMessage))
    )


def fields() -> tuple[Stored, ...]:
    """What is archived, in the order in which it lies in a record."""
    return archived(PoseMessage, PersonMessage, HypothesesMessage)


def record_dtype(k: int) -> np.dtype:
    """One frame with `k` hypotheses."""
    return np.dtype([(field.name, field.dtype, sizes(field.shape, K=k)) for field in fields()])


def blank_record(k: int) -> np.ndarray:
    """A frame without a person: all floating-point numbers are NaN, all others zero."""
    record = np.zeros((), record_dtype(k))
    for field in fields():
        if "f" in field.dtype:
            record[field.name] = np.nan
    return record


def fill_record(record: np.ndarray, estimate: Estimate) -> None:
    """Put an estimate into a blank record."""
    of_estimate, of_person = _takers()
    for name, take in of_estimate:
        record[name] = take(estimate)
    if estimate.person is None:
        return
    for name, take in of_person:
        value = np.asarray(take(estimate.person))
        # Assignment would repeat a single hypothesis K times without a word.
        assert value.shape == record[name].shape, f"{name}: {value.shape}, {record[name].shape}"
        record[name] = value


def header(k: int, meta: Mapping[str, Any]) -> bytes:
    """The first two lines of a scratch file."""
    line = json.dumps({"k": k, "meta": dict(meta)}).encode() + b"\n"
    assert len(line) <= MAX_HEADER_BYTES, f"meta data of {len(line)} bytes"
    return MAGIC + line


@dataclass(frozen=True)
class Records:
    """An open scratch file.

    Its numbers are read and not mapped: a disk that fails is then an error and not a signal.
    """

    file: FileIO
    dtype: np.dtype
    start: int
    """Offset of the first record, bytes."""
    count: int
    """Whole records; half a one at the end is left out."""
    meta: dict[str, Any]

    @staticmethod
    def open(path: Path) -> "Records":
        """Read the header of a scratch file.

        Raises:
            PenumbraError: it cannot be read, or is not a scratch file of this version.
        """
        try:
            flags = os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_BINARY")
            file = os.fdopen(os.open(path, flags), "rb", buffering=0)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PenumbraError(
                f"partial: '{path}' cannot be read ({reason}); check the path."
            ) from error
        try:
            return _open_records(path, file)
        except BaseException:
            file.close()
            raise

    def read_field(self, name: str, start: int, count: int) -> np.ndarray:
        """Values (count, ...) of one field, from record `start` on.

        Raises:
            OSError: the file does not give them.
        """
        assert self.dtype.fields is not None
        dtype, offset = self.dtype.fields[name][:2]
        values = np.empty(count, dtype)
        rows = values.reshape(count, -1).view(np.uint8)
        for i, row in enumerate(rows, start):
            self.file.seek(self.start + i * self.dtype.itemsize + offset)
            if self.file.readinto(row.data) != len(row):
                raise OSError(None, "the scratch file has become shorter")
        return rows.astype(bool).reshape(count) if dtype == np.bool_ else values

    def write_npz(self, file: BinaryIO, meta: Mapping[str, Any]) -> None:
        """Write one uncompressed member for each field, a few megabytes at a time.

        Noise such as hypotheses hardly compresses.
        """
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in self.dtype.names or ():
                dtype = self.dtype[name]
                descr = np.lib.format.dtype_to_descr(dtype.base)
                shape = (self.count, *dtype.shape)
                layout = {"descr": descr, "fortran_order": False, "shape": shape}
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, layout)
                    rows = max(1, CHUNK_BYTES // dtype.itemsize)
                    for start in range(0, self.count, rows):
                        chunk = self.read_field(name, start, min(rows, self.count - start))
                        member.write(chunk.reshape(-1).view(np.uint8).data)
            with archive.open(zipfile.ZipInfo("meta.npy"), "w") as member:
                text = json.dumps({**meta, "frames": self.count, "format": FORMAT})
                np.lib.format.write_array(member, np.array(text), allow_pickle=False)


def assemble(partial: Path, output: OutputFile, meta: Mapping[str, Any] | None = None) -> int:
    """Turn a scratch file into the `.npz`; the number of frames.

    The result takes its name in one step or not at all; the scratch file stays.

    Args:
        partial: written by `Archive`; a last record that is incomplete is left out.
        output: the result.
        meta: is added to the one with which the run began.

    Raises:
        PenumbraError: `partial` is not such a file, or the result cannot be written.
    """
    records = Records.open(partial)
    with records.file:
        try:
            scratch, file = output.create_scratch(".tmp")
            try:
                with file:
                    records.write_npz(file, {**records.meta, **(meta or {})})
                output.commit(scratch)
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
            except PenumbraError:  # complete, but without its name; the message says where it is
                raise
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise PenumbraError(
                f"out: '{output.path}' cannot be written ({error.strerror}); the {records.count} "
                "frames are safe, free some space and run: python -m realtime.archive recover "
                f"'{partial}'"
            ) from error
    return records.count


def _open_records(path: Path, file: FileIO) -> Records:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise PenumbraError(
            f"partial: '{path}' is not a regular file; give the '.partial' file of a run."
        )
    try:
        magic, line = _lines(file.read(len(MAGIC) + MAX_HEADER_BYTES))
        length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise PenumbraError(
            f"partial: '{path}' cannot be read ({error.strerror}); check the disk."
        ) from error
    if magic != MAGIC:
        if magic.startswith(b"PENUMBRA RECORDS "):
            raise PenumbraError(
                f"partial: '{path}' is of another version; recover it with the one that wrote it."
            )
        raise PenumbraError(
            f"partial: '{path}' is not the scratch file of a run; give the '.partial' file beside "
            "the output."
        )
    k, meta = _read_header(path, line)
    start = len(magic) + len(line)
    dtype = record_dtype(k)
    return Records(file, dtype, start, (length - start) // dtype.itemsize, meta)


def _lines(head: bytes) -> tuple[bytes, bytes]:
    """The first two lines, with their ends."""
    first = head.find(b"\n") + 1
    second = head.find(b"\n", first) + 1
    return head[:first], head[first:second]


def _read_header(path: Path, line: bytes) -> tuple[int, dict[str, Any]]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    match header:
        case {"k": int(k), "meta": dict(meta)} if 1 <= k <= MAX_K and not isinstance(k, bool):
            return k, meta
    raise PenumbraError(
        f"partial: the header of '{path}' is damaged, and its frames cannot be told apart without "
        "it; restore the file."
    )


def _flag(name: str) -> int:
    """A flag of `os.open` that not every system has."""
    return getattr(os, name, 0)
