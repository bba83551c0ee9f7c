"""Files that are not what they should be are refused with a reason."""

from pathlib import Path

import numpy as np
import pytest

from engines.arrays import read_npz


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "some.npz", a=np.arange(3), b=np.ones((2, 2)), c=np.array("words"))
    return tmp_path / "some.npz"


def test_what_is_asked_for_is_read(path: Path) -> None:
    assert list(read_npz(path)) == ["a", "b", "c"]
    assert list(read_npz(path, ("c", "a", "d"))) == ["c", "a"]
    assert list(read_npz(path, but=("b",))) == ["a", "c"]
    np.testing.assert_array_equal(read_npz(path)["a"], [0, 1, 2])


def test_other_arrays_are_not_touched(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", a=np.arange(3), objects=np.array([{}], object))
    assert list(read_npz(tmp_path / "some.npz", ("a",))) == ["a"]
    assert list(read_npz(tmp_path / "some.npz", but=("objects",))) == ["a"]
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
