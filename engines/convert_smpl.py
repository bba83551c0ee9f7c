"""Turn official SMPL files into Penumbra's safe body file, once.

    python -m engines.convert_smpl FILE [--out DIR]

Goes in: SMPL's `.pkl` (Python 2 pickle with chumpy arrays and a scipy.sparse regressor) or `.npz`,
with 10 or more shape components. Comes out: `DIR/<name of FILE>.npz` with the same arrays (float32,
the first 10 components) under the same names, without pickled objects, plus a decimated mesh; give
it to Penumbra as the body file.

A pickle is a program, and loading it runs it. This reader lets it build NumPy arrays and inert
stand-ins for the classes of chumpy and scipy.sparse, and refuses every other class or function by
name before it is looked up. Neither chumpy, which does not import on current Python, nor scipy is
needed.
"""

import argparse
import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from engines.arrays import read_npz
from engines.body_file import SMPL_NAMES, check_arrays, file_arrays
from engines.decimation import Decimation, decimate, identity_decimation
from engines.errors import PenumbraError
from engines.types import NUM_BETAS


class _StandIn:
    """Takes the place of a foreign class: holds the state of the pickled object and does nothing
    with it.
    """

    state: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *_args: object) -> None:
        """Whatever the pickle passes to the class's constructor is dropped."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def to_array(self) -> np.ndarray:
        raise NotImplementedError


class _Chumpy(_StandIn):
    """A `chumpy.Ch` that holds an array, or a `Select` of entries of one: the two that SMPL files
    contain.
    """

    def to_array(self) -> np.ndarray:
        if "x" in self.state:
            return _to_array(self.state["x"])
        if "a" in self.state and "idxs" in self.state:
            chosen = _to_array(self.state["a"]).ravel()[_to_array(self.state["idxs"])]
            return chosen.reshape(self.state.get("preferred_shape", chosen.shape))
        raise PenumbraError(
            "The SMPL file holds a chumpy expression of an unknown kind; only plain arrays are read."
        )


class _SparseColumns(_StandIn):
    """A `scipy.sparse.csc_matrix`."""

    def to_array(self) -> np.ndarray:
        data, indices, indptr = (
            _to_array(self.state[key]) for key in ("data", "indices", "indptr")
        )
        dense = np.zeros(tuple(self.state["_shape"]), data.dtype)
        np.add.at(dense, (indices, np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))), data)
        return dense


class _SparseRows(_StandIn):
    """A `scipy.sparse.csr_matrix`."""

    def to_array(self) -> np.ndarray:
        data, indices, indptr = (
            _to_array(self.state[key]) for key in ("data", "indices", "indptr")
        )
        dense = np.zeros(tuple(self.state["_shape"]), data.dtype)
        np.add.at(dense, (np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices), data)
        return dense


class _SparseEntries(_StandIn):
    """A `scipy.sparse.coo_matrix`; newer scipy keeps `coords`, older `row` and `col`."""

    def to_array(self) -> np.ndarray:
        row, col = self.state.get("coords") or (self.state["row"], self.state["col"])
        data = _to_array(self.state["data"])
        dense = np.zeros(tuple(self.state["_shape"]), data.dtype)
        np.add.at(dense, (_to_array(row), _to_array(col)), data)
        return dense


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, with which Python 3 writes bytes in old pickle protocols, without its other
    codecs.
    """
    if encoding != "latin1":
        raise PenumbraError(
            f"The pickle asks for the codec {encoding}, which an SMPL file does not need."
        )
    return text.encode("latin1")


def _reconstructor(cls: type, base: type, _state: object) -> _StandIn:
    """`copyreg._reconstructor`, with which Python 2 makes plain objects, for the stand-ins only."""
    if not (isinstance(cls, type) and issubclass(cls, _StandIn) and base is object):
        raise PenumbraError(f"The pickle reconstructs a {cls!r}, which an SMPL file does not need.")
    return cls()


def _allowed_names() -> dict[tuple[str, str], Any]:
    """Everything that a pickle may name, and what it gets for it."""
    # NumPy 2 renamed the module of these two; they are taken from an array's and a number's own
    # pickle recipe.
    reconstruct, scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed |= {(module, "_reconstruct"): reconstruct, (module, "scalar"): scalar}
    for module in ("copy_reg", "copyreg"):
        allowed[module, "_reconstructor"] = _reconstructor
    for module in ("__builtin__", "builtins"):
        allowed |= {(module, "object"): object, (module, "set"): set}
    for form, stand_in in (("csc", _SparseColumns), ("csr", _SparseRows), ("coo", _SparseEntries)):
        for module in ("scipy.sparse", f"scipy.sparse.{form}", f"scipy.sparse._{form}"):
            allowed[module, f"{form}_matrix"] = stand_in
    return allowed


