"""Consecutive images to the landmarks of one person.

While a person is tracked, the landmarker is run in the region that the last frame's landmarks
suggest. Where it finds no person there, or none was tracked, the detector proposes a region for the
same frame.

False detections (table legs and the like) often score above one half, but nearly always without a
torso: shoulders and hips coincide. A person who lies towards the camera projects to the same, and
counts only at a score close to one.

Through the images of a track left and right stay what they are (`engines.blazepose.sides`).
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import open_detector
from engines.blazepose.landmarker import open_landmarker
from engines.blazepose.models import MIN_SCORE
from engines.blazepose.roi import steady
from engines.blazepose.sides import SideContinuity
from engines.types import LandmarkNetwork, Landmarks, Roi

SHORT_TORSO = 0.06
"""Length of the torso in sides of the region below which it counts as missing. Measured: 0.11 and
more on people, 0.05 and less on 95 % of the false detections."""
MIN_SCORE_WITHOUT_TORSO = 0.99
"""Score from which on a person without a torso counts as found."""
MIN_PRESENCE = 0.25
"""Mean presence of the landmarks below which nobody is there. Measured: 0.31 and more on people, of
whom often only head and shoulders are in the image; 0.06 to 0.24 at the edge of an image that
somebody has left, where the score stays above 0.9 for seconds."""
_SHOULDERS, _HIPS = [11, 12], [23, 24]


Detect = Callable[[UInt8[np.ndarray, "h w 3"]], Roi | None]
"""The region of a person in a BGR image: `engines.blazepose.detector.Detector`."""
FindLandmarks = Callable[[UInt8[np.ndarray, "h w 3"], Roi], tuple[Landmarks, Roi]]
"""Landmarks in a region, and the next region: `engines.blazepose.landmarker.Landmarker`."""


class PoseTracker:
    """Follows one person through the frames of a source; belongs to one thread."""

    def __init__(
        self, detector: Detect, landmarker: FindLandmarks, min_score: float = MIN_SCORE
    ) -> None:
        """Take the two networks.

        Args:
            detector: proposes regions.
            landmarker: finds the landmarks in a region.
            min_score: of the landmarker, from which on a person counts as found.
        """
        self._detector = detector
        self._landmarker = landmarker
        self._min_score = min_score
        self._roi: Roi | None = None
        self._sides = SideContinuity()
        self.track_id = 0
        """Number of the track; it changes where continuity with the previous frame is lost."""

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """Return the landmarks of the person in a BGR image, or None."""
        before = self._roi
        found = self._landmarks_in(image, before, tracked=True)
        if found is None:
            found = self._landmarks_in(image, self._detector(image), tracked=False)
            if found is not None and not _same_place(before, found.roi):
                self.track_id += 1
                self._sides.reset()
        if found is None:
            self._sides.reset()
            return None
        return self._sides(found)

    def reset(self) -> None:
        """Drop the track, as after a cut in a video."""
        self._roi = None
        self._sides.reset()

    def _landmarks_in(
        self, image: UInt8[np.ndarray, "h w 3"], roi: Roi | None, tracked: bool
    ) -> Landmarks | None:
        """Return the landmarks of the person in `roi`, and set the region for the next frame."""
        self._roi = None
        if roi is None:
            return None
        landmarks, next_roi = self._landmarker(image, roi)
        if not believable(landmarks, self._min_score):
            return None
        self._roi = steady(roi, next_roi) if tracked else next_roi
        return landmarks


def believable(landmarks: Landmarks, min_score: float = MIN_SCORE) -> bool:
    """Tell whether landmarks are those of a person in the image.

    Without a torso only the surest are, and nobody is of whom next to nothing is in the image.
    """
    if landmarks.presence.mean() < MIN_PRESENCE:
        return False
    return landmarks.score >= (min_score if _has_torso(landmarks) else MIN_SCORE_WITHOUT_TORSO)


def _has_torso(landmarks: Landmarks) -> bool:
    points = landmarks.points
    x, y = points[_SHOULDERS].mean(0) - points[_HIPS].mean(0)
    return math.hypot(x, y) >= SHORT_TORSO * landmarks.roi.size


def _same_place(before: Roi | None, now: Roi) -> bool:
    """Tell whether a detection continues the track that was just lost."""
    if before is None:
        return False
    moved = np.linalg.norm(now.center - before.center)
    return bool(moved < before.size / 4 and 0.5 < now.size / before.size < 2)


def open_tracker(backend: str = "auto", network: LandmarkNetwork = "full") -> PoseTracker:
    """Open a tracker with both networks on `backend`; the first use imports them.

    Args:
        backend: as for `engines.backends.engine.open_engine`.
        network: that finds the landmarks.
    """
    landmarker = open_landmarker(backend, network)  # first, as it may refuse
    return PoseTracker(open_detector(backend), landmarker)
