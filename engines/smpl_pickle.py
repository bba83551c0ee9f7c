"""Arrays out of the pickles of SMPL and 3DPW: NumPy's, SciPy's and chumpy's objects.

`engines.pickle_machine` executes the pickle, with its bounds; this module lends it functions that
make NumPy's arrays from a checked shape, a plain numeric type and as many bytes as they need, and
inert stand-ins for the classes of chumpy and scipy.sparse (`engines.pickle_stand_ins`). Every other
name is refused before it is looked up.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import PenumbraError
from engines.files import read_at_most
from engines.pickle_machine import execute
from engines.pickle_objects import Function, PickleError, Placeholder
from engines.pickle_stand_ins import Chumpy, SparseColumns, SparseEntries, SparseRows

MAX_FILE_BYTES = 2**29
"""The largest official file, SMPL with 300 shape components, has 250 MB."""
_NUMERIC = re.compile(r"[fiu][1248]|b1")


def read_smpl_pickle(path: Path) -> dict[str, Any]:
    """Load a pickle of SMPL or 3DPW without running anything that it brings along.

    The file may have `MAX_FILE_BYTES`; reading it takes at most some six times its size and 100 MB.

    Returns:
        Arrays, numbers, text, lists and dictionaries of them, and stand-ins, of which
        `pickle_stand_ins.to_array` makes arrays.

    Raises:
        PenumbraError: the file is missing, asks for anything but arrays, is too large, or is no
            pickle of a dictionary.
    """
    try:
        data = read_at_most(path, MAX_FILE_BYTES)
        content = execute(data, _resolve)
    except OSError as error:
        raise PenumbraError(f"{path}: {error.strerror or error}; give an official file.") from error
    except ValueError as error:
        raise PenumbraError(
            f"{path}: is not a readable SMPL pickle: it {error}; give an official file."
        ) from error
    if not isinstance(content, dict):
        raise PenumbraError(
            f"{path}: holds a {type(content).__name__}, where an SMPL file holds a dictionary; "
            "give an official file."
        )
    return content


class _DType(Placeholder):
    """A `numpy.dtype` of plain numbers; its state adds the byte order."""

    def __init__(self, code: Any, *_align_and_copy: Any) -> None:
        if not isinstance(code, str) or not _NUMERIC.fullmatch(code):
            raise PickleError(f"has arrays of type {str(code)[:20]!r}, which are no plain numbers")
        self.dtype = np.dtype(code)

    def finished(self) -> np.dtype:
        if self.state is None:
            return self.dtype
        match self.state:
            case (3 | 4, "<" | ">" | "|" | "=" as order, None, None, None, int(), int(), int()):
                return self.dtype.newbyteorder(order)
        raise PickleError("has an array type with a state that plain numbers do not have")


class _Array(Placeholder):
    """A `numpy.ndarray`, which comes entirely from its state."""

    def __init__(self, *_class_shape_and_code: Any) -> None:
        """The arguments are those of an empty array."""

    def finished(self) -> np.ndarray:
        match self.state:
            case (int(), tuple() as shape, np.dtype() as dtype, bool() | int() as fortran, data):
                return _array(shape, dtype, "F" if fortran else "C", data)
        raise PickleError("has an array without its shape, type and data")


class _Scalar(Placeholder):
    """A NumPy number."""

    def __init__(self, *dtype_and_data: Any) -> None:
        self.state = dtype_and_data

    def finished(self) -> Any:
        match self.state:
            case (np.dtype() as dtype, data):
                return _array((), dtype, "C", data)[()]
        raise PickleError("has a NumPy number without its type and data")


def _array(shape: tuple[Any, ...], dtype: np.dtype, order: Any, data: Any) -> np.ndarray:
    if isinstance(data, str):  # Python 2's text
        data = data.encode("latin1")
    if not all(type(side) is int and 0 <= side < 2**31 for side in shape) or len(shape) > 8:
        raise PickleError("has an array of an impossible shape")
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        raise PickleError("has an array whose data do not fill its shape")
    if not data:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype)
    array = array != 0 if dtype.kind == "b" else array.copy()
    return array.reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode`, with which Python 3 writes bytes in old protocols; latin1 only."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError(f"asks for the codec {encoding!r}, which an SMPL file does not need")
    return text.encode("latin1")


def _reconstructor(cls: Any, base: Any, _state: Any) -> Placeholder:
    """`copyreg._reconstructor`, with which Python 2 makes plain objects, for stand-ins only."""
    if cls not in _STAND_INS or base is not _OBJECT:
        name = getattr(cls, "name", type(cls).__name__)
        raise PickleError(f"reconstructs a {name}, which an SMPL file does not need")
    return cls.call()


def _bytes() -> bytes:
    """`bytes`, with which Python 3 writes empty ones in old protocols."""
    return b""


def _ordered_dict(*arguments: Any) -> dict[Any, Any]:
    match arguments:
        case () | ([],):
            return {}
        case ([*pairs],):
            return {key: value for key, value in pairs if isinstance(key, str)}
    raise PickleError("makes an OrderedDict of something else than pairs")


def _set(*arguments: Any) -> set[Any]:
    match arguments:
        case () | ([],):
            return set()
        case ([*members],) if all(isinstance(member, str | int) for member in members):
            return set(members)
    raise PickleError("makes a set of something else than text and numbers")


def _never(*_arguments: Any) -> Any:
    raise PickleError("calls a class of NumPy or Python, which an SMPL file does not need")


_OBJECT = Function("object", _never)
_CHUMPY = Function("chumpy", Chumpy)
_SPARSE = {
    "csc_matrix": Function("csc_matrix", SparseColumns),
    "csr_matrix": Function("csr_matrix", SparseRows),
    "coo_matrix": Function("coo_matrix", SparseEntries),
}
_STAND_INS = (_CHUMPY, *_SPARSE.values())


def _functions() -> dict[tuple[str, str], Function]:
    """What a pickle gets for the names that it may use."""
    known = {
        ("numpy", "ndarray"): Function("ndarray", _never),
        ("numpy", "dtype"): Function("dtype", _DType),
        ("collections", "OrderedDict"): Function("OrderedDict", _ordered_dict),
        ("_codecs", "encode"): Function("encode", _encode),
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        known[module, "_reconstruct"] = Function("_reconstruct", _Array)
        known[module, "scalar"] = Function("scalar", _Scalar)
    for module in ("copy_reg", "copyreg"):
        known[module, "_reconstructor"] = Function("_reconstructor", _reconstructor)
    for module in ("__builtin__", "builtins"):
        known[module, "object"] = _OBJECT
        known[module, "set"] = Function("set", _set)
        known[module, "bytes"] = Function("bytes", _bytes)
    for name, function in _SPARSE.items():
        form = name.removesuffix("_matrix")
        for module in ("scipy.sparse", f"scipy.sparse.{form}", f"scipy.sparse._{form}"):
            known[module, name] = function
    return known


_FUNCTIONS = _functions()


def _resolve(module: str, name: str) -> Function:
    if module.split(".")[0] == "chumpy":
        return _CHUMPY
    if (module, name) not in _FUNCTIONS:
        wanted = f"{module}.{name}"[:160].encode("unicode_escape").decode()
        raise PickleError(
            f"asks for {wanted}, which an SMPL file does not need; it was refused and not run"
        )
    return _FUNCTIONS[module, name]
