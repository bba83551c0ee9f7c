"""Where something moves that is nobody who is tracked: most people who arrive do.

Some thousand pixels of consecutive frames are compared, which costs a small part of what a look of
the detector does. A camera that moves itself makes everything move; the tracker looks no more often
for that than `views.LOOK_AT_CHANGE_EVERY` lets it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from engines.types import Roi

_GRID = 64
"""Samples along the longer side of an image."""
CHANGE = 24
"""Change of a sample's brightness that is more than noise."""
_LEAST = 6
"""Changed samples from which on something moves."""
_KNOWN = 0.45
"""Radius about the centre of a region in which motion is that person's, in sides."""


class MotionFinder:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        """Begin without a frame."""
        self._before: Int[np.ndarray, "r c"] | None = None

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], known: Sequence[Roi]) -> Roi | None:
        """Return the square that just holds what moves outside of the known regions, or None."""
        step = step_of(image, _GRID)
        samples = samples_of(image, step)
        before, self._before = self._before, samples
        if before is None or before.shape != samples.shape:
            return None
        rows, columns = np.nonzero(np.abs(samples - before) > CHANGE)
        if len(rows) < _LEAST:
            return None
        points = np.stack([columns, rows], -1) * step + step / 2
        for roi in known:
            away = np.linalg.norm(points - roi.center, axis=1)
            points = points[away > _KNOWN * roi.size]
        if len(points) < _LEAST:
            return None
        low, high = points.min(0), points.max(0)
        return Roi((low + high) / 2, float((high - low).max() + step), 0.0)


def step_of(image: UInt8[np.ndarray, "h w 3"], count: int) -> int:
    """Return the distance of samples, px, at which the longer side has `count` of them."""
    return max(1, max(image.shape[:2]) // count)


def samples_of(image: UInt8[np.ndarray, "h w 3"], step: int) -> Int[np.ndarray, "r c"]:
    """Return the brightness of every `step`-th pixel, from the middle of the first step on."""
    return image[step // 2 :: step, step // 2 :: step, 1].astype(np.int16)
