"""Image and region of interest to 33 landmarks: BlazePose's full or heavy landmark network.

The input is the rotated square, sampled at 256 by 256 px; the outputs are

- `landmarks`: 39 times (x, y, z, visibility, presence): crop px, crop px, crop px, logit, logit;
- `score`: the probability that there is a person;
- `heatmap`: 64 by 64 cells over the crop, 39 logits each, from which x and y are refined;
- `world`: 39 times (x, y, z) in metres, origin between the hips, in the axes of the rotated crop.

Landmarks 33 and 34 are the centre and the rim of the circle around the body, which give the region
for the next frame; 35 to 38 are not used. Facts from mediapipe's `pose_landmark` module.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from engines.backends.engine import AsyncEngine, Engine, open_engine, open_several
from engines.backends.several import run_each
from engines.blazepose.models import landmarker_model
from engines.blazepose.roi import apply_affine, crop_to_image, cut, roi_from_points
from engines.types import NUM_LANDMARKS, LandmarkNetwork, Landmarks, Roi

SIDE = 256
_NUM_ALL = 39
_CENTER, _RIM = 33, 34
_REACH = 3
"""Half of the window of 7 by 7 cells in which a landmark's heatmap is read."""
_MIN_PEAK = 0.5
"""Largest probability in the window below which a landmark is not refined."""


class Landmarker:
    """Finds the landmarks in a region. Its buffers are allocated once, for one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        network: LandmarkNetwork = "full",
        several: Sequence[AsyncEngine] = (),
    ) -> None:
        """Take a network made by `engines.blazepose.models.landmarker_model`.

        Args:
            engine: that runs it.
            network: which one it is; the landmarks say so.
            several: engines of the same network for several regions.
        """
        self.engine = engine
        self._several = several
        self.network: LandmarkNetwork = network

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], roi: Roi) -> tuple[Landmarks, Roi]:
        """Return the landmarks in `roi` of a BGR image, and the region for the next frame.

        Both are given in any case; `score` is the probability that the region holds a person.
        """
        return self.each(image, [roi])[0]

    def each(
        self, image: UInt8[np.ndarray, "h w 3"], rois: Sequence[Roi]
    ) -> list[tuple[Landmarks, Roi]]:
        """Return the same for each of several regions of one image."""
        to_image = [crop_to_image(roi, SIDE) for roi in rois]
        outputs = run_each(self.engine, self._several, to_image, partial(_write, image))
        return [
            decode(one, roi, matrix, self.network)
            for one, roi, matrix in zip(outputs, rois, to_image, strict=True)
        ]


def _write(
    image: UInt8[np.ndarray, "h w 3"],
    inputs: Mapping[str, np.ndarray],
    to_image: Float[np.ndarray, "2 3"],
) -> None:
    """Write a crop into the network's input."""
    cut(image, to_image, inputs["image"][0])


def decode(
    outputs: Mapping[str, np.ndarray],
    roi: Roi,
    to_image: Float[np.ndarray, "2 3"],
    network: LandmarkNetwork = "full",
) -> tuple[Landmarks, Roi]:
    """Decode the network's outputs as landmarks in the image and the region for the next frame."""
    marks = outputs["landmarks"].reshape(_NUM_ALL, 5).astype(np.float64)
    refined = refine(marks[: _RIM + 1, :2], outputs["heatmap"][0])
    in_image = apply_affine(to_image, refined.points)
    probabilities = 1.0 / (1.0 + np.exp(-marks[:NUM_LANDMARKS, 3:]))
    world = outputs["world"].reshape(_NUM_ALL, 3)[:NUM_LANDMARKS].astype(np.float64)
    landmarks = Landmarks(
        points=in_image[:NUM_LANDMARKS],
        depth=marks[:NUM_LANDMARKS, 2] * (roi.size / SIDE),
        visibility=probabilities[:, 0],
        presence=probabilities[:, 1],
        world=world @ _image_from_crop(roi.rotation).T,
        score=float(outputs["score"].item()),
        roi=roi,
        network=network,
        peak=refined.peak[:NUM_LANDMARKS],
    )
    return landmarks, roi_from_points(in_image[_CENTER], in_image[_RIM])


class Refined(NamedTuple):
    """Landmarks after their heatmaps were read."""

    points: Float[np.ndarray, "n 2"]
    """Crop px."""
    peak: Float[np.ndarray, "n"]
    """Largest probability in the window about each; 0 where the window lies outside the crop."""


def refine(points: Float[np.ndarray, "n 2"], heatmap: Float[np.ndarray, "c c m"]) -> Refined:
    """Move each landmark to the centre of mass of its heatmap in a window around it.

    A cell's mass is the sigmoid of its logit. A landmark whose largest mass is below `_MIN_PEAK`
    stays.

    Args:
        points: crop px, from 0 to `SIDE`.
        heatmap: logits, rows first; its last axis is that of the points and may be longer.
    """
    cells = heatmap.shape[0]
    scale = cells / SIDE
    index = np.arange(len(points))
    middle = np.trunc(points * scale).astype(np.int64)  # (n, 2) x, y
    steps = np.arange(-_REACH, _REACH + 1)
    columns, rows = middle[:, :1] + steps, middle[:, 1:] + steps  # (n, 7)
    nearest_rows, nearest_columns = rows.clip(0, cells - 1), columns.clip(0, cells - 1)
    logits = heatmap[nearest_rows[:, :, None], nearest_columns[:, None, :], index[:, None, None]]
    mass = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))  # (n, 7, 7)
    mass *= (nearest_rows == rows)[:, :, None] & (nearest_columns == columns)[:, None, :]
    peak = mass.max((1, 2))
    moved = ((middle >= 0) & (middle < cells)).all(1) & (peak >= _MIN_PEAK)
    by_column, by_row = mass.sum(1), mass.sum(2)
    total = np.maximum(by_row.sum(1), 1e-12) * scale
    # Cell c is crop coordinate c / scale, not the cell's middle: the network was trained so.
    x = (by_column * columns).sum(1) / total
    y = (by_row * rows).sum(1) / total
    return Refined(np.where(moved[:, None], np.column_stack([x, y]), points), peak)


def _image_from_crop(rotation: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation from the axes of a crop to those of its image."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def open_landmarker(
    backend: str = "auto", network: LandmarkNetwork = "full", max_people: int = 1
) -> Landmarker:
    """Open a landmarker whose network runs on `backend`.

    Args:
        backend: as for `engines.backends.engine.open_engine`.
        network: that finds the landmarks.
        max_people: regions of one image that are searched at a time, where the backend can.
    """
    model = landmarker_model(network)
    engine = open_engine(model, backend)
    return Landmarker(engine, network, open_several(model, backend, count=max_people))
