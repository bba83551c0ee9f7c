"""The tracker of one person, as one of several people at most one of whom is tracked."""

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.people.track import TrackedPerson
from engines.blazepose.tracker import PoseTracker


class OnePersonTracker:
    """A `PoseTracker` with the interface of `PeopleTracker`."""

    def __init__(self, tracker: PoseTracker) -> None:
        """Take the tracker of one person."""
        self._tracker = tracker
        self._found = False

    def reset(self) -> None:
        """Drop the track."""
        self._tracker.reset()
        self._found = False

    @property
    def known(self) -> frozenset[int]:
        """Number of the person in sight, if there is one."""
        return frozenset([self._tracker.track_id] if self._found else [])

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[TrackedPerson, ...]:
        """Return the person of a BGR image."""
        landmarks = self._tracker(image)
        self._found = landmarks is not None
        return () if landmarks is None else (TrackedPerson(self._tracker.track_id, landmarks),)
