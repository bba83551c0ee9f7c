"""The same people as exact projected landmarks with a visibility mask, instead of what the landmark network saw.

What is left is the question that the methods differ in: which bodies fit some points of the plane. No network's errors blur
it, and none of its guesses at depth and at what is hidden answer it.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from engines.body import BodyModel
from trainer.augment import JOINT_OF_LANDMARK, Raw, joints_in_camera

Shown = Literal["rendered", "exact"]
"""Landmarks as the landmark network saw the picture, or exact."""


LEAST_SIDE = 0.05
"""Of the box about what is seen, as a share of the picture's longer side: a lonely landmark has none."""


def shown_as(raw: Raw, body: BodyModel, shown: Shown) -> Raw:
    """The pairs in one of the two forms."""
    return exact(raw, body) if shown == "exact" else raw


def exact(raw: Raw, body: BodyModel) -> Raw:
    """The same people as exact projected landmarks: no depth, no world coordinates, and hidden ones only masked out.

    A masked landmark lies where somebody upright would have it who fills the box about the landmarks that are seen. That
    says nothing new, and keeps the person's size defined when next to nothing is seen.
    """
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)[:, JOINT_OF_LANDMARK]
    seen = raw["joint_visible"][:, JOINT_OF_LANDMARK].astype(bool)
    points = joints[..., :2] / np.maximum(joints[..., 2:], 0.1) * raw["focal"][:, None, None]
    points = points + raw["size"][:, None] / 2
    points = np.where(seen[..., None], points, _upright(points, seen, raw["size"].astype(np.float64), body))
    flat, probability = np.zeros(seen.shape, np.float32), seen.astype(np.float32)
    changed = {"points": points.astype(np.float32), "depth": flat, "world": np.zeros((*seen.shape, 3), np.float32)}
    kept = {key: value for key, value in raw.items() if key != "map"}
    return kept | changed | {"visibility": probability, "presence": probability}


def _upright(
    points: Float[np.ndarray, "N 33 2"],
    seen: Bool[np.ndarray, "N 33"],
    size: Float[np.ndarray, "N 2"],
    body: BodyModel,
) -> Float[np.ndarray, "N 33 2"]:
    """Landmarks of the mean body in the T-pose, as large as what is seen of each person and in the middle of it, px."""
    least = LEAST_SIDE * size.max(1)
    low = np.where(seen[..., None], points, np.inf).min(1)
    high = np.where(seen[..., None], points, -np.inf).max(1)
    nobody = ~seen.any(1)[:, None]
    middle = np.where(nobody, size / 2, (np.where(nobody, 0, low) + np.where(nobody, 0, high)) / 2)
    side = np.maximum(np.where(nobody, 0, high - low).max(1, where=~nobody, initial=0), least)
    rest = body.J_template[list(JOINT_OF_LANDMARK), :2]
    rest = (rest - (rest.min(0) + rest.max(0)) / 2) / np.ptp(rest, axis=0).max() * [1, -1]
    return middle[:, None] + side[:, None, None] * rest
