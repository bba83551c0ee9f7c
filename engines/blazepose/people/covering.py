"""Cover people who are in front, so that the landmark network sees who is behind them.

In a region that two people share the network finds the one in front, or slips between them. Where
that one is known already, flat colour in the shape of the body takes the place: an occluder as the
network was trained with, and no second person.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from engines.types import Landmarks

LIMBS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
"""Shoulders, elbows, wrists, hips, knees, ankles."""
_BONES = (
    *((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)),
    *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32), (29, 31), (30, 32)),
)
_TORSO = (11, 12, 24, 23)
_FACE = tuple(range(11))
_LIMB_WIDTH = 0.24
"""Of a limb with its clothes, in lengths of the torso."""
_HEAD_RADIUS = 0.3
_GREY = (127, 127, 127)
_FAR = 1e5
"""Points farther outside than this, px, are drawn at this distance."""


COVERED_VISIBILITY = 0.2
"""The most that the visibility of a landmark can be that lies under the cover."""


def body_mask(
    size: tuple[int, int], people: Sequence[Landmarks], thickness: float = 1.0
) -> UInt8[np.ndarray, "h w"]:
    """Return where people are in an image, by their landmarks: 1 there, 0 elsewhere.

    Args:
        size: width and height of the image, px.
        people: their landmarks.
        thickness: of the limbs, in usual ones.
    """
    mask = np.zeros(size[::-1], np.uint8)
    for person in people:
        _draw(mask, person, thickness)
    return mask


def covered(
    image: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy of an image with flat colour where the mask is not zero."""
    image = image.copy()
    image[mask > 0] = _GREY
    return image


def under(mask: UInt8[np.ndarray, "h w"], landmarks: Landmarks) -> Bool[np.ndarray, "33"]:
    """Tell which landmarks lie where the mask is not zero."""
    height, width = mask.shape
    x, y = np.floor(landmarks.points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return inside & (mask[y.clip(0, height - 1), x.clip(0, width - 1)] > 0)


def hide(landmarks: Landmarks, hidden: Bool[np.ndarray, "33"]) -> Landmarks:
    """Return landmarks of which those under a cover are known not to be visible."""
    visibility = np.where(
        hidden, np.minimum(landmarks.visibility, COVERED_VISIBILITY), landmarks.visibility
    )
    return replace(landmarks, visibility=visibility)


def _draw(mask: UInt8[np.ndarray, "h w"], person: Landmarks, thickness: float) -> None:
    points = person.points
    shoulders, hips = points[[11, 12]].mean(0), points[[23, 24]].mean(0)
    torso = float(np.linalg.norm(shoulders - hips))
    width = max(1, round(thickness * _LIMB_WIDTH * torso))
    pixels = np.round(points.clip(-_FAR, _FAR)).astype(np.int32)
    for a, b in _BONES:
        cv2.line(mask, pixels[a].tolist(), pixels[b].tolist(), [1], width)
    outline = pixels[list(_TORSO)]
    cv2.fillPoly(mask, [outline], [1])
    cv2.polylines(mask, [outline], True, [1], 2 * width)
    head = pixels[list(_FACE)].mean(0).astype(int)
    neck = pixels[[11, 12]].mean(0).astype(int)
    cv2.line(mask, head.tolist(), neck.tolist(), [1], width)
    cv2.circle(mask, head.tolist(), max(1, round(_HEAD_RADIUS * torso)), [1], -1)
