"""Pickles of arrays are read; no pickle runs anything, crashes, or takes more than is stated."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.pickle_objects import PickleError
from engines.pickle_stand_ins import to_array
from engines.smpl_pickle import read_smpl_pickle
from tests.support.paths import ROOT
from tests.support.pickle_payloads import hostile, payloads
from tests.support.synthetic_smpl import synthetic_smpl


@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_payloads_are_refused_and_do_not_run(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pkl"
    path.write_bytes(payloads(marker)[name])
    with pytest.raises(PenumbraError, match="does not need"):
        read_smpl_pickle(path)
    assert not marker.exists()


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """Without this, the test above could pass because its payloads are broken."""
    marker = tmp_path / "marker"
    pickle.loads(payloads(marker)["inside a file"])
    assert marker.exists()


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a child process says of each hostile file, with 384 MB to spare; a crash ends it."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, data in hostile().items():
        (folder / name).write_bytes(data)
    code = f"""
from pathlib import Path
from engines.errors import PenumbraError
from engines.smpl_pickle import read_smpl_pickle
from tests.fuzz.run import limit_memory
limit_memory(384)
for path in sorted(Path({str(folder)!r}).iterdir()):
    print(path.name, end=": ", flush=True)
    try:
        print("read", repr(read_smpl_pickle(path))[:80])
    except PenumbraError as error:
        print(str(error).replace("\\n", " "))
    except BaseException as error:
        print("raised", repr(error)[:200])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-1000:]
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", list(hostile()))
def test_hostile_pickles_are_refused_in_bounded_memory(name: str, refusals: dict[str, str]) -> None:
    assert "is not a readable SMPL pickle: it" in refusals[name]


def pickled(tmp_path: Path, value: object, protocol: int = 2) -> dict[str, np.ndarray]:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps({"value": value}, protocol=protocol))
    return read_smpl_pickle(path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        np.arange(6, dtype=">i4"),
        np.array([True, False]),
        np.zeros((0, 3), np.uint16),
        np.array(3.5),
    ],
)
def test_plain_arrays_are_read_as_they_are(
    tmp_path: Path, protocol: int, array: np.ndarray
) -> None:
    read = pickled(tmp_path, array, protocol)["value"]
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and read.flags.writeable


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_objects_are_read_as_they_are(tmp_path: Path, protocol: int) -> None:
    plain = {
        "text": "Gru\u00df\n'",
        "bytes": bytes(range(256)),
        "numbers": [0, 1, 255, 65536, -1, 2**40, 1.5, True, False, None],
        "nested": ((1,), [2, (3, 4, 5, 6)], {"a": {1: "b"}}),
        "members": {"x", "y"},
        "scalar": np.float64(0.1),
    }
    assert pickled(tmp_path, plain, protocol)["value"] == plain


def test_python_2_text_is_bytes_of_arrays(tmp_path: Path) -> None:
    """Python 2 wrote an array's bytes as quoted text with escapes in protocol 0."""
    array = np.arange(8.0)
    data = repr(array.tobytes())[1:].encode()
    text = (
        b"(dp0\nS'value'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n"
        b"(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I8\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\n"
        b"tp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS" + data + b"\np15\ntp16\nbs."
    )
    (tmp_path / "file.pkl").write_bytes(text)
    np.testing.assert_array_equal(read_smpl_pickle(tmp_path / "file.pkl")["value"], array)


def sparse(**changes: object) -> object:
    matrix = pytest.importorskip("scipy.sparse").csc_matrix(synthetic_smpl()["J_regressor"])
    for name, value in changes.items():
        setattr(matrix, name, value)
    return matrix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_shape": (10**6, 10**6)}, "too large"),
        ({"_shape": (24, -480)}, "impossible shape"),
        ({"_shape": "24"}, "impossible shape"),
        ({"_shape": (2, 480)}, "indices beyond 2"),
        ({"indptr": np.array([0, 10**9])}, "does not fit its entries"),
        ({"indices": np.array(0), "indptr": np.array([0, 1])}, "unequal numbers"),
        ({"indptr": np.array([0.0])}, "no list of indices"),
        ({"data": np.zeros(3)}, "unequal numbers"),
        ({"data": "data"}, "holds a str where an array of numbers belongs"),
    ],
)
def test_sparse_matrices_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    value = pickled(tmp_path, sparse(**changes))["value"]
    with pytest.raises(ValueError, match=message):
        to_array(value)


