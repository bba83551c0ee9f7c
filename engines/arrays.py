"""Arrays out of `.npz` files of others, which may be damaged or hostile.

NumPy's own reader believes what a file declares: a few kilobytes may ask for any amount of memory,
and a header is evaluated as Python. Here sizes are checked before anything is allocated, and a
header must have the one form that NumPy writes.
"""

import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from engines.files import READ_FLAGS

MAX_BYTES = 2**31
"""How large the arrays of one file may be together, unless the caller sets another bound."""
MAX_DIRECTORY_BYTES = 2**20
"""The largest table of contents of a file: some ten thousand arrays."""
_DEFLATE_RATIO = 1032
"""Nothing that deflate has compressed grows by more than this (zlib's technical details)."""
_CHUNK = 2**20
_MAX_HEADER_BYTES = 4096
_HEADER = re.compile(
    r"\{\s*'descr': *'([<>|=]?)([a-zA-Z])(\d{0,9})', *'fortran_order': *(True|False), *"
    r"'shape': *\(([\dL, ]*)\),? *\}\s*"
)


@runtime_checkable
class Reader(Protocol):
    """What an array is read from: a file, or a member of an archive."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


def read_npz(
    path: Path,
    names: Iterable[str] | None = None,
    exclude: Container[str] = (),
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """Read arrays of numbers, truth values and text; others than asked for are not touched.

    Args:
        path: the file.
        names: the arrays to read, as far as they are there; all when None.
        exclude: arrays to leave out.
        max_bytes: how much memory the arrays may take together. At no time is more allocated, apart
            from some megabytes, and never more than a thousand times the file's size.

    Raises:
        ValueError: the file cannot be opened, is no `.npz`, is damaged, too large or holds objects;
            the message tells which.
    """
    try:
        with _BoundedReads(path) as file, zipfile.ZipFile(file) as archive:
            wanted = _wanted(archive, names, exclude)
            size = os.fstat(file.fileno()).st_size
            return _read_members(archive, wanted, size, max_bytes)
    except (
        OSError,
        EOFError,
        NotImplementedError,  # zipfile: an odd method or version
        RuntimeError,  # zipfile: encrypted
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(str(reason) or "it is cut off") from error


class _BoundedReads(io.BufferedReader):
    """A regular file that gives a megabyte at a time.

    zipfile reads the whole directory of an archive at once, whatever size it declares, and makes
    objects of it that are ten times as large.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, opener=lambda name, _: os.open(name, READ_FLAGS)))
        try:
            if not stat.S_ISREG(os.fstat(self.fileno()).st_mode):
                raise ValueError("it is not a regular file")
            if self.read(6) == b"\x93NUMPY":
                raise ValueError("one array where a file of named ones is expected")
        except BaseException:
            self.close()
            raise

    def read(self, size: int | None = -1, /) -> bytes:
        too_many = MAX_DIRECTORY_BYTES + 1
        data = super().read(too_many if size is None or size < 0 else min(size, too_many))
        if len(data) == too_many:
            raise ValueError(f"its directory has more than {MAX_DIRECTORY_BYTES} bytes")
        return data


def _wanted(
    archive: zipfile.ZipFile, names: Iterable[str] | None, exclude: Container[str]
) -> dict[str, zipfile.ZipInfo]:
    members = {
        name.removesuffix(".npy"): member
        for name, member in archive.NameToInfo.items()
        if name.endswith(".npy")
    }
    chosen = members if names is None else [name for name in names if name in members]
    return {name: members[name] for name in chosen if name not in exclude}


def _read_members(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], size: int, max_bytes: int
) -> dict[str, np.ndarray]:
    """Members of a file of `size` bytes, each checked against what it can hold."""
    left = max_bytes
    arrays: dict[str, np.ndarray] = {}
    for name, member in members.items():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{_shown(name)} is compressed by a method that NumPy does not use")
        ratio = 1 if member.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
        compressed = min(member.compress_size, size)
        if member.file_size > ratio * compressed:
            raise ValueError(f"{_shown(name)} declares more than it can hold")
        if member.file_size > left + _MAX_HEADER_BYTES:
            raise ValueError(f"its arrays take more than {max_bytes} bytes")
        with archive.open(member) as stream:
            arrays[name] = _read_array(stream, name, member.file_size)
        left -= arrays[name].nbytes
    return arrays


def _read_array(stream: Reader, name: str, size: int) -> np.ndarray:
    """One array from a member of `size` bytes (NumPy's format .npy, versions 1 and 2)."""
    dtype, order, shape, header_size = _read_header(stream, name)
    if math.prod(shape) * dtype.itemsize != size - header_size:
        raise ValueError(f"the shape of {_shown(name)} does not fit its size")
    flat = np.empty(math.prod(shape), dtype)
    memory = flat.view(np.uint8) if flat.nbytes else np.empty(0, np.uint8)
    filled = 0
    while filled < len(memory):
        chunk = stream.read(min(_CHUNK, len(memory) - filled))
        if not chunk:
            raise ValueError(f"{_shown(name)} ends too early")
        memory[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    if stream.read(1):  # also makes zipfile compare the checksum
        raise ValueError(f"{_shown(name)} is longer than it declares")
    _check_values(flat, name)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _read_header(stream: Reader, name: str) -> tuple[np.dtype, str, tuple[int, ...], int]:
    """Type, order, shape, and how many bytes the header has."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
        raise ValueError(f"{_shown(name)} is no array of NumPy's")
    form = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"the header of {_shown(name)} has {length} bytes")
    header = _HEADER.fullmatch(stream.read(length).decode("latin1"))
    if header is None:
        raise ValueError(f"the header of {_shown(name)} is not of the form that NumPy writes")
    byte_order, kind, item, fortran, sides = header.groups()
    if kind == "O":
        raise ValueError(f"Object arrays are not read, and {_shown(name)} is one")
    if kind not in "biufSU":
        raise ValueError(f"{_shown(name)} holds neither numbers nor text")
    try:
        dtype = np.dtype(f"{byte_order}{kind}{item}")
    except TypeError as error:
        raise ValueError(f"{_shown(name)} is of an unknown type") from error
    shape = tuple(int(side.strip().rstrip("L")) for side in sides.split(",") if side.strip())
    if len(shape) > 16 or any(side >= 2**40 for side in shape):
        raise ValueError(f"{_shown(name)} has an impossible shape")
    size = 8 + struct.calcsize(form) + length
    return dtype, "F" if fortran == "True" else "C", shape, size


def _check_values(flat: np.ndarray, name: str) -> None:
    """Refuse bytes that are no value of the type: NumPy would pass them on to Python."""
    if flat.dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"{_shown(name)} holds bytes that are no truth values")
    if flat.dtype.kind == "U" and flat.nbytes:
        points = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
        if points.max() > 0x10FFFF:
            raise ValueError(f"{_shown(name)} holds numbers that are no characters")


def _shown(name: str) -> str:
    """A name of an array for a message: short, and nothing that a terminal would execute."""
    return ascii(name[:80])[1:-1]
