"""The rotated square that a network is given: made from two points, sampled, and mapped back.

Crop coordinates run from 0 to `side` in pixels of the crop, x right, y down, origin at the corner
(not at the centre) of the first pixel, like image coordinates. With rotation r the crop's axes seen
in the image are

    x_axis = (cos r, sin r),  y_axis = (-sin r, cos r).
"""

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.types import Roi

MARGIN = 1.25
"""Side of BlazePose's training crops in diameters of the circle that its two alignment points
span."""


def roi_from_points(
    center: Float[np.ndarray, "2"], rim: Float[np.ndarray, "2"], margin: float = MARGIN
) -> Roi:
    """Return the square around a circle, rotated so that `rim` lies straight above `center`.

    Args:
        center: middle of the hips, image px.
        rim: point on the circle around the whole person, above the head of an upright one, image
            px.
        margin: side of the square in diameters of the circle.
    """
    dx, dy = float(rim[0] - center[0]), float(rim[1] - center[1])
    return Roi(
        center=np.array(center, np.float64),
        size=2.0 * margin * math.hypot(dx, dy),
        rotation=math.atan2(dx, -dy),
    )


def steady(previous: Roi, new: Roi, band: float = 0.1) -> Roi:
    """Low-pass filter a region whose cut-off rises with its motion.

    The landmarks depend on the crop and the next crop on the landmarks; undamped, this loop
    oscillates. With the motion m, the largest of shift / size, relative growth and rotation in
    radians, the share m / (m + band) of it is followed. On a recording of a signing person this
    halves the landmarks' acceleration and loses no track.
    """
    turn = math.remainder(new.rotation - previous.rotation, 2 * math.pi)
    shift, growth = new.center - previous.center, new.size - previous.size
    moved = max(math.hypot(*shift) / previous.size, abs(growth) / previous.size, abs(turn))
    part = moved / (moved + band)
    rotation = math.remainder(previous.rotation + part * turn, 2 * math.pi)
    return Roi(previous.center + part * shift, previous.size + part * growth, rotation)


def crop_to_image(roi: Roi, side: float) -> Float[np.ndarray, "2 3"]:
    """Return the affine map from crop px to image px, for a crop of `side` by `side` px."""
    scale = roi.size / side
    cos, sin = scale * math.cos(roi.rotation), scale * math.sin(roi.rotation)
    x, y = roi.center
    half = side / 2
    return np.array([[cos, -sin, x - half * (cos - sin)], [sin, cos, y - half * (sin + cos)]])


def image_to_crop(roi: Roi, side: float) -> Float[np.ndarray, "2 3"]:
    """Return the inverse of `crop_to_image`."""
    return cv2.invertAffineTransform(crop_to_image(roi, side))


def apply_affine(
    matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 2"]:
    """Apply an affine map to points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def for_opencv(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """Return an affine map of pixels as OpenCV's warps want it.

    Their origin is the centre of the first pixel, ours its corner: half a pixel on both sides.
    """
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return moved


def cut(
    image: UInt8[np.ndarray, "h w 3"],
    crop_to_image_px: Float[np.ndarray, "2 3"],
    out: UInt8[np.ndarray, "s s 3"],
    border: int = cv2.BORDER_REPLICATE,
) -> None:
    """Sample a crop from an image with bilinear interpolation.

    Args:
        image: source.
        crop_to_image_px: affine map from px of the crop to px of the image.
        out: the crop, overwritten.
        border: extrapolation outside the image, one of OpenCV's BORDER_ codes.
    """
    # Of another type or depth, OpenCV would leave `out` as it is and return an array of its own.
    assert image.dtype == out.dtype and image.shape[2:] == out.shape[2:], (
        f"image of {image.dtype} {image.shape}, wanted {out.dtype} (h, w, {out.shape[2]})"
    )
    size = (out.shape[1], out.shape[0])
    cv2.warpAffine(
        image,
        for_opencv(crop_to_image_px),
        size,
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
