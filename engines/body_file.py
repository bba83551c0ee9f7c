"""The body file: SMPL's arrays under SMPL's names, a decimated mesh, and a JSON record, as `.npz`.

With V vertices, F triangles and B >= 10 shape components; L points and G triangles decimated:

    version                    ()          2
    v_template                 V 3         T-pose, mean shape, metres
    shapedirs                  V 3 B       metres per unit of each beta
    posedirs                   V 3 207     pose blend shapes; zero where the body has none
    weights                    V 24        skinning weights
    J_regressor                24 V        joints from vertices
    kintree_table              2 24        SMPL's tree of joints
    f                          F 3         triangles
    decimated_vertex_ids       L 3         see `engines.decimation.Decimation`
    decimated_vertex_weights   L 3
    decimated_f                G 3
    record                     ()          JSON: the body's `name`, and how it was made

All numbers are finite and at most `MAX_MAGNITUDE`, all indices point into their arrays, and the
arrays take at most `MAX_BODY_BYTES` together: about 100,000 vertices.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.arrays import read_npz
from engines.decimation import Decimation
from engines.errors import PenumbraError
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS

VERSION = 2
"""Raised when a name or a meaning changes; files of other versions are refused."""
MAX_BODY_BYTES = 2**28
MAX_MAGNITUDE = 1e6
MAX_NAME = 100
"""The longest name of a body, characters."""
SMPL_NAMES = (
    "v_template",
    "shapedirs",
    "posedirs",
    "weights",
    "J_regressor",
    "kintree_table",
    "f",
)
NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)

_DECIMATED_NAMES = ("decimated_vertex_ids", "decimated_vertex_weights", "decimated_f")
_REMEDY = "write one with `python -m engines.convert_smpl`, or leave it out for the default body"


def file_arrays(
    smpl: Mapping[str, np.ndarray], decimation: Decimation, record: Mapping[str, object]
) -> dict[str, np.ndarray]:
    """Everything that a body file holds.

    Args:
        smpl: the arrays of `SMPL_NAMES`.
        decimation: of the mesh in `smpl`.
        record: what is known about the body, JSON; must have a `name`.
    """
    return {
        "version": np.array(VERSION),
        **{name: smpl[name] for name in SMPL_NAMES},
        "decimated_vertex_ids": decimation.vertex_ids,
        "decimated_vertex_weights": decimation.vertex_weights,
        "decimated_f": decimation.faces,
        "record": np.array(json.dumps(dict(record))),
    }


def read_body_file(path: Path) -> dict[str, np.ndarray]:
    """Read and check a body file.

    Raises:
        PenumbraError: the file is missing, is not a body file, or is one of another version.
    """
    if not path.is_file():
        raise PenumbraError(f"body {path}: does not exist; {_REMEDY}.")
    try:
        arrays = read_npz(path, max_bytes=MAX_BODY_BYTES)
    except ValueError as error:
        raise PenumbraError(
            f"body {path}: is not a safe .npz file ({error}); {_REMEDY}."
        ) from error
    check_arrays(arrays, path)
    return arrays


def check_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise a PenumbraError that names the first thing that is wrong with a body file."""
    if not any(name in arrays for name in SMPL_NAMES):
        raise PenumbraError(f"body {path}: is another kind of file than a body; {_REMEDY}.")
    version = int(arrays["version"]) if _is_count(arrays.get("version")) else 1
    if version != VERSION:
        raise PenumbraError(
            f"body {path}: has version {version} where {VERSION} is expected; convert the official "
            "SMPL file again with `python -m engines.convert_smpl FILE`."
        )
    check_smpl(arrays, path)
    _check_present(arrays, (*_DECIMATED_NAMES, "record"), path)
    points = len(np.atleast_1d(arrays["decimated_vertex_ids"]))
    vertices = len(arrays["v_template"])
    _check_shape(arrays, "decimated_vertex_ids", (points, 3), path)
    _check_shape(arrays, "decimated_vertex_weights", (points, 3), path)
    _check_shape(arrays, "decimated_f", (None, 3), path)
    _check_indices(arrays, "decimated_vertex_ids", vertices, path)
    _check_indices(arrays, "decimated_f", points, path)
    _check_numbers(arrays, "decimated_vertex_weights", path)
    body_name(arrays, path)


