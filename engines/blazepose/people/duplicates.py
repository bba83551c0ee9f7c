"""Two sets of landmarks on one body are merged into one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from engines.blazepose.people.continuity import are_near, cost
from engines.blazepose.people.similarity import SAME_BODY, oks, share_on, turned
from engines.blazepose.people.track import Candidate
from engines.types import Landmarks

ON_THE_SAME_BODY = 0.6
"""Share of a new detection's joints on a body from which on it is not another one."""

MORE_VISIBLE = 0.1
"""Visibility, in the mean over the landmarks, by which a detection must exceed what it corrects."""


def merged(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without those that show a body that a better one shows.

    A region that two people share shows the one in front. Both regions then hold that person's
    landmarks: those stay that continue their own track better, and the other track goes on
    without. What was found where somebody was tracked comes before a new detection, unless it is
    wrong (`_corrects`), and among new detections the more certain one.
    """
    pairs = combinations(found, 2)
    if not any(are_near(a.roi, b.roi) for a, b in pairs):
        return list(found)
    kept: list[Candidate] = []
    for one in sorted(found, key=_rank):
        same = next((i for i, other in enumerate(kept) if _same_body(one, other)), None)
        if same is None:
            kept.append(one)
        elif _corrects(one, kept[same]):
            kept[same] = replace(one, track=kept[same].track)
    return kept


def lies_on(one: Candidate, others: Sequence[Landmarks]) -> bool:
    """Tell whether most joints of what was found lie on the body of one of the others."""
    return any(share_on(one.landmarks, other) >= ON_THE_SAME_BODY for other in others)


def _corrects(new: Candidate, tracked: Candidate) -> bool:
    """Tell whether a detection says that a track's landmarks are wrong.

    The landmark network is run where its own last landmarks were. If these were wrong, so is the
    next region, and the network, which sees a body lying there, may be sure of its error. The
    detector has no memory: of two directions that one counts in which more is visible.
    """
    return _turned_on_one_body(new, tracked) and (
        float((new.landmarks.visibility - tracked.landmarks.visibility).mean()) > MORE_VISIBLE
    )


def _turned_on_one_body(new: Candidate, tracked: Candidate) -> bool:
    return (
        new.track is None
        and tracked.track is not None
        and turned(new.roi, tracked.roi)
        and share_on(tracked.landmarks, new.landmarks) >= ON_THE_SAME_BODY
    )


def _same_body(one: Candidate, better: Candidate) -> bool:
    if not are_near(one.roi, better.roi):
        return False
    if oks(one.landmarks, better.landmarks) >= SAME_BODY:
        return True
    if one.track is None and lies_on(one, [better.landmarks]):
        return True
    return _turned_on_one_body(one, better)


def _rank(one: Candidate) -> tuple[int, float]:
    if one.track is None:
        return 2, -one.landmarks.score
    return int(one.track.track_id is None), cost(one.track, one)