def foreign(tmp_path: Path, name: str, state: dict[str, object]) -> object:
    """What is read of an object of a class that is not installed."""
    written = pickle.dumps(state, protocol=2)[2:-1]
    (tmp_path / "file.pkl").write_bytes(
        b"\x80\x02}U\x05valuec" + name.encode() + b"\n)R" + written + b"bs."
    )
    return read_smpl_pickle(tmp_path / "file.pkl")["value"]


SELECT = {"a": np.arange(6.0), "idxs": np.arange(4)}


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4, 1)])
def test_selected_entries_have_the_shape_that_they_prefer(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    value = foreign(tmp_path, "chumpy.reordering\nSelect", SELECT | {"preferred_shape": shape})
    np.testing.assert_array_equal(to_array(value), np.arange(4.0).reshape(shape))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("22", "is no shape"),
        (4, "is no shape"),
        (None, "is no shape"),
        ((2.0, 2.0), "is no shape"),
        ((2, -1), "is no shape"),
        ({"a": 4}, "is no shape"),
        ((2, 3), "does not fit"),
        ((2**40, 2**40), "does not fit"),
        ((1,) * 63 + (4,), "does not fit"),
    ],
)
def test_selected_entries_of_an_odd_shape_are_refused(
    tmp_path: Path, shape: object, message: str
) -> None:
    value = foreign(tmp_path, "chumpy.reordering\nSelect", SELECT | {"preferred_shape": shape})
    with pytest.raises(PickleError, match=f"preferred_shape {message}"):
        to_array(value)


COORDINATES = (np.array([0, 1]), np.array([1, 0]))
ENTRIES = {"_shape": (2, 2), "data": np.array([3.0, 4.0])}


@pytest.mark.parametrize("coords", [COORDINATES, list(COORDINATES)])
def test_newer_sparse_entries_are_read(tmp_path: Path, coords: object) -> None:
    value = foreign(tmp_path, "scipy.sparse._coo\ncoo_matrix", ENTRIES | {"coords": coords})
    np.testing.assert_array_equal(to_array(value), [[0.0, 3.0], [4.0, 0.0]])


@pytest.mark.parametrize("coords", [None, 2, "01", COORDINATES[:1], COORDINATES * 2])
def test_sparse_entries_without_rows_and_columns_are_refused(
    tmp_path: Path, coords: object
) -> None:
    value = foreign(tmp_path, "scipy.sparse._coo\ncoo_matrix", ENTRIES | {"coords": coords})
    with pytest.raises(PickleError, match="coords are not rows and columns"):
        to_array(value)


def test_sparse_columns_whose_lengths_overflow_are_refused(tmp_path: Path) -> None:
    """The differences of these starts wrap round to numbers that are not negative."""
    indptr = np.array([0, 2**63 - 1, -(2**63), -1, 2])
    state = {"_shape": (4, 4), "indptr": indptr, "indices": np.arange(2), "data": np.ones(2)}
    value = foreign(tmp_path, "scipy.sparse._csc\ncsc_matrix", state)
    with pytest.raises(PickleError, match="indptr does not fit"):
        to_array(value)


def test_bytes_that_are_no_truth_values_become_some(tmp_path: Path) -> None:
    data = pickle.dumps({"value": np.array([True, False])}, protocol=2)
    (tmp_path / "file.pkl").write_bytes(
        data.replace(b"X\x02\x00\x00\x00\x01\x00", b"X\x02\x00\x00\x00\x7f\x00")
    )
    read = read_smpl_pickle(tmp_path / "file.pkl")["value"]
    np.testing.assert_array_equal(read.view(np.uint8), [1, 0])


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.smpl_pickle.MAX_FILE_BYTES", 100)
    with pytest.raises(PenumbraError, match="it is larger than 100 bytes"):
        pickled(tmp_path, np.zeros(100))


def test_names_cannot_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "file.pkl").write_bytes(b"\x8c\x04\x1b[2J\x8c\x01x\x93.")
    with pytest.raises(PenumbraError, match=r"asks for \\x1b\[2J\.x"):
        read_smpl_pickle(tmp_path / "file.pkl")
