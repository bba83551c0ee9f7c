"""The rotated square that a network looks at: made from two points, cut out of a picture, mapped
back.

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
"""BlazePose was trained on squares this much larger than the circle that its two alignment points
span.
"""


def roi_from_points(
    center: Float[np.ndarray, "2"], rim: Float[np.ndarray, "2"], margin: float = MARGIN
) -> Roi:
    """The square around a circle, turned so that `rim` lies straight above `center`.

    Args:
        center: Middle of the hips, image px.
        rim: A point on the circle around the whole person, above the head of one who stands
            upright, image px.
        margin: How much larger the square is than the circle's diameter.
    """
    dx, dy = float(rim[0] - center[0]), float(rim[1] - center[1])
    return Roi(
        center=np.array(center, np.float64),
        size=2.0 * margin * math.hypot(dx, dy),
        rotation=math.atan2(dx, -dy),
    )


def steady(previous: Roi, new: Roi, band: float = 0.1) -> Roi:
    """Follow `new` from `previous`, fast where it moved much and slowly where it only trembles.

    The crop and what the network sees in it feed back on each other, and undamped they oscillate.
    With the movement m, the largest of shift / size, relative growth and turn in radians, the part
    m / (m + band) of it is made. Measured on a recording of a signing person, this halves the
    landmarks' acceleration, and the tracker loses nobody by it.
    """
    turn = math.remainder(new.rotation - previous.rotation, 2 * math.pi)
    shift, growth = new.center - previous.center, new.size - previous.size
    moved = max(math.hypot(*shift) / previous.size, abs(growth) / previous.size, abs(turn))
    part = moved / (moved + band)
    rotation = math.remainder(previous.rotation + part * turn, 2 * math.pi)
    return Roi(previous.center + part * shift, previous.size + part * growth, rotation)


def crop_to_image(roi: Roi, side: float) -> Float[np.ndarray, "2 3"]:
    """The affine map from crop px to image px for a crop of `side` by `side` pixels."""
    scale = roi.size / side
    cos, sin = scale * math.cos(roi.rotation), scale * math.sin(roi.rotation)
    linear = np.array([[cos, -sin], [sin, cos]])
    corner = roi.center - linear @ np.array([side / 2, side / 2])
    return np.column_stack([linear, corner])


def image_to_crop(roi: Roi, side: float) -> Float[np.ndarray, "2 3"]:
    """The inverse of `crop_to_image`."""
    return cv2.invertAffineTransform(crop_to_image(roi, side))


def apply_affine(
    matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 2"]:
    """Map points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def cut(
    image: UInt8[np.ndarray, "h w 3"],
    crop_to_image_px: Float[np.ndarray, "2 3"],
    out: UInt8[np.ndarray, "s s 3"],
    border: int = cv2.BORDER_REPLICATE,
) -> None:
    """Fill `out` with what the picture shows under it, interpolated linearly.

    Args:
        image: The picture.
        crop_to_image_px: Where each point of the crop lies in the picture.
        out: The crop, overwritten.
        border: What lies outside the picture, one of OpenCV's BORDER_ codes.
    """
    # OpenCV counts from the centres of the pixels and we count from their corners: half a pixel on
    # both sides.
    matrix = crop_to_image_px.copy()
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    size = (out.shape[1], out.shape[0])
    cv2.warpAffine(
        image,
        matrix,
        size,
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )


def write_planes(
    crop: UInt8[np.ndarray, "s s 3"],
    out: Float[np.ndarray, "1 3 s s"],
    low: float = 0.0,
    high: float = 1.0,
) -> None:
    """Write a BGR crop into a network's RGB input, 0..255 stretched to low..high."""
    for plane in range(3):
        np.multiply(crop[:, :, 2 - plane], np.float32((high - low) / 255.0), out=out[0, plane])
    if low:
        out += np.float32(low)
