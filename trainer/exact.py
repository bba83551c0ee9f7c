"""The same people as exact projected landmarks with a visibility mask, instead of what the landmark network saw.

What is left is the question that the methods differ in: which bodies fit some points of the plane. No network's errors blur
it, and none of its guesses at depth and at what is hidden answer it.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.landmarker import SIDE
from trainer.augment import JOINT_OF_LANDMARK, Raw, joints_in_camera

Shown = Literal["rendered", "exact"]
"""Landmarks as the landmark network saw the picture, or exact."""


CROP_M = 2.5
"""About what a crop is wide on a person who stands: the detector's circle, reaching from hips to head, and a margin."""


def shown_as(raw: Raw, body: BodyModel, shown: Shown) -> Raw:
    """The pairs in one of the two forms."""
    return exact(raw, body) if shown == "exact" else raw


def exact(raw: Raw, body: BodyModel) -> Raw:
    """The same people as exact projected landmarks: no depth, no world coordinates, and hidden ones only masked out.

    A masked landmark lies where somebody who stands upright in the middle of the crop would have it. That says nothing
    but how large a crop was looked at, and keeps the person's size defined when next to nothing is seen.
    """
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)[:, JOINT_OF_LANDMARK]
    seen = raw["joint_visible"][:, JOINT_OF_LANDMARK].astype(bool)
    points = joints[..., :2] / np.maximum(joints[..., 2:], 0.1) * raw["focal"][:, None, None]
    points = points + raw["size"][:, None] / 2
    points = np.where(seen[..., None], points, _upright(raw["crop_from_image"].astype(np.float64), body))
    flat, probability = np.zeros(seen.shape, np.float32), seen.astype(np.float32)
    changed = {"points": points.astype(np.float32), "depth": flat, "world": np.zeros((*seen.shape, 3), np.float32)}
    kept = {key: value for key, value in raw.items() if key != "map"}
    return kept | changed | {"visibility": probability, "presence": probability}


def _upright(crop_from_image: Float[np.ndarray, "N 2 3"], body: BodyModel) -> Float[np.ndarray, "N 33 2"]:
    """Landmarks of the mean body in the T-pose, pelvis in the middle of each crop, in px of the image."""
    rest = body.J_template[list(JOINT_OF_LANDMARK), :2] - body.J_template[0, :2]
    in_crop = SIDE * (0.5 + rest * [1, -1] / CROP_M)
    A, b = crop_from_image[..., :2], crop_from_image[..., 2]
    return (in_crop - b[:, None]) @ np.linalg.inv(A).swapaxes(-1, -2)
