"""Picture to the square around the most certain person in it: BlazePose's detector.

The network is an SSD. It sees the whole picture, shrunk and padded to 224 by 224 pixels, and
returns for each of 2254 anchors a score (a logit) and twelve numbers in pixels of that crop,
relative to the anchor's centre: the face's box as (x, y, width, height) and four points as (x, y).
Points 0 and 1, the middle of the hips and a point on the circle around the body, define the region
that the landmarker looks at. Facts from mediapipe's `pose_detection_cpu.pbtxt`.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.backends.engine import Engine, open_engine
from engines.blazepose.models import MIN_SCORE, detector_model
from engines.blazepose.roi import apply_affine, crop_to_image, cut, roi_from_points, write_planes
from engines.types import Roi

SIDE = 224
_STRIDES_AND_ANCHORS = ((8, 2), (16, 2), (32, 6))
_SAME_PERSON_IOU = 0.3


def anchor_centers() -> Float[np.ndarray, "2254 2"]:
    """Centres of the anchors, crop px: the cells of three grids, row by row, each repeated for its
    several anchors.
    """
    grids = []
    for stride, anchors in _STRIDES_AND_ANCHORS:
        ticks = (np.arange(SIDE // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(ticks, ticks, indexing="ij")
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), anchors, axis=0))
    return np.concatenate(grids)


class Detector:
    """Call it with a picture. Its buffers are made once, so one detector belongs to one thread."""

    def __init__(self, engine: Engine, min_score: float = MIN_SCORE) -> None:
        """Take a network made by `engines.blazepose.models.detector_model`; nobody is seen below
        `min_score`.
        """
        self.engine = engine
        self.min_score = min_score
        self._anchors = anchor_centers()
        self._crop = np.zeros((SIDE, SIDE, 3), np.uint8)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Roi | None:
        """The region around the most certain person in a BGR picture, or None when nobody is
        there.
        """
        height, width = image.shape[:2]
        whole = Roi(np.array([width / 2, height / 2]), float(max(height, width)), 0.0)
        to_image = crop_to_image(whole, SIDE)
        cut(image, to_image, self._crop, border=cv2.BORDER_CONSTANT)
        write_planes(self._crop, self.engine.inputs["image"], -1.0, 1.0)
        self.engine.run()
        points = self._best_points(
            self.engine.outputs["boxes"][0], self.engine.outputs["scores"][0, :, 0]
        )
        if points is None:
            return None
        center, rim = apply_affine(to_image, points[:2])
        return roi_from_points(center, rim)

    def _best_points(
        self, raw: Float[np.ndarray, "n 12"], logits: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "4 2"] | None:
        """The best person's four points, crop px: the mean over all detections of that person,
        weighted by score.
        """
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -100.0, 100.0)))
        found = np.flatnonzero(scores >= self.min_score)
        if len(found) == 0:
            return None
        found = found[np.argsort(-scores[found])]
        anchors, raw = self._anchors[found], raw[found]
        same = _iou_with_first(raw[:, :2] + anchors, raw[:, 2:4]) > _SAME_PERSON_IOU
        points = raw[:, 4:].reshape(-1, 4, 2) + anchors[:, None]
        return np.average(points[same], axis=0, weights=scores[found][same])


def _iou_with_first(
    centers: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n"]:
    """Intersection over union of every box with box 0."""
    low, high = centers - sizes / 2, centers + sizes / 2
    overlap = np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0.0, None).prod(-1)
    areas = sizes.prod(-1)
    return overlap / np.maximum(areas + areas[0] - overlap, 1e-12)


def open_detector(backend: str = "auto") -> Detector:
    """A detector whose network runs on `backend`."""
    return Detector(open_engine(detector_model(), backend))
