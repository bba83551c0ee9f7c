"""Dataset pictures as the trainer's pairs: what the real landmark network says about each, beside
what the dataset knows.

    people = open_dataset("3dpw", root, "test")
    looked = look(people, open_landmarker(), BodyModel.load(path_of_converted_smpl))
    pairs = trainer.data.samples.encode(looked.raw, body, joints_cam=looked.joints_cam)

Cameras. Where the dataset gives K, the picture's coordinates are moved so that its principal point
falls on the picture's middle and its pixels are square, which is what a pair assumes; so nothing is
lost. Elsewhere the principal point is taken to be the middle and the field of view
`engines.camera.DEFAULT_FOV_DEG`, which changes distances and hardly poses.

Bodies. A dataset's pose and shape are official SMPL's, often that of the person's gender. With the
user's converted SMPL model, joints for scoring are the dataset's own where it has all of SMPL's
(`Looked.joints_cam`), else the labels on that model. Without it the default body takes the pose in
its own mean shape, because betas of one body mean nothing to another; its joints lie some
centimetres from SMPL's.

Places. The pelvis stands where the dataset has its joints. Where it gives none from the camera, the
pelvis is fitted to its 2D keypoints, and without these to the box, which is good for
Procrustes-aligned scores and not for positions.

Visibility. A joint is visible where a keypoint of it is more confident than `CONFIDENT` and inside
the picture. Where a dataset has no keypoints of a person, or true ones (confidence 1), that comes
to "inside the picture", hidden or not.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from tqdm import tqdm

from engines.blazepose.landmarker import SIDE, Landmarker
from engines.blazepose.models import MIN_SCORE
from engines.blazepose.roi import MARGIN, apply_affine, image_to_crop
from engines.body import BodyModel, joints_only
from engines.camera import Intrinsics, from_fov
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, LIMB_JOINTS, NUM_BETAS, Landmarks, Roi
from trainer.data.augment import RawRecords
from trainer.data.samples import landmark_record
from trainer.datasets.people import People
from trainer.datasets.placing import NEAREST_M, centred, fit_box, fit_translation
from trainer.render.scenes import CROPS, WHOLE

CONFIDENT = 0.6
"""Of a keypoint that counts as seen, as in HuManiFlow's evaluation on 3DPW (Sengupta et al.,
2023).
"""
_AS_GOOD = 0.05
"""A second look may be this much less certain than the first: its region is the better one."""
Placed = Literal["given", "keypoints", "box"]
"""Where a pelvis comes from."""

_TRUNK = ("left_shoulder", "right_shoulder")
_HIPS = ("pelvis", "mid_hip", "left_hip", "right_hip")
_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top", "h36m_head")
_STANDS_FOR = {
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
all have.
"""


@dataclass(frozen=True)
class Looked:
    """Batch made of M of a dataset's people."""

    raw: RawRecords
    """M rows in each array, as in a file of `trainer.synthesize`."""
    rows: Int[np.ndarray, "M"]
    """Which row of `People` each is."""
    joints_cam: Float[np.ndarray, "M 24 3"]
    """The dataset's own joints, camera frame, metres; NaN for who lacks one, and everybody on the
    default body.
    """
    gendered: int
    """How many have a shape that belongs to a gender's SMPL model, which may not be the one that is
    given.
    """
    placed: tuple[Placed, ...]
    """M times where the pelvis comes from."""
    unlabelled: int
    """How many were skipped because their pose and shape are not known."""
    unseen: int
    """How many were skipped because the landmark network saw nobody."""

    def summary(self) -> str:
        """One line for the person who reads the scores."""
        places = ", ".join(
            f"{count} {place}" for place, count in Counter(self.placed).most_common()
        )
        own = int(np.isfinite(self.joints_cam).all((1, 2)).sum())
        return (
            f"{len(self.rows)} people; {self.unlabelled} without SMPL labels and {self.unseen} in whom the landmark network "
            f"saw nobody left out; pelvis from: {places}; joints of {own} are the dataset's own; shapes of {self.gendered} "
            "belong to a male or female SMPL"
        )


def look(people: People, landmarker: Landmarker, body: BodyModel | None = None) -> Looked:
    """Show each picture of somebody whose pose and shape are known to the landmark network.

    Args:
        people: of a dataset.
        landmarker: the real one (`engines.blazepose.landmarker.open_landmarker`).
        body: the user's converted SMPL model; None for the default body in its mean shape (see
            above).

    Raises:
        PenumbraError: a picture is missing or cannot be read, or nothing is left.
    """
    truth = _Truth.of(people, body)
    chosen = np.flatnonzero(people.has_smpl)
    if not len(chosen):
        raise PenumbraError(
            f"None of the {people.count} people of {people.source} has SMPL labels; give a file that has pose and shape."
        )
    rows, records, placed = [], [], []
    for row in tqdm(chosen, unit="picture", desc=people.source.stem):
        image = _read(people.images[row])
        found = find(image, people.center[row], float(people.side[row]), landmarker)
        if found.score < MIN_SCORE:
            continue
        record, how = truth.record(int(row), found, (image.shape[1], image.shape[0]))
        rows.append(row)
        records.append(record)
        placed.append(how)
    if not records:
        raise PenumbraError(
            f"The landmark network sees nobody in the pictures of {people.source}; check its boxes."
        )
    raw = {key: np.stack([record[key] for record in records]) for key in records[0]}
    gendered = sum(people.gender[row] != "" for row in rows) if people.gender and body else 0
    joints = truth.own[rows] + raw["pelvis"][:, None]
    return Looked(
        raw,
        np.array(rows),
        joints,
        gendered,
        tuple(placed),
        people.count - len(chosen),
        len(chosen) - len(records),
    )


