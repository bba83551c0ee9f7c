"""Camera calibration files: intrinsics from JSON, scaled to the images that they are used for, and
where the camera stands.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics, from_opencv, plausible_focal
from engines.errors import PenumbraError
from engines.files import read_at_most

MAX_BYTES = 2**20
"""A calibration is some hundred bytes; larger files are refused before they are read."""
MAX_SIDE = 2**16
"""The longest side of an image, px."""
MAX_DISTANCE_M = 1e4
"""The farthest that a camera stands from the origin of its world, metres."""
MAX_DISTORTION = 1e4
"""The largest magnitude of a distortion coefficient; fitted ones are rarely above 100."""
_REMEDY = "give JSON with 'matrix' (3x3), 'size' [width, height] and optionally 'dist'"


def load_intrinsics(path: Path, size: tuple[int, int]) -> Intrinsics:
    """Read a calibration for images of `size`: JSON with `matrix`, `size` and optionally `dist`.

    `matrix` is OpenCV's [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], px, with the principal point inside
    the image, counted from the centre of its top-left pixel; `size` is [width, height], px, at most
    `MAX_SIDE`; `dist` as in `Intrinsics`, at most `MAX_DISTORTION`. Focal lengths are bounded by
    `engines.camera.plausible_focal`, the file by `MAX_BYTES`. A calibration made at another
    resolution of the same aspect ratio is scaled; another aspect ratio is refused.

    Raises:
        PenumbraError: the file is missing, malformed, too large, or made for other images.
    """
    data = _read_json(path)
    try:
        matrix = np.array(data["matrix"], np.float64).reshape(3, 3)
        width, height = (int(side) for side in data["size"])
        dist = tuple(float(value) for value in data.get("dist", ()))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise PenumbraError(f"calib {path}: is not a calibration; {_REMEDY}.") from error
    _check_numbers(path, matrix, (width, height), dist)
    _check_matrix(path, matrix, (width, height))
    scale = size[0] / width
    if abs(size[1] / height - scale) > 0.01 * scale:
        raise PenumbraError(
            f"calib {path}: was made for {width}x{height} px, the image has {size[0]}x{size[1]}; "
            "calibrate at the same aspect ratio."
        )
    there = from_opencv(matrix, (width, height), dist, path.name)
    fx, fy, cx, cy = (scale * value for value in (there.fx, there.fy, there.cx, there.cy))
    intrinsics = replace(there, fx=fx, fy=fy, cx=cx, cy=cy, size=size)
    if not _invertible(intrinsics):
        raise PenumbraError(
            f"calib {path}: 'dist' cannot be removed from the middle of the image; calibrate again."
        )
    return intrinsics


def load_T_world_cam(path: Path) -> Float[np.ndarray, "4 4"] | None:
    """Read where a calibrated camera stands: `T_world_cam`, None where the file does not say it.

    `T_world_cam` is [[R, t], [0, 0, 0, 1]], which takes points of the camera frame (x right, y
    down, z forward, metres) to a world with z up and the floor at z = 0. With R and t of
    `cv2.solvePnP`, which takes points of the world to the camera, it is [[R^T, -R^T t], ...].

    Raises:
        PenumbraError: the file is missing or malformed, or it is no rigid transformation.
    """
    data = _read_json(path)
    if not isinstance(data, dict) or data.get("T_world_cam") is None:
        return None
    try:
        T = np.array(data["T_world_cam"], np.float64).reshape(4, 4)
    except (ValueError, TypeError, OverflowError) as error:
        raise PenumbraError(
            f"calib {path}: 'T_world_cam' is not 4x4 numbers; give rows of R and t, and 0 0 0 1."
        ) from error
    R = T[:3, :3]
    rigid = (
        np.isfinite(T).all()
        and np.allclose(T[3], (0, 0, 0, 1), rtol=0, atol=1e-6)
        and np.allclose(R @ R.T, np.eye(3), rtol=0, atol=1e-3)
        and np.linalg.det(R) > 0
        and np.abs(T[:3, 3]).max() <= MAX_DISTANCE_M
    )
    if not rigid:
        raise PenumbraError(
            f"calib {path}: 'T_world_cam' is no rotation and translation in metres; give "
            "[[R, t], [0, 0, 0, 1]], from the camera to a world with z up and the floor at z = 0."
        )
    return T


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_at_most(path, MAX_BYTES))
    except OSError as error:
        raise PenumbraError(f"calib {path}: {error.strerror or error}; {_REMEDY}.") from error
    except (ValueError, RecursionError) as error:  # JSON's own error is a ValueError
        raise PenumbraError(f"calib {path}: is not a calibration ({error}); {_REMEDY}.") from error


def _check_numbers(
    path: Path, matrix: Float[np.ndarray, "3 3"], size: tuple[int, int], dist: tuple[float, ...]
) -> None:
    """Refuse numbers that no camera has."""
    if not all(0 < side <= MAX_SIDE for side in size):
        raise PenumbraError(
            f"calib {path}: 'size' must be two numbers of pixels from 1 to {MAX_SIDE}; give the "
            "size of the images that were calibrated."
        )
    if len(dist) not in (0, 4, 5, 8) or not all(abs(value) <= MAX_DISTORTION for value in dist):
        raise PenumbraError(
            f"calib {path}: 'dist' must be empty or 4, 5 or 8 numbers up to {MAX_DISTORTION:g}; "
            "give OpenCV's k1, k2, p1, p2, k3, k4, k5, k6."
        )
    if not np.isfinite(matrix).all():
        raise PenumbraError(
            f"calib {path}: 'matrix' holds numbers that are not finite; calibrate again."
        )


def _check_matrix(path: Path, matrix: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> None:
    """Refuse what is no camera matrix for images of `size`."""
    (fx, _, cx), (_, fy, cy), _ = matrix
    if not np.allclose(matrix, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], rtol=0, atol=1e-6):
        hint = "swap rows and columns, MATLAB writes it transposed" if cx == cy == 0 else _REMEDY
        raise PenumbraError(
            f"calib {path}: 'matrix' is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; {hint}."
        )
    if not (plausible_focal(fx, size) and plausible_focal(fy, size)):
        raise PenumbraError(
            f"calib {path}: focal lengths of {fx:g} and {fy:g} px are impossible for images of "
            f"{size[0]}x{size[1]} px; give them in pixels of these images."
        )
    if not (0 < cx < size[0] and 0 < cy < size[1]):
        raise PenumbraError(
            f"calib {path}: the principal point ({cx:g}, {cy:g}) of 'matrix' lies outside of its "
            f"'size', {size[0]}x{size[1]} px; give both for the same images."
        )


def _invertible(intrinsics: Intrinsics) -> bool:
    """Whether distortion can be removed and added again in the middle half of the image.

    At the edges OpenCV's models often cannot be inverted, and that is no reason for a refusal.
    """
    size = np.array(intrinsics.size)
    shares = np.linspace(0.25, 0.75, 9)
    points = np.array([(x, y) for x in shares for y in shares]) * size
    rays = intrinsics.rays(points)
    again = intrinsics.project(np.column_stack([rays, np.ones(len(rays))]))
    return bool(np.abs(again - points).max() <= 0.02 * size.max())  # False for NaN
