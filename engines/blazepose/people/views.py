"""When the detector looks, and at which squares of an image.

The detector sees 224 px, whatever the image has, so in the whole of a wide image it misses people
whom it finds in a square of it. It goes through the whole image and these squares in turn.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import whole
from engines.blazepose.people.background import Background
from engines.blazepose.people.motion import MotionFinder
from engines.blazepose.people.similarity import same_region
from engines.blazepose.people.track import Candidate, Track
from engines.types import Roi

LOOK_EVERY = 8
"""Frames between two looks of the detector while everybody is in sight."""
LOOK_AT_CHANGE_EVERY = 3
"""Frames after one look until another where something moves, or has come, that is nobody who is
known. These looks come on top: what moves for ever, such as a screen, does not keep the detector
from the rest of the image."""
LOOK_FOR_LOST_EVERY = 2
"""Frames between two looks for somebody who is out of sight."""
_DETECTOR_LOOKS = 2
"""Looks at one thing that has come in which the detector takes part."""
_RARER = 3
"""How often the time is doubled between looks at something that has come and stays nobody."""
_ROOM = 1.5
"""Side of the square to look at, in extents of what moves."""
_SMALLEST = 0.5
"""Side of the smallest such square, in the shorter side of the image."""
_BODY_ROOM = 1.25
"""Side of the region of a person, in extents of what moves."""
_SMALLEST_BODY = 0.2
"""Side of the smallest such region, in the shorter side of the image."""

_OBLONG = 1.2
"""Ratio of an image's sides from which on its squares show more than the whole."""
_OVERLAP = 0.2
"""Of neighbouring squares, in sides: about half a person."""
NEAR_REGION = 1.6
"""Side of the square about a person who was lost, in sides of the region."""


class View(NamedTuple):
    """What the detector is shown."""

    square: Roi
    """Of the image."""
    covered: bool
    """Whether those are covered who were found: beside them the detector overlooks others."""


class Look(NamedTuple):
    """Where to look for people in a frame."""

    views: list[View]
    body: Roi | None = None
    """Region of what may be a person as it moves or has come, for the landmark network: beside
    somebody else the detector often misses people whom the network finds if it is shown them."""


class Lookout:
    """Says for each frame where to look."""

    def __init__(self, background: Background) -> None:
        """Begin before the first frame.

        Args:
            background: tells what has come.
        """
        self._background = background
        self._frames = 0
        self._looks = 0
        self._last_look = 0
        self._last_at_change = 0
        self._come: Roi | None = None
        self._looks_at_it = 0
        self._last_at_it = 0
        self._motion = MotionFinder()

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        tracks: Sequence[Track],
        found: Sequence[Candidate],
    ) -> Look:
        """Return where to look in the next frame.

        Args:
            image: that frame.
            tracks: of the people who are known.
            found: who was found in the frame without the detector.
        """
        frame, squares = self._frames, views_of(image)
        self._frames += 1
        if frame == 0:
            return Look([View(square, False) for square in squares])
        covered = (False, True) if found else (False,)
        rota = [View(square, cover) for square in squares for cover in covered]
        followed = {one.track for one in found}
        views = []
        for track in tracks:
            lost = track.hidden == 0 and track not in followed
            if lost or track.hidden % LOOK_FOR_LOST_EVERY:
                views.append(View(near(track.expected), True))
        moving = self._motion(image, [track.expected for track in tracks])
        if not found or frame - self._last_look >= LOOK_EVERY:
            views.append(rota[self._looks % len(rota)])
            self._looks += 1
            self._last_look = frame
        elif frame - max(self._last_look, self._last_at_change) >= LOOK_AT_CHANGE_EVERY:
            come = self._what_has_come(frame, image, found)
            if come is not None or moving is not None:
                self._last_at_change = frame
            if come is not None and self._looks_at_it > _DETECTOR_LOOKS:
                return Look(views, _body(image, come))
            change = come or moving
            if change is not None:
                return Look([*views, View(_around(image, change), True)], _body(image, change))
        return Look(views)

    def _what_has_come(
        self, frame: int, image: UInt8[np.ndarray, "h w 3"], found: Sequence[Candidate]
    ) -> Roi | None:
        """Return where something has come, the less often the longer it has been nobody."""
        come = self._background.newcomer(image, [one.landmarks for one in found])
        if come is None:
            return None
        if self._come is None or not same_region(come, self._come):
            self._come, self._looks_at_it = come, 0
        if self._looks_at_it:
            every = LOOK_AT_CHANGE_EVERY << min(self._looks_at_it - 1, _RARER)
            if frame - self._last_at_it < every:
                return None
        self._looks_at_it += 1
        self._last_at_it = frame
        return come


def _around(image: UInt8[np.ndarray, "h w 3"], change: Roi) -> Roi:
    """Return the square in which the detector looks for who moves or has come."""
    shorter, longer = sorted(image.shape[:2])
    side = float(np.clip(_ROOM * change.size, _SMALLEST * shorter, longer))
    return Roi(change.center, side, 0.0)


def _body(image: UInt8[np.ndarray, "h w 3"], change: Roi) -> Roi | None:
    """Return the region of a body in a square that has changed; None if it has not that size."""
    shorter, longer = sorted(image.shape[:2])
    body = Roi(change.center, _BODY_ROOM * change.size, 0.0)
    return body if _SMALLEST_BODY * shorter <= body.size <= longer else None  # or a camera moves


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
