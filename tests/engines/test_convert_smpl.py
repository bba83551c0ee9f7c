"""The converter: files like the official ones are converted without loss; others are refused."""

import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.convert_smpl import ConvertConfig, convert, main
from engines.errors import PenumbraError
from tests.support.paths import ROOT
from tests.support.pickle_payloads import payloads
from tests.support.synthetic_smpl import synthetic_smpl

FLOAT_KEYS = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor")


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A package with chumpy's names, to pickle with; gone before the converter reads the file."""
    package, ch, reordering = (
        types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")
    )

    class Ch:
        def __init__(self, **state: object) -> None:
            self.__dict__.update(state)

    class Select(Ch):
        pass

    for module, cls in ((ch, Ch), (reordering, Select)):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
        setattr(package, cls.__name__, cls)
    for module in (package, ch, reordering):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield package


def pickled_with_chumpy(
    path: Path, chumpy: types.ModuleType, protocol: int, num_betas: int = 10
) -> dict:
    """Write an SMPL file as the official ones are made, and return its plain arrays."""
    sparse = pytest.importorskip("scipy.sparse")
    plain = synthetic_smpl(num_betas=num_betas)
    flat = plain["posedirs"].ravel()
    order = np.random.default_rng(1).permutation(flat.size)
    shuffled = np.empty_like(flat)
    shuffled[order] = flat
    rest = {
        "_dirty_vars": {"x"},
        "_itr": None,
        "_depends_on_deps": {},
        "_make_dense": False,
    }  # as chumpy's state has it
    official = plain | {
        "shapedirs": chumpy.Ch(x=plain["shapedirs"], **rest),
        "posedirs": chumpy.Select(
            a=chumpy.Ch(x=shuffled, **rest),
            idxs=order,
            preferred_shape=plain["posedirs"].shape,
            **rest,
        ),
        "J_regressor": sparse.csc_matrix(plain["J_regressor"]),
        "bs_style": "lbs",
        "J": np.zeros((24, 3)),
    }
    path.write_bytes(pickle.dumps(official, protocol=protocol))
    return plain


