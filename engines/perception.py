"""Pictures of one scene, one after another, to the landmarks of one person.

The detector looks at the whole picture only when nobody is tracked. Otherwise the landmarker looks where the last
frame's landmarks say that the person is, and when it finds nobody there the detector is asked about the same frame.
"""

import numpy as np
from jaxtyping import UInt8

from engines.detector import Detector, open_detector
from engines.landmarker import Landmarker, open_landmarker
from engines.roi import steady
from engines.types import Landmarks, Roi


class Perception:
    """Call it with frames in their order. One object follows one person and belongs to one thread."""

    def __init__(self, detector: Detector, landmarker: Landmarker, min_score: float = 0.5) -> None:
        """Take the two networks; below `min_score` the landmarker's "there is somebody" is not believed."""
        self._detector = detector
        self._landmarker = landmarker
        self._min_score = min_score
        self._roi: Roi | None = None

    @property
    def backend(self) -> str:
        """What runs the landmark network."""
        return self._landmarker.engine.backend

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The person in this BGR picture, or None."""
        found = self._look_at(image, self._roi, tracked=True)
        if found is None:
            found = self._look_at(image, self._detector(image), tracked=False)
        return found

    def reset(self) -> None:
        """Forget the person, as after a cut in the film."""
        self._roi = None

    def _look_at(self, image: UInt8[np.ndarray, "h w 3"], roi: Roi | None, tracked: bool) -> Landmarks | None:
        """Landmarks in `roi` if somebody is there; remembers where to look next."""
        self._roi = None
        if roi is None:
            return None
        landmarks, next_roi = self._landmarker(image, roi)
        if landmarks.score < self._min_score:
            return None
        self._roi = steady(roi, next_roi) if tracked else next_roi
        return landmarks


def open_perception(backend: str = "auto") -> Perception:
    """Both networks on `backend`, imported from mediapipe's wheel when this is the first use."""
    return Perception(open_detector(backend), open_landmarker(backend))
