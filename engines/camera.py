"""One pinhole camera: pixels to rays and back, and where its numbers came from.

`image` coordinates are pixels, `rays` are points on the plane z = 1 of the camera frame (x right, y
down, z forward), with the lens distortion (OpenCV's model with 4, 5 or 8 coefficients) removed.

Pixels are counted from the top-left corner of the image, so its middle is (width / 2, height / 2).
OpenCV counts from the centre of the top-left pixel: all its coordinates, the principal point of its
camera matrix too, are half a pixel less. They are converted where they come in (`from_opencv`) and
where OpenCV is asked about pixels of an image (`Intrinsics.opencv_matrix`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float

from engines.errors import PenumbraError

DEFAULT_FOV_DEG = 63.0
"""Field of view along the longer side of the image that is assumed for an uncalibrated camera.

Laptop cameras and phones lie between about 55 and 75 degrees; an error here changes the distance,
hardly the pose.
"""
ASSUMED_FOCAL_ERROR = 0.12
"""Relative standard deviation of a focal length that is assumed: of these 55 to 75 degrees."""
MIN_FOCAL, MAX_FOCAL = 0.05, 1000.0
"""Bounds of a focal length as a share of the longer side: 169 and 0.06 degrees of field of view."""
NEAREST_M = 0.1
"""Points nearer to the camera are projected as if they were so far away."""

_CONVERGED = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-7)
"""Steps at most, and the distance on the plane z = 1 that is near enough."""
_NEAR = 1e-6
"""Distance up to which fewer steps cannot have come nearer by anything that matters."""
_EYE, _STILL = np.eye(3), np.zeros(3)
_HALF_PIXEL = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
"""From OpenCV's camera matrix to the one here."""


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in px of an image of `size` (width, height) px."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int]
    dist: tuple[float, ...] = ()
    """OpenCV's k1, k2, p1, p2, k3, k4, k5, k6: all, the first 5 or the first 4; empty for none."""
    source: str = "assumed"
    """`assumed` (default field of view), `given` (`from_focal`), `EXIF` (in a photo's file) or the
    calibration file's name."""

    @property
    def calibrated(self) -> bool:
        """Whether the numbers are more than an assumption."""
        return self.source != "assumed"

    @property
    def focal_error(self) -> float:
        """Relative standard deviation of the focal length; distances are proportional to it."""
        return 0.0 if self.calibrated else ASSUMED_FOCAL_ERROR

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """The camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def opencv_matrix(self) -> Float[np.ndarray, "3 3"]:
        """K for OpenCV, which counts pixels from the centre of the top-left one."""
        return self.matrix - _HALF_PIXEL

    def rays(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """The points of the plane z = 1 that project to image points (px), distortion removed."""
        flat = (np.asarray(points, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        if not self.dist or not len(flat):
            return flat
        return _undistorted(flat, np.array(self.dist))

    def project(self, points_cam: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """Project camera-frame points (m) to image px, lens distortion included; z must be > 0.

        Points farther from the axis than the lens model is valid stay at its edge, in their
        direction: its polynomials would fold feet far below the image back into it.
        """
        points_cam = np.asarray(points_cam, np.float64)
        flat = points_cam[:, :2] / points_cam[:, 2:]
        if not self.dist or not len(flat):
            return flat * (self.fx, self.fy) + (self.cx, self.cy)
        radius = np.linalg.norm(flat, axis=1, keepdims=True)
        flat = flat * np.minimum(_valid_radius(self.dist) / np.maximum(radius, 1e-9), 1.0)
        return _distorted(flat, self.matrix, np.array(self.dist))


def _distorted(
    flat: Float[np.ndarray, "N 2"], K: Float[np.ndarray, "3 3"], dist: Float[np.ndarray, "D"]
) -> Float[np.ndarray, "N 2"]:
    """Bring points of the plane z = 1 through the lens and then through K."""
    points = np.ones((len(flat), 3))
    points[:, :2] = flat
    return cv2.projectPoints(points, _STILL, _STILL, K, dist)[0][:, 0]


def _undistorted(
    flat: Float[np.ndarray, "N 2"], dist: Float[np.ndarray, "D"]
) -> Float[np.ndarray, "N 2"]:
    """Bring points back through the lens, by OpenCV's fixed point.

    Its usual five steps are too few where a wide lens bends much: 2 degrees at 120 degrees of view.
    Where a polynomial has no inverse, more steps may lead away, and five are kept.
    """
    rays = cv2.undistortPointsIter(flat[:, None], _EYE, dist, _EYE, _EYE, _CONVERGED)[:, 0]
    missed = np.square(_distorted(rays, _EYE, dist) - flat).sum(1)
    if missed.max() < _NEAR**2:
        return rays
    few = cv2.undistortPoints(flat[:, None], _EYE, dist)[:, 0]
    missed_by_few = np.square(_distorted(few, _EYE, dist) - flat).sum(1)
    return np.where((missed < missed_by_few)[:, None], rays, few)


@lru_cache
def _valid_radius(dist: tuple[float, ...]) -> float:
    """The radius on the plane z = 1 up to which the distorted radius rises with the true one."""
    k1, k2, _, _, k3, k4, k5, k6 = (*dist, *(0.0,) * 8)[:8]
    radius = np.linspace(0.0, 10.0, 2001)
    r2 = radius**2
    distorted = (
        radius * (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    )
    turns = np.flatnonzero(np.diff(distorted) <= 0)
    return float(radius[turns[0]]) if len(turns) else math.inf


def from_fov(size: tuple[int, int], fov_deg: float = DEFAULT_FOV_DEG) -> Intrinsics:
    """Assume a centred camera whose longer side spans `fov_deg` degrees."""
    focal = max(size) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
    return Intrinsics(focal, focal, size[0] / 2.0, size[1] / 2.0, size)


def from_focal(size: tuple[int, int], focal_px: float, source: str = "given") -> Intrinsics:
    """A centred camera of a focal length given in px of this image.

    Args:
        size: (width, height) of the image, px.
        focal_px: the focal length.
        source: where it comes from, see `Intrinsics.source`.

    Raises:
        PenumbraError: the focal length is not possible, see `plausible_focal`.
    """
    if not plausible_focal(focal_px, size):
        low, high = MIN_FOCAL * max(size), MAX_FOCAL * max(size)
        raise PenumbraError(
            f"focal: must be from {low:g} to {high:g} pixels for images of {size[0]}x{size[1]}, "
            f"not {focal_px:g}; give it in pixels of these images."
        )
    return Intrinsics(focal_px, focal_px, size[0] / 2.0, size[1] / 2.0, size, source=source)


def from_opencv(
    matrix: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
    dist: tuple[float, ...],
    source: str,
) -> Intrinsics:
    """A camera as `cv2.calibrateCamera` describes it.

    Args:
        matrix: its K, whose principal point counts from the centre of the top-left pixel.
        size: (width, height) of the images, px.
        dist: see `Intrinsics.dist`.
        source: see `Intrinsics.source`.
    """
    (fx, _, cx), (_, fy, cy), _ = (np.asarray(matrix, np.float64) + _HALF_PIXEL).tolist()
    return Intrinsics(fx, fy, cx, cy, size, dist, source)


def look_at(center: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, "*B 3 3"]:
    """Return the smallest rotation of the z axis to the ray through `center` (Rodrigues)."""
    u, v = center[..., 0], center[..., 1]
    z = 1.0 / np.sqrt(u * u + v * v + 1.0)
    x, y = u * z, v * z
    a = 1.0 / (1.0 + z)
    R = np.empty((*center.shape[:-1], 3, 3), center.dtype)
    R[..., 0, 0] = 1 - a * x * x
    R[..., 1, 1] = 1 - a * y * y
    R[..., 2, 2] = z
    R[..., 0, 1] = R[..., 1, 0] = -a * x * y
    R[..., 0, 2], R[..., 2, 0] = x, -x
    R[..., 1, 2], R[..., 2, 1] = y, -y
    return R


def axis_std_by_focal(focal_error: float, z: float) -> float:
    """Standard deviation along the optical axis that an uncertain focal length causes, metres.

    A focal length f puts the same image of a person of known size to z proportional to f, and to
    the same x and y: by z df / f along the camera's axis, whatever the viewing ray is.

    Args:
        focal_error: see `Intrinsics.focal_error`.
        z: where the person is, camera frame, metres.
    """
    return focal_error * z


def plausible_focal(focal_px: float, size: tuple[int, int]) -> bool:
    """Whether a focal length is within `MIN_FOCAL` and `MAX_FOCAL` of the longer side."""
    return bool(MIN_FOCAL <= focal_px / max(size) <= MAX_FOCAL)
