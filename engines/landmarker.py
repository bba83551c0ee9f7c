"""Picture and region to 33 landmarks of the person in it: BlazePose's full landmark network.

The network sees a rotated square of the picture as 256 by 256 pixels and returns

- `landmarks`: 39 times (x, y, z, visibility, presence): crop px, crop px, crop px, logit, logit;
- `score`: the probability that there is a person;
- `heatmap`: 64 by 64 cells over the crop with 39 logits each, one per landmark, that sharpen x and y;
- `world`: 39 times (x, y, z) in metres, origin between the hips, in the axes of the rotated crop;
- `map`: 4 by 4 cells with 288 features each, from which its last stage makes landmarks and world.

Landmarks 33 and 34 are the centre and the rim of the circle around the body: the region for the next frame. The other
extra ones are not used. Facts from mediapipe's `pose_landmark` module.
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from engines.engine import Engine, open_engine
from engines.models import landmarker_model
from engines.roi import apply_affine, crop_to_image, cut, roi_from_points, write_planes
from engines.types import NUM_LANDMARKS, Landmarks, Roi

SIDE = 256
_NUM_ALL = 39
_CENTER, _RIM = 33, 34
_REACH = 3
"""Cells on each side of a landmark that its heatmap is read in: a window of 7 by 7."""
_MIN_PEAK = 0.5
"""A heatmap that is nowhere this certain in the window leaves its landmark where it is."""


class Landmarker:
    """Call it with a picture and a region. Its buffers are made once, so one landmarker belongs to one thread."""

    def __init__(self, engine: Engine) -> None:
        """Take a network made by `engines.models.landmarker_model`."""
        self.engine = engine
        self._crop = np.zeros((SIDE, SIDE, 3), np.uint8)

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], roi: Roi) -> tuple[Landmarks, Roi]:
        """The landmarks in `roi` of a BGR picture, and the region to look at in the next one.

        They are always given: `score` says whether anybody is there.
        """
        to_image = crop_to_image(roi, SIDE)
        cut(image, to_image, self._crop)
        write_planes(self._crop, self.engine.inputs["image"])
        self.engine.run()
        return decode(self.engine.outputs, roi, to_image)


def decode(outputs: Mapping[str, np.ndarray], roi: Roi, to_image: Float[np.ndarray, "2 3"]) -> tuple[Landmarks, Roi]:
    """From the network's numbers to landmarks in the picture, and the region for the next picture."""
    raw = outputs["landmarks"].reshape(_NUM_ALL, 5).astype(np.float64)
    in_crop = refine(raw[: _RIM + 1, :2], outputs["heatmap"][0])
    in_image = apply_affine(to_image, in_crop)
    probabilities = 1.0 / (1.0 + np.exp(-raw[:NUM_LANDMARKS, 3:]))
    world = outputs["world"].reshape(_NUM_ALL, 3)[:NUM_LANDMARKS].astype(np.float64)
    landmarks = Landmarks(
        points=in_image[:NUM_LANDMARKS],
        depth=raw[:NUM_LANDMARKS, 2] * (roi.size / SIDE),
        visibility=probabilities[:, 0],
        presence=probabilities[:, 1],
        world=world @ _turn(roi.rotation).T,
        score=float(outputs["score"].item()),
        roi=roi,
        map=outputs["map"][0].copy() if "map" in outputs else None,
    )
    return landmarks, roi_from_points(in_image[_CENTER], in_image[_RIM])


def refine(points: Float[np.ndarray, "n 2"], heatmap: Float[np.ndarray, "c c m"]) -> Float[np.ndarray, "n 2"]:
    """Move each landmark to the centre of mass of its heatmap in a window around it.

    A cell's mass is the sigmoid of its logit. Only where the largest mass reaches a half; elsewhere the landmark stays.

    Args:
        points: Crop px, from 0 to `SIDE`.
        heatmap: Logits, rows first; the last axis is the points', and it may be longer than `points`.
    """
    cells = heatmap.shape[0]
    scale = cells / SIDE
    index = np.arange(len(points))
    middle = np.trunc(points * scale).astype(np.int64)  # (n, 2) x, y
    steps = np.arange(-_REACH, _REACH + 1)
    columns, rows = middle[:, :1] + steps, middle[:, 1:] + steps  # (n, 7)
    inside = ((rows >= 0) & (rows < cells))[:, :, None] & ((columns >= 0) & (columns < cells))[:, None, :]
    nearest_rows, nearest_columns = rows.clip(0, cells - 1), columns.clip(0, cells - 1)
    logits = heatmap[nearest_rows[:, :, None], nearest_columns[:, None, :], index[:, None, None]].astype(np.float64)
    mass = np.where(inside, 1.0 / (1.0 + np.exp(-logits)), 0.0)  # (n, 7, 7)
    moved = ((middle >= 0) & (middle < cells)).all(1) & (mass.max((1, 2)) >= _MIN_PEAK)
    total = np.maximum(mass.sum((1, 2)), 1e-12)
    # Cell c stands for crop coordinate c / scale, not for its middle: the network was trained to be read this way.
    x = (mass.sum(1) * columns).sum(1) / total / scale
    y = (mass.sum(2) * rows).sum(1) / total / scale
    return np.where(moved[:, None], np.stack([x, y], -1), points)


def _turn(rotation: float) -> Float[np.ndarray, "3 3"]:
    """From the axes of a crop to those of the picture it was cut from."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def open_landmarker(backend: str = "auto") -> Landmarker:
    """A landmarker whose network runs on `backend`."""
    return Landmarker(open_engine(landmarker_model(), backend))
