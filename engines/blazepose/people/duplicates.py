"""Two sets of landmarks on one body are merged into one."""

from collections.abc import Sequence
from itertools import combinations

from engines.blazepose.people.continuity import are_near, cost
from engines.blazepose.people.similarity import oks, share_on
from engines.blazepose.people.track import Observation

SAME_BODY = 0.5
"""Object keypoint similarity from which on two sets of landmarks are of one body."""

ON_THE_SAME_BODY = 0.6
"""Share of a new detection's joints on a body from which on it is not another one."""


def merged(found: Sequence[Observation]) -> list[Observation]:
    """Return the observations without those that show a body that a better one shows.

    A region that two people share shows the one in front. Both regions then hold that person's
    landmarks: those stay that continue their own track better, and the other track goes on
    without. What was found where somebody was tracked comes before a new detection, and among new
    detections the more certain one.
    """
    pairs = combinations(found, 2)
    if not any(are_near(a.roi, b.roi) for a, b in pairs):
        return list(found)
    kept: list[Observation] = []
    for one in sorted(found, key=_rank):
        if not any(_same_body(one, other) for other in kept):
            kept.append(one)
    return kept


def _same_body(one: Observation, better: Observation) -> bool:
    if not are_near(one.roi, better.roi):
        return False
    if oks(one.landmarks, better.landmarks) >= SAME_BODY:
        return True
    return one.track is None and share_on(one.landmarks, better.landmarks) >= ON_THE_SAME_BODY


def _rank(one: Observation) -> tuple[int, float]:
    if one.track is None:
        return 2, -one.landmarks.score
    return int(one.track.track_id is None), cost(one.track, one)
