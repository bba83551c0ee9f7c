"""Pictures of one scene, one after another, to the landmarks of one person.

The detector looks at the whole picture only when nobody is tracked. Otherwise the landmarker looks
where the last frame's landmarks say that the person is, and when it finds nobody there the detector
is asked about the same frame.

Table legs and the like get landmarks too, often with a score above one half and nearly always
without a torso: shoulders and hips fall together. Somebody who lies towards the camera looks like
that as well, and is believed only where the network is all but sure.
"""

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.detector import Detector, open_detector
from engines.blazepose.landmarker import Landmarker, open_landmarker
from engines.blazepose.models import MIN_SCORE
from engines.blazepose.roi import steady
from engines.types import Landmarks, Roi

SHORT_TORSO = 0.06
"""Of the region's side. Measured: 0.11 and more on real people, 0.05 and less on 95 % of the false
ones.
"""
SURE = 0.99
"""Score above which somebody without a torso is believed."""
_SHOULDERS, _HIPS = (11, 12), (23, 24)


class PoseTracker:
    """Call it with frames in their order. One object follows one person and belongs to one
    thread.
    """

    def __init__(
        self, detector: Detector, landmarker: Landmarker, min_score: float = MIN_SCORE
    ) -> None:
        """Take the two networks; below `min_score` the landmarker's "there is somebody" is not
        believed.
        """
        self._detector = detector
        self._landmarker = landmarker
        self._min_score = min_score
        self._roi: Roi | None = None
        self.track_id = 0
        """Counts people: another number is another person, as far as can be told from one frame to
        the next.
        """

    @property
    def backend(self) -> str:
        """What runs the landmark network."""
        return self._landmarker.engine.backend

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The person in this BGR picture, or None."""
        before = self._roi
        found = self._look_at(image, before, tracked=True)
        if found is None:
            found = self._look_at(image, self._detector(image), tracked=False)
            if found is not None and not _same_place(before, found.roi):
                self.track_id += 1
        return found

    def reset(self) -> None:
        """Forget the person, as after a cut in the film."""
        self._roi = None

    def _look_at(
        self, image: UInt8[np.ndarray, "h w 3"], roi: Roi | None, tracked: bool
    ) -> Landmarks | None:
        """Landmarks in `roi` if somebody is there; remembers where to look next."""
        self._roi = None
        if roi is None:
            return None
        landmarks, next_roi = self._landmarker(image, roi)
        if landmarks.score < (self._min_score if _has_torso(landmarks) else SURE):
            return None
        self._roi = steady(roi, next_roi) if tracked else next_roi
        return landmarks


def _has_torso(landmarks: Landmarks) -> bool:
    points = landmarks.points
    length = np.linalg.norm(points[list(_SHOULDERS)].mean(0) - points[list(_HIPS)].mean(0))
    return bool(length >= SHORT_TORSO * landmarks.roi.size)


def _same_place(before: Roi | None, now: Roi) -> bool:
    """Whether somebody who was lost and found within a frame is where the lost one was."""
    if before is None:
        return False
    moved = np.linalg.norm(now.center - before.center)
    return bool(moved < before.size / 4 and 0.5 < now.size / before.size < 2)


def open_tracker(backend: str = "auto") -> PoseTracker:
    """Both networks on `backend`, imported from mediapipe's wheel when this is the first use."""
    return PoseTracker(open_detector(backend), open_landmarker(backend))
