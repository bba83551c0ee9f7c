"""The same people as exact projected landmarks with a visibility mask, instead of what the landmark
network saw.

What is left is the question that the methods differ in: which bodies fit some points of the plane.
No network's errors blur it, and none of its guesses at depth and at what is occluded answer it.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Real

from engines.body import BodyModel
from engines.types import NUM_JOINTS, PARENTS
from trainer.data.augment import JOINT_OF_LANDMARK, RawRecords, joints_in_camera

LandmarkSource = Literal["rendered", "exact"]
"""Landmarks as the landmark network gives them, or exact."""


LONE_HEIGHT = 0.3
"""Height of a person of whom no bone is visible, as a share of the image's longer side."""


def with_landmark_source(
    records: RawRecords, body: BodyModel, landmark_source: LandmarkSource
) -> RawRecords:
    """Return the records with landmarks from one of the two sources."""
    return exact(records, body) if landmark_source == "exact" else records


def exact(records: RawRecords, body: BodyModel) -> RawRecords:
    """Replace landmarks by exact projections without depth; mask occluded ones.

    A masked landmark lies where the mean body would have it that stands upright about the visible
    ones, as large as the visible bones are long. That says nothing new, and keeps the person's size
    defined when little is visible.
    """
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    px = (
        joints[..., :2] / np.maximum(joints[..., 2:], 0.1) * records["focal"][:, None, None]
        + records["size"][:, None] / 2
    )
    visible = records["joint_visible"].astype(bool)
    guess = _upright(px, visible, records["size"].max(1), body)
    visible = visible[:, JOINT_OF_LANDMARK]
    points = np.where(visible[..., None], px[:, JOINT_OF_LANDMARK], guess[:, JOINT_OF_LANDMARK])
    flat, probability = np.zeros(visible.shape, np.float32), visible.astype(np.float32)
    changed = {
        "points": points.astype(np.float32),
        "depth": flat,
        "world": np.zeros((*visible.shape, 3), np.float32),
    }
    return records | changed | {"visibility": probability, "presence": probability}


def _upright(
    px: Float[np.ndarray, "N 24 2"],
    visible: Bool[np.ndarray, "N 24"],
    side: Real[np.ndarray, "N"],
    body: BodyModel,
) -> Float[np.ndarray, "N 24 2"]:
    """Joints of the mean body in the T-pose, px: the least foreshortened visible bone gives its
    scale.

    Where no bone is visible it is `LONE_HEIGHT` of the image's longer side tall, and where
    nothing is, in the middle of an image that is as wide as it is high.
    """
    child, parent = np.arange(1, NUM_JOINTS), np.array(PARENTS[1:])
    length = np.linalg.norm(body.J_template[child] - body.J_template[parent], axis=1)
    in_px = np.linalg.norm(px[:, child] - px[:, parent], axis=-1) * (
        visible[:, child] & visible[:, parent]
    )
    least = LONE_HEIGHT * side / np.ptp(body.J_template[:, 1])
    scale = np.where(in_px.any(1), (in_px / length).max(1), least)[:, None, None]
    rest = scale * (body.J_template[:, :2] * [1, -1])
    count = np.maximum(visible.sum(1), 1)[:, None]
    middle = (np.where(visible[..., None], px - rest, 0)).sum(1) / count
    unseen = ~visible.any(1)[:, None]
    return rest + np.where(unseen, side[:, None] / 2, middle)[:, None]
