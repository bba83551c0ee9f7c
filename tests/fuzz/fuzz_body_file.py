"""Body files."""

import io
import tempfile
from pathlib import Path

import numpy as np

from engines.body import BodyModel
from engines.body_file import file_arrays
from engines.decimation import identity_decimation
from engines.errors import PenumbraError
from tests.support.synthetic_smpl import synthetic_smpl

MAX_MB = 256

_path = Path(tempfile.mkdtemp()) / "body.npz"


def seeds() -> list[bytes]:
    """A small body, stored and compressed, and one array alone."""
    smpl = synthetic_smpl()
    arrays = file_arrays(
        smpl, identity_decimation(len(smpl["v_template"]), smpl["f"]), {"name": "b"}
    )
    arrays["posedirs"] = np.zeros_like(arrays["posedirs"])
    seeds = []
    for save in (np.savez, np.savez_compressed):
        for chosen in (arrays, {"version": np.array(2)}):
            buffer = io.BytesIO()
            save(buffer, **chosen)  # pyright: ignore[reportArgumentType]
            seeds.append(buffer.getvalue())
    return seeds[1:]


def read(data: bytes) -> None:
    """Load, and use what was loaded."""
    _path.write_bytes(data)
    try:
        body = BodyModel.load(_path)
    except PenumbraError:
        return
    posed = body.shaped(np.zeros(10)).posed(np.zeros((24, 3)), np.zeros(3))
    assert np.isfinite(posed.vertices("decimated")).all()
