"""Stick figures as landmarks, and networks that see them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import Detection
from engines.blazepose.people.covering import body_mask
from engines.blazepose.people.track import Candidate, Track
from engines.types import Landmarks, Roi

_STICK = {
    **{i: (0.0, -0.9) for i in range(11)},
    **{11: (0.1, -0.65), 12: (-0.1, -0.65), 13: (0.14, -0.4), 14: (-0.14, -0.4)},
    **{15: (0.16, -0.15), 16: (-0.16, -0.15), 17: (0.16, -0.1), 18: (-0.16, -0.1)},
    **{19: (0.16, -0.1), 20: (-0.16, -0.1), 21: (0.16, -0.12), 22: (-0.16, -0.12)},
    **{23: (0.07, 0.0), 24: (-0.07, 0.0), 25: (0.08, 0.4), 26: (-0.08, 0.4)},
    **{27: (0.08, 0.8), 28: (-0.08, 0.8), 29: (0.08, 0.85), 30: (-0.08, 0.85)},
    **{31: (0.12, 0.85), 32: (-0.04, 0.85)},
}
STICK = np.array([_STICK[i] for i in range(33)])
"""A standing person, middle of the hips at the origin, 1.75 high."""


def landmarks(
    x: float, y: float = 240.0, scale: float = 100.0, score: float = 1.0, visible: float = 1.0
) -> Landmarks:
    """A stick figure with its hips at (x, y) px."""
    one = np.full(33, visible)
    points = STICK * scale + (x, y)
    roi = region(x, y, scale)
    return Landmarks(points, np.zeros(33), one, one, np.zeros((33, 3)), score, roi)


def region(x: float, y: float = 240.0, scale: float = 100.0) -> Roi:
    """The region about a stick figure."""
    return Roi(np.array([x, y]), 2.5 * scale, 0.0)


NO_COLOURS = np.full((3, 3), np.nan)


def seen(x: float, track: Track | None = None, **about: float) -> Candidate:
    """What is found of a stick figure."""
    return Candidate(landmarks(x, **about), region(x), NO_COLOURS, track)


def tracked(x: float, number: int = 1) -> Track:
    """The track of a stick figure that was found once."""
    return Track(landmarks(x), region(x), NO_COLOURS, number)


class Stage:
    """Networks for stick figures: the landmark network takes whoever is nearest to the region's
    centre, at equal distance the one who is named first."""

    def __init__(self) -> None:
        self.people: Sequence[tuple[float, float]] = ()
        """x and scale of everybody in the image."""
        self.looks = 0
        self.runs = 0
        self.score = 1.0
        self.overlooked: set[float] = set()
        """x of people whom the detector does not see."""

    def drawn(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return a copy of an image with everybody in it."""
        image = image.copy()
        people = [landmarks(x, scale=scale) for x, scale in self.people]
        image[body_mask((image.shape[1], image.shape[0]), people) > 0] = 200
        return image

    def detect(self, image: np.ndarray, view: Roi | None) -> list[Detection]:
        self.looks += 1
        found = []
        for x, scale in self.people:
            inside = view is None or abs(x - view.center[0]) < view.size / 2
            if inside and x not in self.overlooked:
                found.append(Detection(region(x, scale=scale), 0.9))
        return found

    def landmark(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
        self.runs += 1
        near = [p for p in self.people if abs(p[0] - roi.center[0]) < 0.5 * roi.size]
        if not near:
            return landmarks(float(roi.center[0]), score=0.0), roi
        x, scale = min(near, key=lambda p: abs(p[0] - roi.center[0]))
        return landmarks(x, scale=scale, score=self.score), region(x, scale=scale)

    def landmark_each(self, image: np.ndarray, rois: Sequence[Roi]) -> list[tuple[Landmarks, Roi]]:
        return [self.landmark(image, roi) for roi in rois]
