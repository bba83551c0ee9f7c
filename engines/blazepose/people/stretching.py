"""One skeleton over two bodies: noticed, and split."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from engines.blazepose.people.similarity import oks
from engines.blazepose.people.track import Candidate
from engines.types import LANDMARK_BONES, Landmarks

_BONES = np.array(LANDMARK_BONES)
_GROWTH = 0.35
"""What a bone can grow by from one frame to the next, in lengths of the trunk."""
_VISIBLE = 0.5
_PART = 0.2
"""Object keypoint similarity from which on a skeleton may lie on a part of a body."""


def bone_lengths(landmarks: Landmarks) -> Float[np.ndarray, "12"]:
    """Return the lengths of the bones in the image, px."""
    ends = landmarks.points[_BONES]
    return np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)


def is_stretched(now: Landmarks, before: Sequence[Landmarks]) -> bool:
    """Tell whether a bone is suddenly longer than it has been, because its ends are on two bodies.

    Args:
        now: landmarks of this frame.
        before: of the last frames.
    """
    if not before:
        return False
    lengths = np.stack([bone_lengths(one) for one in before])
    trunk = float(np.median(lengths[:, 2:4].max(1)))
    shown = (now.visibility[_BONES] > _VISIBLE).all(1)
    growth = bone_lengths(now) - lengths.max(0)
    return bool((growth[shown] > _GROWTH * trunk).any())


def split(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without the skeletons that lie over two bodies.

    Such a skeleton agrees in part with two that the detector led to and that do not agree with
    each other. Those two take its place.
    """
    new = [one for one in found if one.track is None]

    def over_two(one: Candidate) -> bool:
        parts = [other for other in new if oks(one.landmarks, other.landmarks) > _PART]
        return any(
            oks(a.landmarks, b.landmarks) < _PART
            for i, a in enumerate(parts)
            for b in parts[i + 1 :]
        )

    return [one for one in found if one.track is None or not over_two(one)]
