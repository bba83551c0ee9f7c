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

_NAMES = (
    *SMPL_NAMES,
    "decimated_vertex_ids",
    "decimated_vertex_weights",
    "decimated_f",
    "record",
)
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
        arrays = read_npz(path)
    except ValueError as error:
        raise PenumbraError(
            f"body {path}: is not a safe .npz file ({error}); {_REMEDY}."
        ) from error
    check_arrays(arrays, path)
    return arrays


def body_name(arrays: dict[str, np.ndarray], path: Path) -> str:
    """The name in the record.

    Raises:
        PenumbraError: the record is not a JSON object with a name.
    """
    try:
        return str(json.loads(str(arrays["record"]))["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise PenumbraError(
            f"body {path}: record is not a JSON object with a name; {_REMEDY}."
        ) from error


def check_arrays(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise a PenumbraError that names the first thing that is wrong with a body file."""
    version = int(arrays["version"]) if "version" in arrays else 1
    if version != VERSION:
        raise PenumbraError(
            f"body {path}: has version {version} where {VERSION} is expected; convert the official "
            "SMPL file again with `python -m engines.convert_smpl FILE`."
        )
    if missing := [name for name in _NAMES if name not in arrays]:
        raise PenumbraError(
            f"body {path}: lacks {', '.join(missing)}; convert the official SMPL file with "
            "`python -m engines.convert_smpl FILE`."
        )
    for name, shape in _shapes(arrays).items():
        if arrays[name].shape != shape:
            raise PenumbraError(
                f"body {path}: {name} has shape {arrays[name].shape} where SMPL has {shape}; "
                f"{_REMEDY}."
            )
    _check_indices(arrays, path)
    parents = arrays["kintree_table"][0].astype(np.int64)[1:]
    if tuple(parents) != PARENTS[1:]:
        raise PenumbraError(
            f"body {path}: kintree_table is not SMPL's tree of 24 joints; {_REMEDY}."
        )


def _shapes(arrays: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape that each array should have, by the numbers of vertices, points and triangles."""
    vertices, points = len(arrays["v_template"]), len(arrays["decimated_vertex_ids"])
    return {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, max(NUM_BETAS, arrays["shapedirs"].shape[-1])),
        "posedirs": (vertices, 3, NUM_POSE_FEATURES),
        "weights": (vertices, NUM_JOINTS),
        "J_regressor": (NUM_JOINTS, vertices),
        "kintree_table": (2, NUM_JOINTS),
        "f": (len(arrays["f"]), 3),
        "decimated_vertex_ids": (points, 3),
        "decimated_vertex_weights": (points, 3),
        "decimated_f": (len(arrays["decimated_f"]), 3),
    }


def _check_indices(arrays: dict[str, np.ndarray], path: Path) -> None:
    vertices, points = len(arrays["v_template"]), len(arrays["decimated_vertex_ids"])
    for name, limit in (
        ("f", vertices),
        ("decimated_vertex_ids", vertices),
        ("decimated_f", points),
    ):
        indices = arrays[name]
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < limit:
            raise PenumbraError(
                f"body {path}: {name} points outside the {limit} vertices; {_REMEDY}."
            )
