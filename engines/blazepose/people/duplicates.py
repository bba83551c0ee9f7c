"""Two sets of landmarks on one body are merged into one."""

from collections.abc import Sequence

from engines.blazepose.people.continuity import cost
from engines.blazepose.people.similarity import oks
from engines.blazepose.people.track import Observation

SAME_BODY = 0.5
"""Object keypoint similarity from which on two sets of landmarks are of one body."""


def merged(found: Sequence[Observation]) -> list[Observation]:
    """Return the observations without those that show a body that a better one shows.

    A region that two people share shows the one in front. Both regions then hold that person's
    landmarks: those stay that continue their own track better, and the other track goes on
    without. What was found where somebody was tracked comes before a new detection, and among new
    detections the more certain one.
    """
    kept: list[Observation] = []
    for one in sorted(found, key=_rank):
        if all(oks(one.landmarks, other.landmarks) < SAME_BODY for other in kept):
            kept.append(one)
    return kept


def _rank(one: Observation) -> tuple[int, float]:
    if one.track is None:
        return 2, -one.landmarks.score
    return int(one.track.track_id is None), cost(one.track, one)
