"""What a camera shows that stands still, so that furniture is no person and newcomers are seen.

The landmark network is sometimes sure of a person where there is a chair with a bag. Whoever joins
others has come from somewhere, so the image has changed there; furniture is where it was. Somebody
who has sat still from the first image on and was overlooked counts as soon as they move. What has
changed and is nobody who is known, on the other hand, is worth a look: beside a person the detector
overlooks others, even in plain sight.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from engines.blazepose.people.covering import WITH_EDGES, body_mask
from engines.blazepose.people.motion import CHANGE, samples_of, step_of
from engines.types import Landmarks, Roi

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
_CAMERA_MOVED = 0.5
"""Share of the image that has changed from which on the camera has moved, or the light."""
_SMALLEST = 0.15
"""Side of what has come below which it is nobody, in the shorter side of the image."""
_FILLED = 0.1
"""Share of its square that a changed part fills if it can be a body: no wire, no edge of somebody
who is known."""


class Background:
    """The median of the last seconds, sample by sample."""

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._frames = 0
        self._remembered: deque[Int[np.ndarray, "r c"]] = deque(maxlen=_REMEMBERED)
        self._median: Float[np.ndarray, "r c"] | None = None
        """Of those that are remembered, once it was asked for: it takes a millisecond."""

    def see(self, image: UInt8[np.ndarray, "h w 3"], people: Sequence[Landmarks]) -> None:
        """Take the next frame.

        Args:
            image: the frame.
            people: who is in sight; behind them the background stays as it was.
        """
        if self._frames % _EVERY == 0:
            step = step_of(image, _GRID)
            samples = samples_of(image, step)
            if self._remembered and self._remembered[-1].shape != samples.shape:
                self._remembered.clear()
            if self._remembered:
                lies = _mask(samples, people, step, WITH_EDGES)
                samples = np.where(lies, self._as_it_was(), samples).astype(np.int16)
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
        change = self._change(image)
        if change is None:
            return False
        step = step_of(image, _GRID)
        lies = _mask(change, [body], step) & ~_mask(change, others, step, WITH_EDGES)
        if lies.sum() < _LEAST:
            return False
        return float((change[lies] > CHANGE).mean()) < _MOVED

    def newcomer(
        self, image: UInt8[np.ndarray, "h w 3"], people: Sequence[Landmarks]
    ) -> Roi | None:
        """Return the square that just holds the largest thing that has come, None without one.

        Args:
            image: this frame.
            people: who was found in it.
        """
        change = self._change(image)
        if change is None:
            return None
        step = step_of(image, _GRID)
        changed = change > CHANGE
        if changed.mean() > _CAMERA_MOVED:
            return None
        changed &= ~_mask(change, people, step, WITH_EDGES)
        closed = cv2.morphologyEx(
            changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
        )
        _, _, parts, _ = cv2.connectedComponentsWithStats(closed)
        if len(parts) < 2:  # the first is what has not changed
            return None
        left, top, width, height, area = max(parts[1:].tolist(), key=lambda part: part[-1])
        side = max(width, height)
        if side < _SMALLEST * min(change.shape) or area < _FILLED * side**2:
            return None
        return Roi(step * np.array([left + width / 2, top + height / 2]), float(step * side), 0.0)

    def _change(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "r c"] | None:
        """Return by how much samples differ from the background, None as long as there is none."""
        if len(self._remembered) < _FEWEST:
            return None
        now, before = samples_of(image, step_of(image, _GRID)), self._as_it_was()
        return np.abs(now - before) if now.shape == before.shape else None

    def _as_it_was(self) -> Float[np.ndarray, "r c"]:
        if self._median is None:
            median: Float[np.ndarray, "r c"] = np.median(np.stack(self._remembered), axis=0)
            self._median = median
        return self._median


def _mask(
    samples: Int[np.ndarray, "r c"] | Float[np.ndarray, "r c"],
    people: Sequence[Landmarks],
    step: int,
    thickness: float = 1.0,
) -> Bool[np.ndarray, "r c"]:
    small = [replace(one, points=one.points / step) for one in people]
    return body_mask((samples.shape[1], samples.shape[0]), small, thickness) > 0
