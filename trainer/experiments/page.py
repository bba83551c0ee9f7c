"""Bodies on a page, a row for each source, to look at what numbers do not say."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.body import BodyModel
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS
from trainer.render.rasterizer import fill_triangles, visible_faces

CELL = (150, 210)
"""Width and height of a body's place, px."""
_LABEL = 28
_SCALE = 2
"""Bodies are drawn larger and shrunk, which smooths their edges."""
_HEIGHT_M = 2.15
_DISTANCE_M = 8.0
_BACKGROUND, _TEXT = (250, 248, 246), (60, 56, 52)
_SKIN = np.array([196.0, 168.0, 140.0])
_LAMP = np.array([0.35, 0.55, 0.76])


def page(
    body: BodyModel, rows: Mapping[str, Float[np.ndarray, "n 24 3 3"]]
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw bodies seen a little from the side, all upright, each row below its name."""
    drawn = []
    for name, R in rows.items():
        cells = np.hstack([_cell(body, one) for one in R])
        label = np.full((_LABEL, cells.shape[1], 3), _BACKGROUND, np.uint8)
        where = (8, _LABEL - 9)
        cv2.putText(label, name, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _TEXT, 1, cv2.LINE_AA)
        drawn += [label, cells]
    return np.vstack(drawn)


def _cell(body: BodyModel, R: Float[np.ndarray, "24 3 3"]) -> UInt8[np.ndarray, "h w 3"]:
    width, height = (_SCALE * side for side in CELL)
    turns = R.astype(np.float64).copy()
    turns[0] = exp_so3(np.array([0.0, 0.45, 0.0]))
    shaped = body.shaped(np.zeros(NUM_BETAS))
    vertices = shaped.posed(log_so3(turns), np.zeros(3)).vertices("decimated")
    low, high = vertices[:, 1].min(), vertices[:, 1].max()
    middle = np.array([vertices[:, 0].mean(), 0.5 * (low + high)])
    scale = height / _HEIGHT_M
    pixels = (vertices[:, :2] - middle) * [scale, -scale] + [width / 2, height / 2]
    depth = _DISTANCE_M - vertices[:, 2]
    faces = body.decimated.faces
    order = visible_faces(pixels, depth, faces, (width, height))
    corners = vertices[faces[order]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    light = 0.45 + 0.6 * np.clip(normal @ (_LAMP / np.linalg.norm(_LAMP)), 0.0, None)
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    fill_triangles(canvas, pixels[faces[order]], np.clip(_SKIN * light[:, None], 0, 255))
    return cv2.resize(canvas, CELL, interpolation=cv2.INTER_AREA)
