"""Camera calibration files."""

import json
import tempfile
from pathlib import Path

import numpy as np

from calib.camera import load_intrinsics
from engines.errors import PenumbraError

MAX_MB = 64
SIZE = (1280, 720)

_path = Path(tempfile.mkdtemp()) / "camera.json"


def seeds() -> list[bytes]:
    """Calibrations of a pinhole and of a distorting lens."""
    matrix = [[900.0, 0, 655.0], [0, 910.0, 340.0], [0, 0, 1]]
    lenses = [], [-0.28, 0.09, 1e-3, -5e-4], [0.1, -0.05, -2e-4, 3e-4, 0.01, 0.05, -0.02, 0.004]
    return [json.dumps({"matrix": matrix, "size": SIZE, "dist": dist}).encode() for dist in lenses]


def read(data: bytes) -> None:
    """Load, and use what was loaded."""
    _path.write_bytes(data)
    try:
        intrinsics = load_intrinsics(_path, SIZE)
    except PenumbraError:
        return
    corners = intrinsics.rays(np.array([[0.0, 0.0], [1280.0, 720.0]]))
    assert np.isfinite(corners).all()
