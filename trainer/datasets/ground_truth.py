"""What a dataset knows of each person, as samples need it: body, camera, place and visibility.

Cameras. Where the dataset gives K, the image's coordinates are moved so that its principal point
falls on the image's middle and its pixels are square, which is what a sample assumes; so nothing is
lost. K and 2D labels are taken to count pixels from the image's corner; where a dataset counts from
the centre of the first pixel, both are half a pixel off. Elsewhere the principal point is taken to
be the middle and the field of view `engines.camera.DEFAULT_FOV_DEG`, which changes distances and
hardly poses.

Bodies. A dataset's pose and shape are official SMPL's, often that of the person's gender. With the
user's converted SMPL model, joints for scoring are the dataset's own where it has all of SMPL's,
else the labels on that model. Without it the default body takes the pose in its own mean shape,
because betas of one body mean nothing to another; its joints lie some centimetres from SMPL's.

Places. The pelvis is put where the dataset has its joints. Where it gives none from the camera, the
pelvis is fitted to its 2D keypoints, and without these to the box, which is good for
Procrustes-aligned scores and not for positions.

Visibility. A joint is visible where a keypoint of it is more confident than `CONFIDENT` and inside
the image. Where a dataset has no keypoints of a person, or true ones (confidence 1), that comes to
"inside the image", occluded or not.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from engines.blazepose.landmarker import SIDE
from engines.blazepose.roi import apply_affine, image_to_crop
from engines.body import BodyModel, joints_only
from engines.camera import Intrinsics, from_fov
from engines.types import JOINT_NAMES, LIMB_JOINTS, NUM_BETAS, Landmarks, Roi
from trainer.data.samples import landmark_record
from trainer.datasets.people import People
from trainer.render.scenes import CROPS, WHOLE

CONFIDENT = 0.6
"""Confidence of a keypoint that counts as visible, as in HuManiFlow's evaluation on 3DPW (Sengupta
et al., 2023)."""
PelvisSource = Literal["given", "keypoints", "box"]
_BODY_IN_BOX = 1.2
"""Side of a dataset's box in terms of the extent of the joints in it."""
_NEAREST_M = 0.2
"""Nothing that a fit puts in front of the camera is nearer than this."""
_MIN_KEYPOINTS = 4
"""A pelvis is fitted to at least so many visible limb keypoints."""

_TRUNK = ("left_shoulder", "right_shoulder")
_HIPS = ("pelvis", "mid_hip", "left_hip", "right_hip")
_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top", "h36m_head")
_KEYPOINTS_OF = {
    "pelvis": _HIPS,
    "spine1": _HIPS,
    "spine2": _TRUNK,
    "spine3": _TRUNK,
    "neck": ("openpose_neck", "lsp_neck", *_TRUNK),
    "head": _HEAD,
} | {
    f"{side}_{joint}": tuple(f"{side}_{point}" for point in points)
    for side in ("left", "right")
    for joint, points in {
        "collar": ("shoulder",),
        "hand": ("wrist",),
        "foot": ("big_toe", "ankle"),
    }.items()
}
"""Keypoints that show the joints which have none of their own; the limb joints, which are scored,
all have."""


