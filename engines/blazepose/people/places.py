"""Who of those that are followed counts as a person, and for how many there is a place."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.people.background import Background
from engines.blazepose.people.similarity import same_region
from engines.blazepose.people.track import Track
from engines.types import Roi

CONFIRM = 3
"""Frames in a row in which somebody must be found who joins others."""
REPLACE = 2.0
"""How much larger somebody is who takes another's place."""
_REMEMBERED = 8
"""Regions of people who were forgotten."""


class Places:
    """The places of N people."""

    def __init__(self, count: int, background: Background) -> None:
        """Begin with nobody.

        Args:
            count: N.
            background: of the image, which the tracker keeps.
        """
        self._count = count
        self._background = background
        self._regions: deque[Roi] = deque(maxlen=_REMEMBERED)

    def left(self, track: Track) -> None:
        """Remember where somebody was who is forgotten: a person may still be there."""
        self._regions.append(track.roi)

    def has_come(
        self, image: UInt8[np.ndarray, "h w 3"], track: Track, tracks: Sequence[Track]
    ) -> bool:
        """Whether somebody who joins others is surely a person.

        The background says so, but for where somebody was followed: it was learned with them in it.
        """
        if track.seen < CONFIRM:
            return False
        if any(same_region(track.roi, region) for region in self._regions):
            return True
        others = [one.landmarks for one in tracks if one is not track and not one.hidden]
        return not self._background.has(image, track.landmarks, others)

    def limited(self, tracks: Sequence[Track]) -> list[Track]:
        """Return the tracks without those in sight for whom there is no place.

        Who is far larger than somebody known is followed beyond N until it is sure that this is a
        person (`with_room_for`): nobody loses a place to a piece of furniture.
        """
        in_sight = sorted((one for one in tracks if not one.hidden), key=lambda t: -t.roi.size)
        known = [track for track in in_sight if track.track_id is not None]
        others = [track for track in in_sight if track.track_id is None]
        kept, free = known[: self._count], max(self._count - len(known), 0)
        kept += others[:free]
        if len(others) > free and _replaces(others[free], known):
            kept.append(others[free])
        return [track for track in tracks if track.hidden or track in kept]

    def with_room_for(self, newcomer: Track, tracks: list[Track]) -> list[Track] | None:
        """Return the tracks of which `newcomer` may be numbered; None where there is no place.

        If N are in sight the smallest of them leaves the place to somebody far larger.
        """
        known = [one for one in tracks if one.track_id is not None and not one.hidden]
        if len(known) < self._count:
            return tracks
        if not _replaces(newcomer, known):
            return None
        smallest = min(known, key=lambda one: one.roi.size)
        self.left(smallest)
        return [track for track in tracks if track is not smallest]


def _replaces(newcomer: Track, known: Sequence[Track]) -> bool:
    """Whether somebody is so much larger than the smallest known person as to take the place."""
    return bool(known) and newcomer.roi.size > REPLACE * min(one.roi.size for one in known)
