"""Camera calibration files: intrinsics from JSON, scaled to the images that they are used for."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics
from engines.errors import PenumbraError


def load_intrinsics(path: Path, size: tuple[int, int]) -> Intrinsics:
    """Read a calibration for pictures of `size`: JSON with `matrix` 3x3, `size` [w, h] and
    optionally `dist`.

    `matrix` is [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], px, with the principal point inside the
    picture; `dist` as in `Intrinsics`. A calibration made at another resolution of the same shape
    is scaled; another shape is refused.

    Raises:
        PenumbraError: if the file is missing, malformed or made for pictures of another shape.
    """
    try:
        data = json.loads(path.read_text())
        matrix = np.array(data["matrix"], np.float64).reshape(3, 3)
        made_for = (int(data["size"][0]), int(data["size"][1]))
        dist = tuple(float(value) for value in data.get("dist", ()))
    except OSError as error:
        raise PenumbraError(f"--calib {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise PenumbraError(
            f"--calib {path} is not a calibration: expected JSON with 'matrix' (3x3), 'size' [width, height], 'dist'."
        ) from error
    positive = min(*made_for, matrix[0, 0], matrix[1, 1]) > 0
    if not (positive and np.isfinite(np.append(matrix, dist)).all() and len(dist) in (0, 4, 5, 8)):
        raise PenumbraError(
            f"--calib {path} holds impossible numbers: 'size' and focal lengths must be positive, 'dist' empty or 4, 5 or "
            "8 long."
        )
    _check_matrix(path, matrix, made_for)
    scale = size[0] / made_for[0]
    if abs(size[1] / made_for[1] - scale) > 0.01 * scale:
        raise PenumbraError(
            f"--calib {path} was made for {made_for[0]}x{made_for[1]} px, the picture has {size[0]}x{size[1]}."
        )
    (fx, _, cx), (_, fy, cy) = (scale * matrix[:2]).tolist()
    return Intrinsics(fx, fy, cx, cy, size, dist, source=path.name)


def _check_matrix(path: Path, matrix: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> None:
    """Refuses what is no camera matrix for pictures of `size`, above all one that was written
    column by column.
    """
    (fx, _, cx), (_, fy, cy), _ = matrix
    if not np.allclose(matrix, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], rtol=0, atol=1e-6):
        hint = (
            " It looks transposed, as MATLAB writes it; swap rows and columns."
            if cx == cy == 0
            else ""
        )
        raise PenumbraError(
            f"--calib {path}: 'matrix' is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].{hint}"
        )
    if not (0 < cx < size[0] and 0 < cy < size[1]):
        raise PenumbraError(
            f"--calib {path}: the principal point ({cx:g}, {cy:g}) of 'matrix' lies outside of its 'size', "
            f"{size[0]}x{size[1]} px; give both for the same pictures."
        )
