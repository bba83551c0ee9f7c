"""Turn official SMPL files into Penumbra's body file, once.

    python -m engines.convert_smpl FILE [--out DIR]

Reads SMPL's `.pkl` (Python 2 pickle with chumpy arrays and a scipy.sparse regressor) or `.npz`,
with 10 or more shape components. Writes `DIR/<name of FILE>.npz` with the same arrays (float32, the
first 10 components) under the same names, and a decimated mesh: see `engines.body_file`. Nothing
that a pickle brings along is run: see `engines.smpl_pickle`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from engines.arrays import read_npz
from engines.body_file import MAX_NAME, SMPL_NAMES, check_arrays, check_smpl, file_arrays
from engines.command import start
from engines.decimation import Decimation, decimate, identity_decimation
from engines.distinct import check_distinct
from engines.errors import PenumbraError
from engines.outputs import open_output
from engines.pickle_stand_ins import to_array
from engines.smpl_pickle import MAX_FILE_BYTES, read_smpl_pickle
from engines.types import NUM_BETAS


@dataclass(frozen=True)
class ConvertConfig:
    """Convert an official SMPL file to Penumbra's body file."""

    file: tyro.conf.Positional[Path]
    """SMPL's `.pkl` or `.npz`."""
    out: Path = Path()
    """Folder for the result."""
    force: bool = False
    """Replace a result that exists already."""


def main(config: ConvertConfig) -> None:
    """Read, convert, write.

    Raises:
        PenumbraError: the file is no SMPL file, or the result cannot be written.
    """
    result = config.out / f"{config.file.stem}.npz"
    check_distinct({"out": result}, {"file": config.file})
    arrays, remark = convert(config.file)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with open_output(result, "out", ".npz", force=config.force) as output:
            np.savez_compressed(output.file, **arrays)
            output.commit()
    except OSError as error:
        raise PenumbraError(
            f"out: {config.out} cannot be written ({error.strerror or error}); choose another "
            "folder."
        ) from error
    print(
        f"{result}: {len(arrays['v_template'])} vertices, "
        f"{len(arrays['decimated_vertex_ids'])} in the decimated mesh. {remark}"
    )


def convert(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read an official SMPL file.

    Returns:
        The arrays of the body file, and a sentence about the decimated mesh where it is the full
        one (else "").

    Raises:
        PenumbraError: the file is missing, unsafe or not SMPL.
    """
    if not path.is_file():
        raise PenumbraError(f"{path}: does not exist or is no file; name an official SMPL file.")
    content = _read_smpl_npz(path) if path.suffix == ".npz" else read_smpl_pickle(path)
    if missing := [name for name in SMPL_NAMES if name not in content]:
        raise PenumbraError(
            f"{path}: lacks {', '.join(missing)}; name an official SMPL file of the body."
        )
    smpl = {name: _array(content[name], name, path) for name in SMPL_NAMES}
    check_smpl(smpl, path)
    smpl["shapedirs"] = smpl["shapedirs"][..., :NUM_BETAS]
    smpl = {key: a.astype(np.float32) if a.dtype.kind == "f" else a for key, a in smpl.items()}
    decimation, remark = _decimation(smpl["v_template"], smpl["f"])
    record = {"name": path.stem[:MAX_NAME], "source": path.name, "decimation": remark or "quadric"}
    arrays = file_arrays(smpl, decimation, record)
    check_arrays(arrays, path)
    return arrays, remark


def _array(value: Any, name: str, path: Path) -> np.ndarray:
    try:
        return to_array(value)
    except ValueError as error:
        raise PenumbraError(
            f"{path}: holds a damaged array {name} ({error}); name an official SMPL file."
        ) from error


def _read_smpl_npz(path: Path) -> dict[str, Any]:
    try:
        return read_npz(path, SMPL_NAMES, max_bytes=MAX_FILE_BYTES)
    except ValueError as error:
        raise PenumbraError(
            f"{path}: is not an .npz of plain SMPL arrays ({error}); name an official SMPL file."
        ) from error


def _decimation(vertices: np.ndarray, faces: np.ndarray) -> tuple[Decimation, str]:
    try:
        return decimate(vertices, faces.astype(np.int32)), ""
    except PenumbraError as error:
        remark = f"The decimated mesh is the full mesh. {error}"
        return identity_decimation(len(vertices), faces), remark


if __name__ == "__main__":
    start(main, ConvertConfig)
