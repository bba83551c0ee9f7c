"""Training samples: stored records as the network's input and its labels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from engines.arrays import read_npz
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import (
    FeatureName,
    VirtualCamera,
    landmark_features,
    landmark_features_2d,
)
from engines.rotations import exp_so3, log_so3
from engines.types import Landmarks
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import camera_from_pelvis, project


class Batch(NamedTuple):
    """N samples: what the network is given of each image, and its labels."""

    features: Float[Tensor, "N F"]
    """The network's input; `engines.flow.features` has its layout."""
    R_anchor: Float[Tensor, "N 3 3"]
    """Body axes in the view, as the torso's landmarks suggest them; the identity for features
    `landmarks_2d`.
    """
    half_size: Float[Tensor, "N"]
    """Half the person's size on the plane z = 1 of the view."""
    crop_from_view: Float[Tensor, "N 3 3"]
    """Homography from points of the view to px of the landmark network's 256 px crop."""
    rotvec: Float[Tensor, "N 24 3"]
    """True rotations, row 0 relative to the anchor."""
    betas: Float[Tensor, "N 10"]
    """True shape."""
    camera: Float[Tensor, "N 3"]
    """Position of the true pelvis as `trainer.model.bodies` encodes it."""
    joints: Float[Tensor, "N 24 3"]
    """True joints in the view, metres."""
    target: Float[Tensor, "N 24 2"]
    """True joints on the plane z = 1 in units of `half_size`."""
    visible: Float[Tensor, "N 24"]
    """1 where a joint is visible."""

    def bodies(self) -> BodySamples:
        """Return the true bodies, one per image."""
        return BodySamples(self.rotvec[:, None], self.betas[:, None], self.camera[:, None])

    def rows(self, index: Tensor) -> "Batch":
        """Select samples by number."""
        return Batch(*(field[index] for field in self))

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same samples on a device."""
        return Batch(*(field.to(device) for field in self))

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.half_size)


def landmark_record(
    found: Landmarks,
    focal: float,
    size: tuple[int, int],
    window: Real[np.ndarray, "4"],
    crop_from_image: Float[np.ndarray, "2 3"],
) -> dict[str, np.ndarray]:
    """Return the fields of a stored record that are not labels.

    Args:
        found: landmarks of the person.
        focal: px; the principal point is the middle of the image.
        size: (width, height) px of the image.
        window: left, top, right, bottom of the part of it that has content, px.
        crop_from_image: affine map to px of the landmark network's crop.
    """
    return {
        "points": found.points.astype(np.float32),
        "depth": found.depth.astype(np.float32),
        "visibility": found.visibility.astype(np.float32),
        "presence": found.presence.astype(np.float32),
        "peak": found.peak.astype(np.float32),
        "world": found.world.astype(np.float32),
        "score": np.array(found.score, np.float32),
        "focal": np.array(focal, np.float32),
        "size": np.array(size, np.int32),
        "window": np.asarray(window, np.float32),
        "crop_from_image": crop_from_image.astype(np.float32),
    }


def read(
    folder: Path,
    body: BodyModel,
    shards: int | None = None,
    writer: str = "synthesize",
) -> RawRecords:
    """Read a split's shards as they are stored.

    Args:
        folder: of `.npz` files.
        body: that must be the one they were made with; shards without a name, as of unlabelled
            video, fit every body.
        shards: read only the first so many.
        writer: the module of the trainer that writes such shards, for the error message.

    Raises:
        PenumbraError: if there is no shard, one is damaged or shows another body.
    """
    files = sorted(folder.glob("*.npz"))[:shards]
    if not files:
        raise PenumbraError(
            f"{folder}: holds no training samples; run python -m trainer.{writer} first."
        )
    records = [_shard(file) for file in files]
    for file, record in zip(files, records, strict=True):
        record.pop("lost", None)
        if (name := str(record.pop("body", body.name))) != body.name:
            raise PenumbraError(
                f"{file}: was made with the body {name}, not with {body.name}; give the right body."
            )
    return {key: np.concatenate([record[key] for record in records]) for key in records[0]}


def _shard(file: Path) -> RawRecords:
    """Read one file; heatmap peaks, which older ones lack, are then unknown."""
    try:
        records = read_npz(file, exclude=("map",))  # of earlier versions; nothing reads it
        if missing := {"points", "visibility"} - records.keys():
            raise ValueError(f"it has no {max(missing)}")
        return {"peak": np.full_like(records["visibility"], np.nan)} | records
    except ValueError as error:
        raise PenumbraError(
            f"{file}: is no shard of samples ({error}); delete it and make it again."
        ) from error


def encode(
    records: RawRecords,
    body: BodyModel,
    joints_cam: Float[np.ndarray, "N 24 3"] | None = None,
    features: FeatureName = "landmarks_3d",
) -> Batch:
    """Encode landmarks as features, and express the labels in the view that these define.

    Args:
        records: as stored.
        body: that their poses and shapes belong to.
        joints_cam: true joints, camera frame, metres, where they are known better than from pose
            and shape; NaN elsewhere.
        features: encoding of the landmarks.
    """
    vector, view = _features(records, features)
    R_view = np.swapaxes(view.R_cam_view, -1, -2)
    rotvec = records["rotvec"].astype(np.float64)
    rotvec[:, 0] = log_so3(np.swapaxes(view.R_view_anchor, -1, -2) @ R_view @ exp_so3(rotvec[:, 0]))
    posed = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    known = posed if joints_cam is None else np.where(np.isfinite(joints_cam), joints_cam, posed)
    joints = _tensor(known @ view.R_cam_view)
    half_size = _tensor(view.half_size)
    return Batch(
        features=torch.from_numpy(vector),
        R_anchor=_tensor(view.R_view_anchor),
        half_size=half_size,
        crop_from_view=_tensor(_homography(records) @ view.R_cam_view),
        rotvec=_tensor(rotvec),
        betas=_tensor(records["betas"]),
        camera=camera_from_pelvis(joints[:, 0], half_size),
        joints=joints,
        target=project(joints[:, None], half_size)[:, 0],
        visible=_tensor(records["joint_visible"]),
    )


def _features(
    records: RawRecords, features: FeatureName
) -> tuple[Float[np.ndarray, "N F"], VirtualCamera]:
    """Encode landmarks as the network's input."""
    size = records["size"][:, None, :].astype(np.float64)
    focal = records["focal"].astype(np.float64)
    rays = (records["points"] - size / 2) / focal[:, None, None]
    low, high = records["window"][:, None, :2], records["window"][:, None, 2:]
    inside = ((records["points"] >= low) & (records["points"] < high)).all(-1)
    confidence = records["visibility"], records["presence"]
    if features == "landmarks_2d":
        return landmark_features_2d(rays, inside, *confidence, records["peak"])
    depth = records["depth"] / focal[:, None]
    world = records["world"].astype(np.float64)
    return landmark_features(rays, depth, inside, *confidence, world)


def _homography(records: RawRecords) -> Float[np.ndarray, "N 3 3"]:
    """Return the maps from points of the camera frame to px of the crop."""
    K = np.zeros((len(records["focal"]), 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = records["focal"]
    K[:, :2, 2] = records["size"] / 2
    K[:, 2, 2] = 1.0
    last = np.broadcast_to([0.0, 0.0, 1.0], (len(K), 1, 3))
    return np.concatenate([records["crop_from_image"], last], 1) @ K


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
