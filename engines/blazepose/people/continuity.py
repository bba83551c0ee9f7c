"""Whether what was found continues a track: place, size, pose and colours, as one cost."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engines.blazepose.people.appearance import difference
from engines.blazepose.people.similarity import oks
from engines.blazepose.people.stretching import is_stretched
from engines.blazepose.people.track import COAST, Candidate, Track
from engines.types import LIMB_LANDMARKS, Landmarks, Roi

_LIMBS = list(LIMB_LANDMARKS)
UNMATCHED = 6.0
"""Cost from which on a candidate is rather somebody else."""
_PLACE = 0.04
"""Distance from the expected place that costs 1, in sides of the region."""
_PLACE_PER_FRAME = 0.012
"""What is added to it for each frame out of sight."""
_PLACE_LIMIT = 0.25
_SIZE = 0.15
"""Logarithm of a ratio of sizes that costs 1."""
_POSE = 2.0
"""Cost of a pose that has nothing to do with the last one."""
_POSE_FRAMES = 5
"""Frames out of sight after which the last pose says nothing."""
_COLOURS_LIMIT = 3.0
"""The most that other colours cost."""
_OWN_REGION = 0.5
"""Factor on the cost of what was found in the track's own region."""
_FARTHEST = 0.2
"""Distance of a joint from where it should be that is as bad as any larger one, in sides of the
region."""
_NEAR = 0.5
"""Distance of two people who may take each other's landmarks, in sides of the larger region."""
_SLIPPED = 1.6
"""Difference of the colours from which on landmarks near another person are not this one's."""


def cost(track: Track, found: Candidate) -> float:
    """Return how badly a candidate continues a track, 0 for perfectly.

    What was found in the own region of somebody in sight may always continue that track: there the
    landmark network itself says that there is a person.
    """
    expected = track.expected
    distance = math.dist(found.roi.center, expected.center) / expected.size
    place = distance / min(_PLACE + _PLACE_PER_FRAME * track.hidden, _PLACE_LIMIT)
    if place > UNMATCHED and found.track is not track:
        return place  # most pairs: the rest takes longer and changes nothing
    size = abs(math.log(found.roi.size / expected.size)) / _SIZE
    colours = np.nan_to_num(difference(track.colours, found.colours))
    total = place + size + min(colours, _COLOURS_LIMIT) + _POSE * _pose_change(track, found)
    if found.track is not track:
        return total
    return min(_OWN_REGION * total, math.inf if track.hidden else UNMATCHED)


def jump(track: Track, found: Landmarks) -> float:
    """Return how far landmarks are from where they should be by the last ones.

    It is the mean over the limb joints, in sides of the region; none counts more than a fifth.
    """
    expected = track.landmarks.points[_LIMBS] + track.velocity
    distance = np.linalg.norm(found.points[_LIMBS] - expected, axis=-1) / track.roi.size
    return float(np.minimum(distance, _FARTHEST).mean())


def are_near(a: Roi, b: Roi) -> bool:
    """Tell whether two people are so near that one may take the other's landmarks."""
    return math.dist(a.center, b.center) < _NEAR * max(a.size, b.size)


def near_others(tracks: Sequence[Track]) -> frozenset[Track]:
    """Return the tracks whose landmarks another one, who counts as a person, may take."""
    expected = [(track, track.expected) for track in tracks]
    return frozenset(
        track
        for track, roi in expected
        if any(
            are_near(roi, other_roi)
            for other, other_roi in expected
            if other is not track and other.track_id is not None
        )
    )


def is_wrong(track: Track, found: Candidate) -> bool:
    """Tell whether landmarks near another person are not, or not all, on the track's own."""
    return has_slipped(track, found) or (
        not track.hidden and is_stretched(found.landmarks, track.recent)
    )


def has_slipped(track: Track, found: Candidate) -> bool:
    """Tell by the colours whether landmarks near another person have left their own."""
    return difference(track.colours, found.colours) > _SLIPPED


def _pose_change(track: Track, found: Candidate) -> float:
    """Return 1 - OKS of the pose against the last one moved on, fading while out of sight."""
    fading = 1 - track.hidden / _POSE_FRAMES
    if fading <= 0:
        return 0.0
    steps = min(track.hidden + 1, COAST)
    moved = replace(track.landmarks, points=track.landmarks.points + steps * track.velocity)
    return fading * (1.0 - oks(moved, found.landmarks))
