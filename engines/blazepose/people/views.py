"""Which squares of an image the detector looks at.

The detector sees 224 px, whatever the image has, so in the whole of a wide image it misses people
whom it finds in a square of it. A `Rota` goes through the whole image and these squares in turn.
"""

import math

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import whole
from engines.types import Roi

_OBLONG = 1.2
"""Ratio of an image's sides from which on its squares show more than the whole."""
_OVERLAP = 0.2
"""Of neighbouring squares, in sides: about half a person."""
NEAR_REGION = 1.6
"""Side of the square about a person who was lost, in sides of the region."""


def squares(image: UInt8[np.ndarray, "h w 3"], side: float) -> list[Roi]:
    """Return overlapping squares that cover an image, row by row.

    Args:
        image: only its size counts.
        side: of the squares, px.
    """
    height, width = image.shape[:2]
    columns, rows = (_middles(extent, side) for extent in (width, height))
    return [Roi(np.array([x, y]), side, 0.0) for y in rows for x in columns]


def views_of(image: UInt8[np.ndarray, "h w 3"]) -> list[Roi]:
    """Return what is looked at in turn: the whole image, then its squares if it is oblong."""
    height, width = image.shape[:2]
    if max(height, width) < _OBLONG * min(height, width):
        return [whole(image)]
    return [whole(image), *squares(image, float(min(height, width)))]


def near(roi: Roi) -> Roi:
    """Return the square in which a person is looked for who was lost in `roi`."""
    return Roi(roi.center, NEAR_REGION * roi.size, 0.0)


def _middles(extent: int, side: float) -> list[float]:
    if extent <= side:
        return [extent / 2]
    count = math.ceil((extent - side) / ((1 - _OVERLAP) * side)) + 1
    return np.linspace(side / 2, extent - side / 2, count).tolist()