def find(
    image: UInt8[np.ndarray, "h w 3"],
    center: Float[np.ndarray, "2"],
    side: float,
    landmarker: Landmarker,
) -> Landmarks:
    """The person in a box (px): looked at twice, the second time in the region that the first look
    suggests.

    So the live system does from its second frame on; boxes stand upright and have another margin
    than the network's regions. The second look counts unless it is much less certain, as when it
    slipped to somebody else.
    """
    first, region = landmarker(image, Roi(np.asarray(center, np.float64), MARGIN * side, 0.0))
    if first.score < MIN_SCORE:
        return first
    second, _ = landmarker(image, region)
    return second if second.score >= first.score - _AS_GOOD else first


def _read(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    if not path.is_file():
        raise PenumbraError(f"There is no picture {path}; check --root and --images.")
    # Datasets count pixels as they are stored, whatever the file says about the camera's
    # orientation.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PenumbraError(f"The picture {path} cannot be read; is it broken?")
    return image.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class _Truth:
    """What is known of each person, N rows, once for all pictures. Rows without SMPL labels are
    never asked for.
    """

    people: People
    rotvec: Float[np.ndarray, "N 24 3"]
    betas: Float[np.ndarray, "N 10"]
    joints: Float[np.ndarray, "N 24 3"]
    """Camera axes, metres, pelvis at the origin: of the labels on the body."""
    own: Float[np.ndarray, "N 24 3"]
    """The same as the dataset has them; NaN for people of whom one is missing, and for everybody on
    the default body.
    """
    pelvis: Float[np.ndarray, "N 3"]
    """Camera frame, metres; NaN where the dataset does not give it."""
    keypoints: Float[np.ndarray, "N 24 3"]

    @classmethod
    def of(cls, people: People, body: BodyModel | None) -> "_Truth":
        betas = people.betas if body is not None else np.zeros((people.count, NUM_BETAS))
        given = people.joints_as_smpl()
        complete = np.isfinite(given).all((1, 2), keepdims=True) & (body is not None)
        joints, known = np.full(given.shape, np.nan), people.has_smpl
        labelled = joints_only(
            body or BodyModel.load(), people.rotvec[known], betas[known], np.zeros(3)
        )
        joints[known] = labelled - labelled[:, :1]
        own = np.where(complete, given - given[:, :1], np.nan)
        pelvis = given[:, 0] if people.placed else np.full((people.count, 3), np.nan)
        return cls(people, people.rotvec, betas, joints, own, pelvis, people.keypoints_as_smpl())

    def record(
        self, row: int, found: Landmarks, size: tuple[int, int]
    ) -> tuple[dict[str, np.ndarray], Placed]:
        """One pair in the form of `trainer.synthesize`."""
        camera = _camera(self.people, row, size)
        pelvis, how = self._place(row, camera)
        focal, move = centred(camera)
        corners = apply_affine(move, np.array([[0.0, 0.0], size]))
        moved = replace(
            found, points=apply_affine(move, found.points), depth=found.depth * (focal / camera.fx)
        )
        record = landmark_record(
            moved, focal, size, corners.ravel(), _crop_from(found.roi, move)
        ) | {
            "crop": np.array(list(CROPS).index(WHOLE), np.int8),
            "rotvec": self.rotvec[row].astype(np.float32),
            "betas": self.betas[row].astype(np.float32),
            "pelvis": pelvis.astype(np.float32),
            "joint_visible": self._visible(row, camera, pelvis),
        }
        return record, how

    def _place(self, row: int, camera: Intrinsics) -> tuple[Float[np.ndarray, "3"], Placed]:
        """The pelvis in the camera frame, metres, and where it comes from."""
        if np.isfinite(self.pelvis[row]).all():
            return self.pelvis[row], "given"
        points, joints = self.keypoints[row, list(LIMB_JOINTS)], self.joints[row, list(LIMB_JOINTS)]
        seen = points[:, 2] > CONFIDENT
        if seen.sum() >= 4:
            pelvis = fit_translation(joints[seen], points[seen, :2], camera)
            if self.joints[row, :, 2].min() + pelvis[2] > NEAREST_M:
                return pelvis, "keypoints"
        return fit_box(
            self.joints[row], self.people.center[row], self.people.side[row], camera
        ), "box"

    def _visible(
        self, row: int, camera: Intrinsics, pelvis: Float[np.ndarray, "3"]
    ) -> Bool[np.ndarray, "24"]:
        people, size = self.people, np.array(camera.size)
        if people.keypoints_2d is None or not (people.keypoints_2d[row, :, 2] > 0).any():
            placed = self.joints[row] + pelvis
            px = camera.project(placed)
            return ((px >= 0) & (px < size)).all(1) & (placed[:, 2] > 0)
        points = people.keypoints_2d[row]
        seen = (points[:, 2] > CONFIDENT) & ((points[:, :2] >= 0) & (points[:, :2] < size)).all(1)
        shown = {name for name, is_seen in zip(people.keypoint_names, seen, strict=True) if is_seen}
        return np.array(
            [not shown.isdisjoint(_STANDS_FOR.get(name, (name,))) for name in JOINT_NAMES]
        )


def _camera(people: People, row: int, size: tuple[int, int]) -> Intrinsics:
    if people.K is None:
        return from_fov(size)
    K = people.K[row]
    return Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], size, source=people.source.name)


def _crop_from(roi: Roi, move: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """From px of the moved picture to px of the landmark network's crop."""
    crop_from_image = image_to_crop(roi, SIDE)
    linear = crop_from_image[:, :2] @ np.linalg.inv(move[:, :2])
    return np.column_stack([linear, crop_from_image[:, 2] - linear @ move[:, 2]])