def assert_same_arrays(converted: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> None:
    for key in FLOAT_KEYS:
        expected = plain[key][..., :10] if key == "shapedirs" else plain[key]
        np.testing.assert_array_equal(converted[key], expected.astype(np.float32), err_msg=key)
    for key in ("kintree_table", "f"):
        np.testing.assert_array_equal(converted[key], plain[key], err_msg=key)


# Python 2 wrote protocols 0 to 2; a file that somebody saved again may have 4.
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("num_betas", [10, 300])
def test_chumpy_pickles_convert(
    tmp_path: Path,
    chumpy: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    protocol: int,
    num_betas: int,
) -> None:
    path = tmp_path / "smpl.pkl"
    plain = pickled_with_chumpy(path, chumpy, protocol, num_betas)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    arrays, _ = convert(path)
    assert_same_arrays(arrays, plain)


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_every_sparse_form_gives_the_dense_matrix(tmp_path: Path, form: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    plain = synthetic_smpl()
    path = tmp_path / "smpl.pkl"
    matrix = getattr(sparse, f"{form}_matrix")(plain["J_regressor"])
    path.write_bytes(pickle.dumps(plain | {"J_regressor": matrix}, protocol=2))
    assert_same_arrays(convert(path)[0], plain)


def test_npz_converts_and_gives_the_same_body_as_the_pickle(tmp_path: Path) -> None:
    plain = synthetic_smpl()
    np.savez(tmp_path / "a.npz", **plain)  # pyright: ignore[reportArgumentType]
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(plain, protocol=2))
    rng = np.random.default_rng(2)
    rotvec, betas, transl = (
        rng.normal(size=(3, 24, 3)),
        rng.normal(size=(3, 10)),
        rng.normal(size=(3, 3)),
    )
    vertices = []
    for file in ("a.npz", "b.pkl"):
        arrays, _ = convert(tmp_path / file)
        assert_same_arrays(arrays, plain)
        safe = tmp_path / "safe" / f"{Path(file).stem}.npz"
        safe.parent.mkdir(exist_ok=True)
        np.savez(safe, **arrays)  # pyright: ignore[reportArgumentType]
        vertices.append(BodyModel.load(safe).shaped(betas).posed(rotvec, transl).vertices())
    np.testing.assert_array_equal(vertices[0], vertices[1])


def test_command_line_converts(tmp_path: Path) -> None:
    (tmp_path / "neutral.pkl").write_bytes(pickle.dumps(synthetic_smpl(), protocol=2))
    command = [
        sys.executable,
        "-m",
        "engines.convert_smpl",
        str(tmp_path / "neutral.pkl"),
        "--out",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert BodyModel.load(tmp_path / "o" / "neutral.npz").name == "neutral"


def test_command_line_refuses_in_one_sentence(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "evil.pkl").write_bytes(payloads(marker)["os.system"])
    command = [
        sys.executable,
        "-m",
        "engines.convert_smpl",
        str(tmp_path / "evil.pkl"),
        "--out",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        "Traceback" not in done.stderr and "system" in done.stderr and done.stderr.count("\n") == 1
    )
    assert not marker.exists() and not (tmp_path / "o").exists()


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    np.savez(tmp_path / "smpl.npz", **synthetic_smpl())  # pyright: ignore[reportArgumentType]
    before = (tmp_path / "smpl.npz").read_bytes()
    with pytest.raises(PenumbraError, match="is also file; choose another"):
        main(ConvertConfig(tmp_path / "smpl.npz", tmp_path, force=True))
    assert (tmp_path / "smpl.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable"),
        (b"not a pickle", "not a readable"),
        (pickle.dumps([1, 2], protocol=2), "where an SMPL file holds a dictionary"),
        (pickle.dumps({"v_template": np.zeros((3, 3))}, protocol=2), "lacks shapedirs"),
        (pickle.dumps(synthetic_smpl(), protocol=2)[:2000], "not a readable"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "smpl.pkl").write_bytes(content)
    with pytest.raises(PenumbraError, match=message):
        convert(tmp_path / "smpl.pkl")


def test_other_skeletons_are_refused(tmp_path: Path) -> None:
    body = synthetic_smpl()
    body["kintree_table"] = np.zeros((2, 52), np.uint32)
    (tmp_path / "smplh.pkl").write_bytes(pickle.dumps(body, protocol=2))
    with pytest.raises(PenumbraError, match="kintree_table has shape"):
        convert(tmp_path / "smplh.pkl")


@pytest.mark.parametrize(
    "change",
    [
        {"v_template": np.full((480, 3), np.nan)},
        {"f": np.full((40, 3), 2**31 - 1, np.uint32)},
        {"f": np.full((40, 3), -5)},
        {"posedirs": np.array(1.0)},
        {"weights": np.zeros(3)},
    ],
)
def test_damaged_bodies_are_refused_before_they_are_decimated(
    tmp_path: Path, change: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open3D does not survive indices beyond the vertices."""
    monkeypatch.setattr("engines.convert_smpl.decimate", lambda *_: pytest.fail("decimated"))
    (tmp_path / "smpl.pkl").write_bytes(pickle.dumps(synthetic_smpl() | change, protocol=2))
    with pytest.raises(PenumbraError, match=next(iter(change))):
        convert(tmp_path / "smpl.pkl")
    np.savez(tmp_path / "smpl.npz", **(synthetic_smpl() | change))  # pyright: ignore
    with pytest.raises(PenumbraError, match=next(iter(change))):
        convert(tmp_path / "smpl.npz")


def test_an_earlier_result_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    np.savez(tmp_path / "smpl.npz", **synthetic_smpl())  # pyright: ignore[reportArgumentType]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "smpl.npz").write_text("mine")
    with pytest.raises(PenumbraError, match="exists already"):
        main(ConvertConfig(tmp_path / "smpl.npz", tmp_path / "out"))
    assert (tmp_path / "out" / "smpl.npz").read_text() == "mine"
    main(ConvertConfig(tmp_path / "smpl.npz", tmp_path / "out", force=True))
    assert BodyModel.load(tmp_path / "out" / "smpl.npz").name == "smpl"
