"""Image to the regions of interest around its people: BlazePose's detector.

The network is a single-shot detector (SSD). Its input is the whole image, or a square of it, scaled
and padded to 224 by 224 px. For each of 2254 anchors it returns a score (a logit) and twelve
numbers in px of that crop, relative to the anchor's centre: the face's box as (x, y, width, height)
and four points as (x, y). Points 0 and 1, the middle of the hips and a point on the circle around
the body, define the landmarker's region of interest. Facts from mediapipe's
`pose_detection_cpu.pbtxt`.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.backends.engine import Engine, open_engine
from engines.blazepose.models import MIN_SCORE, detector_model
from engines.blazepose.roi import apply_affine, crop_to_image, cut, roi_from_points
from engines.types import Roi

SIDE = 224
_STRIDES_AND_ANCHORS = ((8, 2), (16, 2), (32, 6))
_SAME_PERSON_IOU = 0.3
"""Overlap from which on two detections count as one person."""


def anchor_centers() -> Float[np.ndarray, "2254 2"]:
    """Return the anchors' centres, crop px: three grids, row by row, each cell several times."""
    grids = []
    for stride, anchors in _STRIDES_AND_ANCHORS:
        ticks = (np.arange(SIDE // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(ticks, ticks, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), anchors, axis=0))
    return np.concatenate(grids)


class Detection(NamedTuple):
    """One person whom the detector proposes."""

    roi: Roi
    score: float
    """Probability that there is a person."""


class Detector:
    """Finds people in an image. Its buffers are allocated once, for one thread at a time."""

    def __init__(self, engine: Engine, min_score: float = MIN_SCORE) -> None:
        """Take a network and a threshold.

        Args:
            engine: that runs `engines.blazepose.models.detector_model`.
            min_score: probability below which a detection is dropped.
        """
        self.engine = engine
        self.min_score = min_score
        self._anchors = anchor_centers()

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Roi | None:
        """Return the region around the most certain person of a BGR image, or None."""
        people = self.people(image)
        return people[0].roi if people else None

    def people(self, image: UInt8[np.ndarray, "h w 3"], view: Roi | None = None) -> list[Detection]:
        """Return the people of a BGR image, the most certain first.

        Args:
            image: whole image.
            view: square of it to look at, which finds smaller people; all of it by default.
        """
        to_image = crop_to_image(whole(image) if view is None else view, SIDE)
        cut(image, to_image, self.engine.inputs["image"][0], border=cv2.BORDER_CONSTANT)
        self.engine.run()
        outputs = self.engine.outputs
        found = []
        for points, score in self._people(outputs["boxes"][0], outputs["scores"][0, :, 0]):
            center, rim = apply_affine(to_image, points[:2])
            found.append(Detection(roi_from_points(center, rim), score))
        return found

    def _people(
        self, boxes: Float[np.ndarray, "n 12"], logits: Float[np.ndarray, "n"]
    ) -> list[tuple[Float[np.ndarray, "4 2"], float]]:
        """Return each person's four points, crop px, and score, the most certain first.

        The points are the mean over all detections of that person, weighted by their scores
        (weighted non-maximum suppression).
        """
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -100.0, 100.0)))
        left = np.flatnonzero(scores >= self.min_score)
        left = left[np.argsort(-scores[left])]
        people = []
        while len(left):
            anchors, candidates, weights = self._anchors[left], boxes[left], scores[left]
            same = _iou_with_first(candidates[:, :2] + anchors, candidates[:, 2:4])
            same = same > _SAME_PERSON_IOU
            same[0] = True  # a box without an area overlaps nothing, not even itself
            points = candidates[:, 4:].reshape(-1, 4, 2) + anchors[:, None]
            points = np.average(points[same], axis=0, weights=weights[same])
            people.append((points, float(weights[0])))
            left = left[~same]
        return people


def whole(image: UInt8[np.ndarray, "h w 3"]) -> Roi:
    """Return the square about a whole image."""
    height, width = image.shape[:2]
    return Roi(np.array([width / 2, height / 2]), float(max(height, width)), 0.0)


def _iou_with_first(
    centers: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n"]:
    """Return the intersection over union of every box with box 0."""
    low, high = centers - sizes / 2, centers + sizes / 2
    overlap = np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0.0, None).prod(-1)
    areas = sizes.prod(-1)
    return overlap / np.maximum(areas + areas[0] - overlap, 1e-12)


def open_detector(backend: str = "auto") -> Detector:
    """Open a detector whose network runs on `backend`."""
    return Detector(open_engine(detector_model(), backend))
