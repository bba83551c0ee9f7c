"""How well several people were tracked through a clip of which it is known where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from engines.types import LIMB_LANDMARKS

_MARKS = np.array(list(LIMB_LANDMARKS))
_JOINTS = np.array(list(LIMB_LANDMARKS.values()))
_NEAR = 0.1
"""Mean distance of visible joints, in the person's height, up to which a person counts as found."""
_CLEARLY = 0.5
"""Ratio of the distances from two people up to which a skeleton has gone over from one to the
other: while one is in front of the other, either may be nearer by chance."""
_HEAD = 1.15
"""Height of a person, in that of the limb joints."""
_IN_SIGHT = 0.5
"""Share of the limb joints from which on a person is visible."""

Tracked = Sequence[tuple[int, Float[np.ndarray, "33 2"], Float[np.ndarray, "33"]]]
"""Number, landmarks and their visibility of everybody whom a tracker returned for a frame."""


@dataclass(frozen=True)
class TrackScores:
    """Of a whole clip with P people."""

    both_found: float
    """Share of the frames in which all are visible and all were found."""
    switches: list[int]
    """How often each person was given another number."""
    stretched: int
    """Skeletons, over all frames, that lie over two people."""
    nobody: int
    """Skeletons that lie on nobody."""
    doubled: int
    """Skeletons on somebody who has another one."""
    found: list[float]
    """Share of the frames in which each is visible and was found."""
    skeletons: list[list[int | None]]
    """Of each person in each frame, which of the tracked skeletons is theirs."""


def score(
    tracked: Sequence[Tracked],
    joints_px: Float[np.ndarray, "T P 24 2"],
    visible: Bool[np.ndarray, "T P 24"],
) -> TrackScores:
    """Compare what a tracker returned with where the limb joints are.

    Args:
        tracked: of each of T frames.
        joints_px: of P people; nan where a joint is not known.
        visible: whether a joint can be seen; False where it is not known.
    """
    people = joints_px.shape[1]
    numbers: list[list[int]] = [[] for _ in range(people)]
    complete: list[bool] = []
    alone: list[list[bool]] = [[] for _ in range(people)]
    skeletons: list[list[int | None]] = [[] for _ in range(people)]
    stretched = nobody = doubled = 0
    before: dict[int, int | None] = {}
    for found, joints, shown in zip(tracked, joints_px, visible, strict=True):
        height = _height(joints[:, _JOINTS])
        owners: list[int | None] = []
        for number, points, visibility in found:
            apart = np.linalg.norm(points[_MARKS] - joints[:, _JOINTS], axis=-1)
            exchanged = np.linalg.norm(points[_MARKS] - joints[:, _JOINTS[_SWAP]], axis=-1)
            apart = np.minimum(apart, exchanged) / height[:, None]
            sure = visibility[_MARKS] > 0.5
            owner = _owner(apart, shown[:, _JOINTS], before.get(number))
            before[number] = before.get(number) if owner is None else owner
            owners.append(owner)
            on = (apart < _NEAR / 2) & (apart < 0.5 * apart[::-1]) & sure
            stretched += int(people == 2 and on.sum(1).min() >= 3)
        for who in range(people):
            mine = [found[i][0] for i, owner in enumerate(owners) if owner == who]
            doubled += max(0, len(mine) - 1)
            numbers[who] += mine[:1]
            skeletons[who].append(owners.index(who) if who in owners else None)
            if shown[who, _JOINTS].mean() >= _IN_SIGHT:
                alone[who].append(who in owners)
        nobody += owners.count(None)
        if (shown[:, _JOINTS].mean(1) >= _IN_SIGHT).all():
            complete.append(set(range(people)) <= set(owners))
    switches = [sum(a != b for a, b in pairwise(n)) for n in numbers]
    shares = [_share(one) for one in alone]
    return TrackScores(_share(complete), switches, stretched, nobody, doubled, shares, skeletons)


def _share(found: list[bool]) -> float:
    return float(np.mean(found)) if found else float("nan")


def _height(joints: Float[np.ndarray, "P 12 2"]) -> Float[np.ndarray, "P"]:
    """Return the people's heights by the extents of their limb joints, which leave out the head."""
    low, high = (np.where(np.isnan(joints), value, joints) for value in (np.inf, -np.inf))
    return _HEAD * np.maximum((high.max(1) - low.min(1)).max(-1), 1.0)


_SWAP = np.array([1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10])
"""Left and right exchanged among the limb joints."""


def _owner(
    apart: Float[np.ndarray, "P 12"], shown: Bool[np.ndarray, "P 12"], before: int | None
) -> int | None:
    """Return on whom a skeleton lies, or None.

    Where two overlap a skeleton may lie on both, and counts as that of the one it lay on `before`,
    unless it is at most half as far from the other one.
    """
    means = [
        float(d[s].mean()) if s.sum() >= 3 else np.inf for d, s in zip(apart, shown, strict=True)
    ]
    best = int(np.argmin(means))
    if before is not None and means[best] > _CLEARLY * means[before]:
        best = before
    return best if means[best] < _NEAR else None
