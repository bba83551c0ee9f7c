"""How much two sets of landmarks, or two regions, show one and the same body."""

import math

import numpy as np
from jaxtyping import Float

from engines.types import LANDMARK_BONES, LIMB_LANDMARKS, MIRRORED_LANDMARKS, Landmarks, Roi

_JOINTS = np.array(list(LIMB_LANDMARKS))
"""Shoulders, elbows, wrists, hips, knees, ankles, each left and right: in this order."""
_MIRRORED = np.array(MIRRORED_LANDMARKS)
_FALLOFF = 2 * np.repeat([0.079, 0.072, 0.062, 0.107, 0.087, 0.089], 2)
"""COCO's constants of these joints: twice the standard deviation of their annotation, in roots of
the person's area."""
_BONES = np.array(LANDMARK_BONES)
_THICKNESS = 0.22
"""Distance from a bone at which a point is still on the body, in lengths of the trunk."""
SAME_BODY = 0.5
"""Object keypoint similarity from which on two sets of landmarks are of one body."""
_TURNED = math.radians(35.0)
_LEAST_WEIGHT = 0.05
"""A joint that neither set believes to be visible still counts so much."""


def oks(a: Landmarks, b: Landmarks) -> float:
    """Return the object keypoint similarity of two sets of landmarks, 0 to 1, as COCO defines it.

    Joints count as much as both sets believe them visible. Of the labels of b and the same with
    left and right exchanged those count that agree better: one body seen twice may be labelled
    in both ways.
    """
    area = min(_area(a.points), _area(b.points))
    as_labelled = _agreement(a, b.points, b.visibility, area)
    exchanged = _agreement(a, b.points[_MIRRORED], b.visibility[_MIRRORED], area)
    return max(as_labelled, exchanged)


def _agreement(
    a: Landmarks,
    points: Float[np.ndarray, "33 2"],
    visibility: Float[np.ndarray, "33"],
    area: float,
) -> float:
    squared = ((a.points - points)[_JOINTS] ** 2).sum(-1)
    weights = np.minimum(a.visibility, visibility)[_JOINTS] + _LEAST_WEIGHT
    agreement = np.exp(-squared / (2 * area * _FALLOFF**2))
    return float(agreement @ weights / weights.sum())


def _area(points: Float[np.ndarray, "33 2"]) -> float:
    """Area of the box around the body, at least that of a person a quarter as wide as high, px²."""
    extent = np.ptp(points[_JOINTS], axis=0)
    return float(np.maximum(extent, extent.max() / 4).prod()) + 1e-9


def overlap(a: Landmarks, b: Landmarks) -> bool:
    """Tell whether the boxes about two people's limb joints overlap, and they are not one body."""
    low = np.maximum(a.points[_JOINTS].min(0), b.points[_JOINTS].min(0))
    high = np.minimum(a.points[_JOINTS].max(0), b.points[_JOINTS].max(0))
    return bool((low < high).all()) and oks(a, b) < SAME_BODY


def share_on(a: Landmarks, b: Landmarks) -> float:
    """Return the share of a's joints that lie on the body of b, whatever joints they are there.

    A body on which the network finds a second, upside-down or half a skeleton agrees with it
    nowhere, and yet the second lies on it.
    """
    shoulders, hips = b.points[_JOINTS[:2]], b.points[_JOINTS[6:8]]
    middle = np.stack([shoulders.mean(0), hips.mean(0)])
    ends = np.concatenate([b.points[_BONES], middle[None]])  # (n, 2, 2)
    along = ends[:, 1] - ends[:, 0]
    from_start = a.points[_JOINTS][:, None] - ends[:, 0]
    position = (from_start * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
    foot = ends[:, 0] + position.clip(0, 1)[..., None] * along
    distance = np.linalg.norm(a.points[_JOINTS][:, None] - foot, axis=-1).min(1)
    trunk = float(np.linalg.norm(middle[0] - middle[1]))
    return float((distance < _THICKNESS * trunk).mean())


def same_region(a: Roi, b: Roi, apart: float = 0.12, ratio: float = 1.5) -> bool:
    """Tell whether two regions are about the same body.

    Args:
        a: one region.
        b: another.
        apart: largest distance of the centres, in sides of the larger region.
        ratio: largest ratio of the sides.
    """
    larger, smaller = max(a.size, b.size), min(a.size, b.size)
    distance = float(np.linalg.norm(a.center - b.center))
    return distance <= apart * larger and larger <= ratio * smaller and not turned(a, b)


def turned(a: Roi, b: Roi) -> bool:
    """Tell whether two regions are of bodies that lie in different directions."""
    return abs(math.remainder(a.rotation - b.rotation, 2 * math.pi)) > _TURNED
