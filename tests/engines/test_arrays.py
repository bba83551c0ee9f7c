"""Files that are not what they should be are refused with a reason."""

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engines.arrays import read_npz
from tests.support.paths import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "some.npz", a=np.arange(3), b=np.ones((2, 2)), c=np.array("words"))
    return tmp_path / "some.npz"


def test_what_is_asked_for_is_read(path: Path) -> None:
    assert list(read_npz(path)) == ["a", "b", "c"]
    assert list(read_npz(path, ("c", "a", "d"))) == ["c", "a"]
    assert list(read_npz(path, exclude=("b",))) == ["a", "c"]
    np.testing.assert_array_equal(read_npz(path)["a"], [0, 1, 2])


def test_other_arrays_are_not_touched(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", a=np.arange(3), objects=np.array([{}], object))
    assert list(read_npz(tmp_path / "some.npz", ("a",))) == ["a"]
    assert list(read_npz(tmp_path / "some.npz", exclude=("objects",))) == ["a"]
    with pytest.raises(ValueError, match="Object arrays"):
        read_npz(tmp_path / "some.npz")


def test_anything_else_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_npz(tmp_path / "none.npz")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(ValueError, match=r"\w"):
        read_npz(tmp_path / "empty.npz")
    (tmp_path / "words.npz").write_text("not an archive")
    with pytest.raises(ValueError, match=r"\w"):
        read_npz(tmp_path / "words.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(ValueError, match="one array where a file of named ones"):
        read_npz(tmp_path / "one.npy")
    whole = path.read_bytes()
    for keep in (len(whole) - 30, len(whole) // 2):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"\w"):
            read_npz(path)
    path.write_bytes(whole[:60] + bytes(20) + whole[80:])
    with pytest.raises(ValueError, match=r"\w"):
        read_npz(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float16).reshape(3, 4)),
        np.arange(6, dtype=">i4"),
        np.array([True, False]),
        np.zeros((0, 3), np.uint16),
        np.array(3.5),
        np.array("Gru\u00df"),
        np.array([b"one", b"two"]),
        np.array([], "U5"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(
    tmp_path: Path, array: np.ndarray, save: object
) -> None:
    save(tmp_path / "some.npz", a=array)  # pyright: ignore[reportCallIssue]
    read = read_npz(tmp_path / "some.npz")["a"]
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and read.shape == array.shape and read.flags.writeable


def test_headers_of_python_2_are_read(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 2L), }\n"
    write(tmp_path / "a.npz", {"a": member(header, np.ones(2).tobytes())})
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["a"], np.ones((1, 2)))


def member(header: bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def write(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def plain(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n"
    return member(header.encode(), data)


def hostile() -> dict[str, dict[str, bytes]]:
    """Members of files that are refused, by what is wrong with them."""
    return {
        "does not fit its size": {"a": plain("<f8", "1000000000000,")},
        "does not fit its size ": {"a": plain("<f8", "3,", bytes(8))},
        "does not fit its size  ": {"a": plain("<U999999999", "")},
        "is not of the form that NumPy writes": {"a": member(b"-" * 4000 + b"1")},
        "is not of the form that NumPy writes ": {"a": member(b"(" * 4000)},
        "is not of the form that NumPy writes  ": {"a": member(b"__import__('os').getpid()")},
        "the header of a has 65535 bytes": {"a": member(b"(" * 65535)},
        "Object arrays": {"a": plain("|O", "1,", bytes(8))},
        "neither numbers nor text": {"a": plain("|V8", "1,", bytes(8))},
        "is of an unknown type": {"a": plain("<f3", "1,", bytes(3))},
        "is no array of NumPy's": {"a": b"\x93NUMPY\7\0"},
        "is no array of NumPy's ": {"a": b""},
        "no truth values": {"a": plain("|b1", "1,", b"\2")},
        "no characters": {"a": plain("<U1", "1,", b"\xff\xff\xff\x7f")},
        r"the header of \\x1b\[2J": {"\x1b[2J": member(b"")},
    }


@pytest.mark.parametrize("message", list(hostile()))
def test_hostile_members_are_refused(tmp_path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message.strip()):
        read_npz(write(tmp_path / "a.npz", hostile()[message]))


def test_sizes_are_bounded_together(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1000), b=np.zeros(1000))
    assert len(read_npz(tmp_path / "a.npz", max_bytes=16_000)) == 2
    with pytest.raises(ValueError, match="its arrays take more than 9000 bytes"):
        read_npz(tmp_path / "a.npz", max_bytes=9000)
    assert len(read_npz(tmp_path / "a.npz", ("b",), max_bytes=9000)) == 1


def test_a_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The directory declares a gigabyte of stored zeros, and so does the header."""
    size = 2**30
    content = plain("|i1", f"{size},")
    path = write(tmp_path / "a.npz", {"a": content}, zipfile.ZIP_STORED)
    declared = struct.pack("<I", len(content) + size)
    data = path.read_bytes().replace(struct.pack("<I", len(content)), declared)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a declares more than it can hold"):
        read_npz(path)
    start = data.index(b"PK\1\2") + 20
    path.write_bytes(data[:start] + struct.pack("<I", len(content)) + data[start + 4 :])
    with pytest.raises(ValueError, match="a declares more than it can hold"):
        read_npz(path)


def test_a_large_directory_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", {"x" * 60_000 + str(number): b"" for number in range(20)})
    with pytest.raises(ValueError, match="its directory has more than 1048576 bytes"):
        read_npz(tmp_path / "a.npz")


def test_other_methods_and_encryption_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", {"a": plain("<f8", "", bytes(8))}, zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="a method that NumPy does not use"):
        read_npz(path)
    path = write(tmp_path / "b.npz", {"a": plain("<f8", "", bytes(8))})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="encrypted"):
        read_npz(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="regular file"):
            read_npz(path)


def test_a_zip_bomb_takes_no_memory(tmp_path: Path) -> None:
    """Half a gigabyte out of two megabytes, read by a process that has 300 MB to spare."""
    zeros, size = bytes(2**20), 2**29
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("v_template.npy", "w") as stream,
    ):
        stream.write(plain("<f8", f"{size // 8},"))
        for _ in range(size // len(zeros)):
            stream.write(zeros)
    assert (tmp_path / "a.npz").stat().st_size < 5e6
    code = f"""
from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.fuzz.run import limit_memory
limit_memory(300)
try:
    BodyModel.load({str(tmp_path / "a.npz")!r})
except PenumbraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "its arrays take more than 268435456 bytes" in done.stdout, done.stderr


def test_every_cut_and_every_changed_byte_is_read_or_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(3), b=np.array("words"))
    whole = buffer.getvalue()
    path = tmp_path / "a.npz"
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        for content in (whole[:position], bytes(changed)):
            path.write_bytes(content)
            try:
                read_npz(path)
            except ValueError:
                continue