def check_smpl(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise a PenumbraError that names the first thing that is wrong with SMPL's own arrays."""
    _check_present(arrays, SMPL_NAMES, path)
    vertices = len(np.atleast_1d(arrays["v_template"]))
    components = max(NUM_BETAS, arrays["shapedirs"].shape[-1] if arrays["shapedirs"].ndim else 0)
    shapes: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, components),
        "posedirs": (vertices, 3, NUM_POSE_FEATURES),
        "weights": (vertices, NUM_JOINTS),
        "J_regressor": (NUM_JOINTS, vertices),
        "kintree_table": (2, NUM_JOINTS),
        "f": (None, 3),
    }
    for name, shape in shapes.items():
        _check_shape(arrays, name, shape, path)
        if name not in ("kintree_table", "f"):
            _check_numbers(arrays, name, path)
    _check_indices(arrays, "f", vertices, path)
    kintree = arrays["kintree_table"]
    if kintree.dtype.kind not in "iu" or tuple(kintree[0, 1:].tolist()) != PARENTS[1:]:
        raise PenumbraError(
            f"body {path}: kintree_table is not SMPL's tree of 24 joints; {_REMEDY}."
        )


def body_name(arrays: Mapping[str, np.ndarray], path: Path) -> str:
    """The name in the record.

    Raises:
        PenumbraError: the record is not a JSON object with a name of at most `MAX_NAME` characters.
    """
    try:
        name = json.loads(str(arrays["record"]))["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise PenumbraError(
            f"body {path}: record is not a JSON object with a name of 1 to {MAX_NAME} characters; "
            f"{_REMEDY}."
        )
    return name


def _check_present(arrays: Mapping[str, np.ndarray], names: tuple[str, ...], path: Path) -> None:
    if missing := [name for name in names if name not in arrays]:
        raise PenumbraError(
            f"body {path}: lacks {', '.join(missing)}; convert the official SMPL file with "
            "`python -m engines.convert_smpl FILE`."
        )


def _check_shape(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], path: Path
) -> None:
    """Refuse an array of another shape, or without elements; None stands for any number."""
    found = arrays[name].shape
    fits = len(found) == len(shape) and all(
        side > 0 and wanted in (None, side) for side, wanted in zip(found, shape, strict=True)
    )
    if not fits:
        expected = tuple("any" if side is None else side for side in shape)
        raise PenumbraError(
            f"body {path}: {name} has shape {found} where SMPL has {expected}; {_REMEDY}."
        )


def _check_numbers(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> None:
    array = arrays[name]
    if array.dtype.kind not in "fiu":
        raise PenumbraError(f"body {path}: {name} holds {array.dtype}, no numbers; {_REMEDY}.")
    low, high = float(array.min()), float(array.max())
    if not (-MAX_MAGNITUDE <= low <= high <= MAX_MAGNITUDE):  # False for NaN
        raise PenumbraError(
            f"body {path}: {name} holds numbers that are not finite or above {MAX_MAGNITUDE:g}; "
            f"{_REMEDY}."
        )


def _check_indices(arrays: Mapping[str, np.ndarray], name: str, limit: int, path: Path) -> None:
    indices = arrays[name]
    if indices.dtype.kind not in "iu":
        raise PenumbraError(f"body {path}: {name} holds {indices.dtype}, no indices; {_REMEDY}.")
    if not 0 <= int(indices.min()) <= int(indices.max()) < limit:
        raise PenumbraError(f"body {path}: {name} points outside the {limit} vertices; {_REMEDY}.")


def _is_count(array: np.ndarray | None) -> bool:
    return array is not None and array.shape == () and array.dtype.kind in "iu"