class _SmplUnpickler(pickle.Unpickler):
    """Builds arrays and stand-ins; refuses everything else before it is imported."""

    allowed = _allowed_names()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name.split(".")[0] == "chumpy":
            return _Chumpy
        if (module_name, global_name) not in self.allowed:
            raise PenumbraError(
                f"The pickle asks for {module_name}.{global_name}, which an SMPL file does not need; "
                "it was refused and not run."
            )
        return self.allowed[module_name, global_name]

    def persistent_load(self, pid: Any, /) -> Any:
        raise PenumbraError(
            "The pickle refers to objects outside itself, which an SMPL file does not."
        )


def read_smpl_pickle(path: Path) -> dict[str, Any]:
    """Load an SMPL pickle without running anything that it brings along.

    Raises:
        PenumbraError: the file names anything but arrays, or is no pickle of a dictionary.
    """
    try:
        content = _SmplUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    # A broken pickle can make the machine that runs it fail in any of these ways.
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        MemoryError,
    ) as error:
        raise PenumbraError(f"{path} is not a readable SMPL pickle ({error}).") from error
    if not isinstance(content, dict):
        raise PenumbraError(
            f"{path} holds a {type(content).__name__}, where an SMPL file holds a dictionary."
        )
    return content


def _read_smpl_npz(path: Path) -> dict[str, Any]:
    try:
        return read_npz(path, SMPL_NAMES)
    except ValueError as error:
        raise PenumbraError(f"{path} is not an .npz of plain SMPL arrays ({error}).") from error


def _to_array(value: Any) -> np.ndarray:
    """A dense array from an array or a stand-in."""
    if isinstance(value, _StandIn):
        return value.to_array()
    array = np.asarray(value)
    if array.dtype == object:
        raise PenumbraError("The SMPL file holds an array of objects where numbers belong.")
    return array


def convert(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read an official SMPL file.

    Returns:
        The arrays of the body file, and a sentence about the decimated mesh where it is the full
        one (else "").

    Raises:
        PenumbraError: the file is missing, unsafe or not SMPL.
    """
    if not path.is_file():
        raise PenumbraError(f"The SMPL file {path} does not exist.")
    raw = _read_smpl_npz(path) if path.suffix == ".npz" else read_smpl_pickle(path)
    missing = [key for key in SMPL_NAMES if key not in raw]
    if missing:
        raise PenumbraError(f"{path} lacks {', '.join(missing)}; is it an SMPL body file?")
    try:
        arrays = {key: _to_array(raw[key]) for key in SMPL_NAMES}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PenumbraError(
            f"{path} holds a damaged array ({type(error).__name__}: {error})."
        ) from error
    arrays["shapedirs"] = arrays["shapedirs"][..., :NUM_BETAS]
    arrays = {key: a.astype(np.float32) if a.dtype.kind == "f" else a for key, a in arrays.items()}
    decimation, remark = _decimation(arrays["v_template"], arrays["f"])
    record = {"name": path.stem, "source": path.name, "decimation": remark or "quadric"}
    arrays = file_arrays(arrays, decimation, record)
    check_arrays(arrays, path)
    return arrays, remark


def _decimation(vertices: np.ndarray, faces: np.ndarray) -> tuple[Decimation, str]:
    try:
        return decimate(vertices, faces.astype(np.int32)), ""
    except PenumbraError as error:
        remark = f"The decimated mesh is the full mesh. {error}"
        return identity_decimation(len(vertices), faces), remark


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert an official SMPL file to Penumbra's safe body file."
    )
    parser.add_argument("file", type=Path, help="SMPL .pkl or .npz")
    parser.add_argument(
        "--out", type=Path, default=Path(), help="folder for the result (default: here)"
    )
    args = parser.parse_args()
    try:
        arrays, remark = convert(args.file)
        out = args.out / f"{args.file.stem}.npz"
        if out.exists() and out.samefile(args.file):
            raise PenumbraError(
                f"--out {args.out} would overwrite the input {args.file}; choose another folder."
            )
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(out, **arrays)
        except OSError as error:
            raise PenumbraError(f"--out {args.out} cannot be written ({error}).") from error
    except PenumbraError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(
        f"{out}: {len(arrays['v_template'])} vertices, "
        f"{len(arrays['decimated_vertex_ids'])} in the decimated mesh. {remark}"
    )


if __name__ == "__main__":
    main()