@dataclass(frozen=True)
class GroundTruth:
    """What is known of N people; rows without SMPL labels are never asked for."""

    people: People
    joints: Float[np.ndarray, "N 24 3"]
    """Joints of the labels on the body: camera axes, metres, the pelvis at the origin."""
    own_joints: Float[np.ndarray, "N 24 3"]
    """The same as the dataset has them; NaN for people of whom one is missing, and for all on the
    default body."""
    betas: Float[np.ndarray, "N 10"]
    pelvis: Float[np.ndarray, "N 3"]
    """Camera frame, metres; NaN where the dataset does not give it."""
    keypoints: Float[np.ndarray, "N 24 3"]
    """In SMPL's order: px and confidence."""

    @classmethod
    def of(cls, people: People, body: BodyModel | None) -> "GroundTruth":
        """Put the labels on a body; on the default one in its mean shape when None."""
        betas = people.betas if body is not None else np.zeros((people.count, NUM_BETAS))
        given = people.joints_as_smpl()
        complete = np.isfinite(given).all((1, 2), keepdims=True) & (body is not None)
        known = people.has_smpl
        posed = joints_only(
            body or BodyModel.load(), people.rotvec[known], betas[known], np.zeros(3)
        )
        joints = np.full(given.shape, np.nan)
        joints[known] = posed - posed[:, :1]
        own_joints = np.where(complete, given - given[:, :1], np.nan)
        pelvis = given[:, 0] if people.placed else np.full((people.count, 3), np.nan)
        return cls(people, joints, own_joints, betas, pelvis, people.keypoints_as_smpl())

    def record(
        self, row: int, landmarks: Landmarks, size: tuple[int, int]
    ) -> tuple[dict[str, np.ndarray], PelvisSource]:
        """Make one sample's record in the form of `trainer.data.rendered`.

        Args:
            row: of the people.
            landmarks: of that person.
            size: (width, height) of the image, px.
        """
        camera = _camera(self.people, row, size)
        pelvis, source = self._place(row, camera)
        focal, move = centre_camera(camera)
        window = apply_affine(move, np.array([[0.0, 0.0], size])).ravel()
        moved = replace(
            landmarks,
            points=apply_affine(move, landmarks.points),
            depth=landmarks.depth * (focal / camera.fx),
        )
        record = landmark_record(moved, focal, size, window, _moved_crop(landmarks.roi, move))
        record |= {
            "crop": np.array(list(CROPS).index(WHOLE), np.int8),
            "rotvec": self.people.rotvec[row].astype(np.float32),
            "betas": self.betas[row].astype(np.float32),
            "pelvis": pelvis.astype(np.float32),
            "joint_visible": self._visible(row, camera, pelvis),
        }
        return record, source

    def _place(self, row: int, camera: Intrinsics) -> tuple[Float[np.ndarray, "3"], PelvisSource]:
        """Find the pelvis in the camera frame, metres, and say where it comes from."""
        if np.isfinite(self.pelvis[row]).all():
            return self.pelvis[row], "given"
        limbs = list(LIMB_JOINTS)
        points = self.keypoints[row, limbs]
        visible = points[:, 2] > CONFIDENT
        if visible.sum() >= _MIN_KEYPOINTS:
            joints = self.joints[row, limbs][visible]
            pelvis = fit_translation(joints, points[visible, :2], camera)
            if self.joints[row, :, 2].min() + pelvis[2] > _NEAREST_M:
                return pelvis, "keypoints"
        center = self.people.center[row]
        return fit_box(self.joints[row], center, float(self.people.side[row]), camera), "box"

    def _visible(
        self, row: int, camera: Intrinsics, pelvis: Float[np.ndarray, "3"]
    ) -> Bool[np.ndarray, "24"]:
        people = self.people
        size = np.array(camera.size)
        if people.keypoints_2d is None or not (people.keypoints_2d[row, :, 2] > 0).any():
            placed = self.joints[row] + pelvis
            px = camera.project(placed)
            return ((px >= 0) & (px < size)).all(1) & (placed[:, 2] > 0)
        points = people.keypoints_2d[row]
        inside = ((points[:, :2] >= 0) & (points[:, :2] < size)).all(1)
        visible = (points[:, 2] > CONFIDENT) & inside
        names = {name for name, shown in zip(people.keypoint_names, visible, strict=True) if shown}
        return np.array(
            [not names.isdisjoint(_KEYPOINTS_OF.get(name, (name,))) for name in JOINT_NAMES]
        )


def centre_camera(camera: Intrinsics) -> tuple[float, Float[np.ndarray, "2 3"]]:
    """Move a camera's principal point to the image's middle, and make its pixels square.

    Returns:
        The focal length (px) of the new camera, and the affine map that takes image px of `camera`
        to px of that one: a point keeps its ray.
    """
    focal = float(np.sqrt(camera.fx * camera.fy))
    scale = np.array([focal / camera.fx, focal / camera.fy])
    shift = np.array(camera.size) / 2 - scale * (camera.cx, camera.cy)
    return focal, np.column_stack([np.diag(scale), shift])


def fit_translation(
    joints: Float[np.ndarray, "J 3"], points: Float[np.ndarray, "J 2"], camera: Intrinsics
) -> Float[np.ndarray, "3"]:
    """Find the translation (m) that brings joints (m, camera axes) under their image points (px).

    Linear least squares: each point with ray (u, v) asks for x + t_x = u (z + t_z) and y + t_y =
    v (z + t_z).
    """
    rays = camera.rays(points)
    A = np.zeros((len(joints), 2, 3))
    A[:, 0, 0] = A[:, 1, 1] = 1.0
    A[:, :, 2] = -rays
    b = rays * joints[:, 2:] - joints[:, :2]
    return np.linalg.lstsq(A.reshape(-1, 3), b.ravel(), rcond=None)[0]


def fit_box(
    joints: Float[np.ndarray, "J 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    camera: Intrinsics,
) -> Float[np.ndarray, "3"]:
    """Find the translation (m) at which joints (m, camera axes) fill a box (px) but for its margin.

    Fixed-point iteration.
    """
    focal = np.array([camera.fx, camera.fy])
    nearest = _NEAREST_M - joints[:, 2].min()
    extent = np.ptp(joints[:, :2], axis=0).max()
    t = np.array([0.0, 0.0, max(nearest, camera.fx * extent * _BODY_IN_BOX / side)])
    for _ in range(30):
        px = camera.project(joints + t)
        t[2] = max(nearest, t[2] * np.ptp(px, axis=0).max() * _BODY_IN_BOX / side)
        px = camera.project(joints + t)
        t[:2] += (center - (px.min(0) + px.max(0)) / 2) / focal * t[2]
    return t


def _camera(people: People, row: int, size: tuple[int, int]) -> Intrinsics:
    if people.K is None:
        return from_fov(size)
    K = people.K[row]
    return Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], size, source=people.source.name)


def _moved_crop(roi: Roi, move: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The map from px of the moved image to px of the landmark network's crop."""
    crop_from_image = image_to_crop(roi, SIDE)
    linear = crop_from_image[:, :2] @ np.linalg.inv(move[:, :2])
    return np.column_stack([linear, crop_from_image[:, 2] - linear @ move[:, 2]])
