"""One person through time: what is remembered, and where the person is expected next."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from engines.blazepose.people.appearance import Colours, followed
from engines.blazepose.sides import SideContinuity
from engines.types import Landmarks, Roi

_MEMORY = 12
"""Regions that are remembered, frames."""
_DOUBTFUL = 3
"""The last regions before a person gets out of sight: they slide to whoever is in front."""
_SAME_SIDES = 30
"""Frames out of sight after which left and right may have changed places."""
COAST = 20
"""Frames for which somebody out of sight is expected to walk on."""


class TrackedPerson(NamedTuple):
    """One person in one frame."""

    track_id: int
    landmarks: Landmarks


@dataclass(frozen=True)
class Candidate:
    """Landmarks of one frame, before it is known whose they are."""

    landmarks: Landmarks
    roi: Roi
    """The region about the body, in which the next frame is searched."""
    colours: Colours
    track: "Track | None" = None
    """In whose region they were found; None for a detection."""


@dataclass(eq=False)
class Track:
    """One person; changed by `see` and `miss` alone."""

    landmarks: Landmarks
    """As found last, left and right as the network said."""
    roi: Roi
    """Region about the body when last in sight."""
    colours: Colours
    track_id: int | None = None
    """None as long as it is not sure that this is a person."""
    seen: int = 1
    """Frames in which the person was found."""
    hidden: int = 0
    """Frames since the last of them; 0 while the person is in sight."""
    sides: SideContinuity = field(default_factory=SideContinuity)
    recent: deque[Landmarks] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    """Landmarks of the last frames in sight."""
    _regions: deque[tuple[int, Roi]] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    """Regions of these frames, and how many frames after the first."""
    _frame: int = 0

    def __post_init__(self) -> None:
        self._regions.append((0, self.roi))
        self.recent.append(self.landmarks)

    def see(self, one: Candidate, alone: bool) -> None:
        """Take what was found in this frame.

        Args:
            one: what was found.
            alone: whether nobody else is near, so that the colours are this person's.
        """
        if self.hidden > _SAME_SIDES:
            self.sides.reset()
        if self.hidden:
            self.recent.clear()
        self._frame += 1
        while self._regions and self._frame - self._regions[0][0] > _MEMORY:
            self._regions.popleft()
        self._regions.append((self._frame, one.roi))
        self.recent.append(one.landmarks)
        self.landmarks, self.roi = one.landmarks, one.roi
        if alone:
            self.colours = followed(self.colours, one.colours)
        self.seen, self.hidden = self.seen + 1, 0

    def miss(self) -> None:
        """Note a frame in which the person was not found.

        At the first of them the last regions are forgotten, and the motion before them goes on.
        """
        if self.hidden == 0 and len(self._regions) > 2 * _DOUBTFUL:
            for _ in range(_DOUBTFUL):
                self._regions.pop()
            frame, last = self._regions[-1]
            self.roi = _moved(last, (self._frame - frame) * self.velocity)
        self._frame += 1
        self.hidden += 1

    @property
    def velocity(self) -> Float[np.ndarray, "2"]:
        """Of the region's centre, px per frame."""
        (first, before), (last, now) = self._regions[0], self._regions[-1]
        if last - first < 2:
            return np.zeros(2)
        return (now.center - before.center) / (last - first)

    @property
    def sought(self) -> Roi:
        """Where to search for somebody out of sight: on the way or, in turn, where it ended."""
        return self.roi if self.hidden % 4 == 2 else self.expected

    @property
    def expected(self) -> Roi:
        """The region where the person should be in the frame that follows."""
        return _moved(self.roi, min(self.hidden + 1, COAST) * self.velocity)


def _moved(roi: Roi, by: Float[np.ndarray, "2"]) -> Roi:
    return Roi(roi.center + by, roi.size, roi.rotation)
