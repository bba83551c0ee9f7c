"""Body files: whole ones, and ones in which a single array is exchanged.

A checksum guards every array in a file, so changes of the file itself seldom get past it. Inputs
that do not start as a zip archive therefore mean: array number `data[0]` of a good file, as `.npy`.
"""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from engines.body import BodyModel
from engines.body_file import file_arrays
from engines.decimation import identity_decimation
from engines.errors import PenumbraError
from tests.support.synthetic_smpl import synthetic_smpl

MAX_MB = 256

_path = Path(tempfile.mkdtemp()) / "body.npz"


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _good() -> dict[str, bytes]:
    with np.errstate(invalid="ignore"):
        smpl = synthetic_smpl(rings=2)
    smpl["J_regressor"] = np.full((24, 24), 1 / 24, np.float16)
    smpl["posedirs"] = np.zeros((24, 3, 207), np.float16)
    arrays = file_arrays(smpl, identity_decimation(24, smpl["f"]), {"name": "b"})
    return {name: _npy(array) for name, array in arrays.items()}


_GOOD = _good()


def _zipped(members: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """A small body, each of its arrays alone, and a file with one array."""
    alone = [
        bytes([i]) + content for i, content in enumerate(_GOOD.values()) if len(content) < 5000
    ]
    return [
        _zipped(_GOOD, zipfile.ZIP_DEFLATED),
        _zipped({"version": _GOOD["version"]}, zipfile.ZIP_STORED),
        *alone,
    ]


def read(data: bytes) -> None:
    """Load, and use what was loaded."""
    if not data.startswith(b"PK") and data:
        exchanged = {list(_GOOD)[data[0] % len(_GOOD)]: data[1:]}
        data = _zipped(_GOOD | exchanged, zipfile.ZIP_STORED)
    _path.write_bytes(data)
    try:
        body = BodyModel.load(_path)
    except PenumbraError:
        return
    posed = body.shaped(np.zeros(10)).posed(np.zeros((24, 3)), np.zeros(3))
    assert np.isfinite(posed.vertices("decimated")).all()
