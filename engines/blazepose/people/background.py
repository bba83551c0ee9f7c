"""What a camera shows that stands still: not everything that looks like a body has come there.

The landmark network is sometimes sure of a person where there is a chair with a bag. Whoever joins
others has come from somewhere, so the image has changed there; furniture is where it was. Somebody
who has sat still from the first image on and was overlooked counts as soon as they move.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from engines.blazepose.people.covering import WITH_EDGES, body_mask
from engines.blazepose.people.motion import CHANGE, samples_of, step_of
from engines.types import Landmarks

_GRID = 128
"""Samples along the longer side of an image."""
_EVERY = 10
"""Frames between two images that are remembered."""
_REMEMBERED = 9
_FEWEST = 3
"""Remembered images from which on there is a background."""
_MOVED = 0.05
"""Share of a body's samples that have changed if it has moved at all."""
_LEAST = 12
"""Samples of a body below which nothing is said."""


class Background:
    """The median of the last seconds, sample by sample."""

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._frames = 0
        self._remembered: deque[Int[np.ndarray, "r c"]] = deque(maxlen=_REMEMBERED)
        self._median: Float[np.ndarray, "r c"] | None = None
        """Of those that are remembered, once it was asked for: it takes a millisecond."""

    def see(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take the next frame."""
        if self._frames % _EVERY == 0:
            samples = samples_of(image, step_of(image, _GRID))
            if self._remembered and self._remembered[-1].shape != samples.shape:
                self._remembered.clear()
            self._remembered.append(samples)
            self._median = None
        self._frames += 1

    def has(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        body: Landmarks,
        others: Sequence[Landmarks],
    ) -> bool:
        """Tell whether a body lies where the image is as it was; False as long as that is unknown.

        Args:
            image: this frame.
            body: of somebody new.
            others: people who are in sight; where they are says nothing.
        """
        if len(self._remembered) < _FEWEST:
            return False
        step = step_of(image, _GRID)
        now, before = samples_of(image, step), self._as_it_was()
        if now.shape != before.shape:
            return False
        lies = _mask(now, [body], step) & ~_mask(now, others, step, WITH_EDGES)
        if lies.sum() < _LEAST:
            return False
        return float((np.abs(now - before)[lies] > CHANGE).mean()) < _MOVED

    def _as_it_was(self) -> Float[np.ndarray, "r c"]:
        if self._median is None:
            median: Float[np.ndarray, "r c"] = np.median(np.stack(self._remembered), axis=0)
            self._median = median
        return self._median


def _mask(
    samples: Int[np.ndarray, "r c"],
    people: Sequence[Landmarks],
    step: int,
    thickness: float = 1.0,
) -> Bool[np.ndarray, "r c"]:
    small = [replace(one, points=one.points / step) for one in people]
    return body_mask((samples.shape[1], samples.shape[0]), small, thickness) > 0
