"""The scratch file of an archive: what is written to it and read from it.

A scratch file is a magic line, a JSON line with K and the meta data, and one fixed-size
little-endian record for each person of each frame, or one for a frame without anybody. The fields
of a record are those that `stream.message` declares as archived.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engines.errors import PenumbraError
from engines.files import READ_FLAGS
from engines.types import Estimate
from realtime.stream.fields import Stored, archived, sizes
from realtime.stream.message import HypothesesMessage, PersonMessage, PoseMessage, WorldMessage

log = logging.getLogger(__name__)

FORMAT = 6
MAGIC = b"PENUMBRA RECORDS %d\n" % FORMAT
MAX_HEADER_BYTES = 1 << 20
"""Longest JSON line; reading one takes less than 64 MB."""
MAX_K = 100_000
"""Hypotheses in a record, which is then 30 MB long."""
CHUNK_BYTES = 8 << 20
"""How much of a field is in memory while the `.npz` is written."""


@cache
def _takers() -> tuple[list[tuple[str, Callable[[Any], Any]]], ...]:
    """Name of a field and the function that takes it: of an estimate, of an estimate that has a
    world, of a person.
    """
    return tuple(
        [(field.name, attrgetter(field.take)) for field in archived(*messages)]
        for messages in ((PoseMessage,), (WorldMessage,), (PersonMessage, HypothesesMessage))
    )


def fields() -> tuple[Stored, ...]:
    """What is archived, in the order in which it lies in a record."""
    return archived(PoseMessage, WorldMessage, PersonMessage, HypothesesMessage)


def record_dtype(k: int) -> np.dtype:
    """One person with `k` hypotheses in one frame."""
    return np.dtype([(field.name, field.dtype, sizes(field.shape, K=k)) for field in fields()])


def blank_record(k: int) -> np.ndarray:
    """A frame without a person: all floating-point numbers are NaN, all others zero."""
    record = np.zeros((), record_dtype(k))
    for field in fields():
        if "f" in field.dtype:
            record[field.name] = np.nan
    return record


def records_of(estimate: Estimate, blank: np.ndarray) -> np.ndarray:
    """Return the records of an estimate: one for each person, or one that nobody is in."""
    of_estimate, of_world, of_person = _takers()
    records = np.repeat(blank, max(1, len(estimate.people)))
    for name, take in of_estimate if estimate.world is None else (*of_estimate, *of_world):
        records[name] = take(estimate)
    for record, person in zip(records, estimate.people, strict=False):
        for name, take in of_person:
            value = take(person)
            # Assignment would repeat a single hypothesis K times without a word.
            assert np.shape(value) == record.dtype[name].shape, f"{name}: {np.shape(value)}"
            record[name] = value
    return records


def header(k: int, meta: Mapping[str, Any]) -> bytes:
    """The first two lines of a scratch file.

    Raises:
        PenumbraError: the meta data, such as a model's record, are too long.
    """
    line = json.dumps({"k": k, "meta": dict(meta)}).encode() + b"\n"
    if len(line) > MAX_HEADER_BYTES and meta.get("images"):
        log.warning(
            "out: %d photos are more than the scratch file can name; the archive will name them, "
            "but not if the run is killed and its archive recovered.",
            len(meta["images"]),
        )
        return header(k, {**meta, "images": []})
    if len(line) > MAX_HEADER_BYTES:
        raise PenumbraError(
            f"out: what the archive would say about the run has {len(line)} bytes, at most "
            f"{MAX_HEADER_BYTES} can be kept; give the model a shorter record."
        )
    return MAGIC + line


@dataclass(frozen=True)
class Records:
    """An open scratch file.

    Its numbers are read and not mapped: a disk that fails is then an error and not a signal.
    """

    file: BinaryIO
    path: Path
    dtype: np.dtype
    start: int
    """Offset of the first record, bytes."""
    count: int
    """Whole records; half a one at the end is left out."""
    meta: dict[str, Any]

    @staticmethod
    def open(path: Path) -> "Records":
        """Open a scratch file and read its header.

        Raises:
            PenumbraError: it cannot be read, or is not a scratch file of this version.
        """
        try:
            file = os.fdopen(os.open(path, READ_FLAGS), "rb", buffering=0)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise PenumbraError(
                f"partial: '{path}' cannot be read ({reason}); check the path."
            ) from error
        try:
            return Records.of(file, path)
        except BaseException:
            file.close()
            raise

    @staticmethod
    def of(file: BinaryIO, path: Path) -> "Records":
        """The records of an open scratch file, unbuffered; messages call it `path`.

        Raises:
            PenumbraError: it is not a scratch file of this version.
        """
        try:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise PenumbraError(
                    f"partial: '{path}' is not a regular file; give the '.partial' file of a run."
                )
            file.seek(0)
            magic, line = _lines(file.read(len(MAGIC) + MAX_HEADER_BYTES))
        except OSError as error:
            raise PenumbraError(
                f"partial: '{path}' cannot be read ({error.strerror}); check the disk."
            ) from error
        _check_magic(path, magic)
        k, meta = _read_header(path, line)
        dtype = record_dtype(k)
        start = len(magic) + len(line)
        count = (found.st_size - start) // dtype.itemsize
        return Records(file, path, dtype, start, count, meta)

    def read_field(self, name: str, start: int, count: int) -> np.ndarray:
        """Values (count, ...) of one field, from record `start` on.

        Raises:
            OSError: the file does not give them.
        """
        assert self.dtype.fields is not None
        dtype, offset = self.dtype.fields[name][:2]
        values = np.empty(count, dtype)
        rows = values.reshape(count, -1).view(np.uint8)
        at = self.start + start * self.dtype.itemsize + offset
        for row in rows:
            if _read_at(self.file, row.data, at) != len(row):
                raise OSError(errno.EIO, "the scratch file has become shorter")
            at += self.dtype.itemsize
        return rows.astype(bool).reshape(count) if dtype == np.bool_ else values

    def count_frames(self) -> int:
        """Count the frames that the records are of; those of one frame follow each other."""
        frames, before = 0, None
        for chunk in self.chunks("frame"):
            frames += int((np.diff(chunk) != 0).sum()) + (before is None or chunk[0] != before)
            before = chunk[-1]
        return frames

    def of_frames(self, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of a list of photos that there are records of."""
        listed = {image["frame"] for image in images}
        there: set[int] = set()
        for chunk in self.chunks("frame"):
            there |= listed.intersection(np.unique(chunk).tolist())
        return [image for image in images if image["frame"] in there]

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """One field of all records, a few megabytes at a time.

        Raises:
            OSError: the file does not give them.
        """
        rows = max(1, CHUNK_BYTES // self.dtype[name].itemsize)
        for start in range(0, self.count, rows):
            yield self.read_field(name, start, min(rows, self.count - start))


def _check_magic(path: Path, magic: bytes) -> None:
    if magic == MAGIC:
        return
    if magic.startswith(b"PENUMBRA RECORDS "):
        raise PenumbraError(
            f"partial: '{path}' is of another version; recover it with the one that wrote it."
        )
    raise PenumbraError(
        f"partial: '{path}' is not the scratch file of a run; give the '.partial' file beside the "
        "output."
    )


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
            if _are_photos(meta.get("images", [])):
                return k, meta
    raise PenumbraError(
        f"partial: the header of '{path}' is damaged, and its frames cannot be told apart without "
        "it; restore the file."
    )


def _are_photos(images: object) -> bool:
    return isinstance(images, list) and all(
        isinstance(image, dict) and isinstance(image.get("frame"), int) for image in images
    )


def _read_at(file: BinaryIO, buffer: memoryview, offset: int) -> int:
    """Fill a buffer from an unbuffered file; how many bytes came."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [buffer], offset)
    file.seek(offset)
    return file.readinto(buffer)  # pyright: ignore[reportAttributeAccessIssue]
