"""Samples of unlabelled real video: what supervises is where the landmark network sees limb joints.

A record has the fields of `trainer.data.rendered` that need no ground truth.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.roi import image_to_crop
from engines.blazepose.tracker import PoseTracker
from engines.body import BodyModel
from engines.camera import Intrinsics, from_fov
from engines.types import JOINT_NAMES, LIMB_LANDMARKS, NUM_BETAS, NUM_JOINTS, Landmarks
from trainer.data.augment import RawRecords
from trainer.data.samples import Batch, encode, landmark_record, read
from trainer.data.video_reader import read_frames

JOINT_OF = {
    landmark: joint for landmark, joint in LIMB_LANDMARKS.items() if "hip" not in JOINT_NAMES[joint]
}
"""The joint of each landmark that supervises. Hips are left out: the network's lie centimetres from
SMPL's."""


def track_video(video: Path, tracker: PoseTracker, every: int) -> list[dict[str, np.ndarray]]:
    """Track the person through a video and keep a record of one frame in `every`.

    Raises:
        PenumbraError: the video cannot be read.
    """
    tracker.reset()
    records: list[dict[str, np.ndarray]] = []
    for number, image in enumerate(read_frames(video, "videos")):
        height, width = image.shape[:2]
        landmarks = tracker(image)
        if landmarks is not None and number % every == 0:
            records.append(_record(landmarks, from_fov((width, height))))
    return records


def load_video(folder: Path, body: BodyModel, min_visibility: float = 0.8) -> Batch:
    """Read video shards as samples whose 3D fields mean nothing.

    `target` and `visible` hold what may supervise.

    Args:
        folder: that `trainer.video_landmarks` wrote.
        body: of the method that is trained.
        min_visibility: of a landmark that supervises.

    Raises:
        PenumbraError: there is no shard.
    """
    records = read(folder, body, writer="video_landmarks")
    count = len(records["focal"])
    placeholders = {
        "rotvec": np.zeros((count, NUM_JOINTS, 3), np.float32),
        "betas": np.zeros((count, NUM_BETAS), np.float32),
        "pelvis": np.tile(np.array([0, 0, 3], np.float32), (count, 1)),
        "joint_visible": np.zeros((count, NUM_JOINTS), np.float32),
    }
    samples = encode(records | placeholders, body)
    return samples._replace(**_supervision(records, samples, min_visibility))


def _record(landmarks: Landmarks, intrinsics: Intrinsics) -> dict[str, np.ndarray]:
    window = np.array([0, 0, *intrinsics.size])
    crop_from_image = image_to_crop(landmarks.roi, CROP)
    return landmark_record(landmarks, intrinsics.fx, intrinsics.size, window, crop_from_image)


def _supervision(
    records: RawRecords, samples: Batch, min_visibility: float
) -> dict[str, torch.Tensor]:
    """Put confident landmarks inside the image into `target` and `visible`."""
    landmarks = list(JOINT_OF)
    joints = list(JOINT_OF.values())
    points = records["points"]
    inside = ((points > 0) & (points < records["size"][:, None])).all(-1)
    confident = (records["visibility"] >= min_visibility) & inside
    in_view = _to_view(points[:, landmarks], records["crop_from_image"], samples)
    target = torch.zeros_like(samples.target)
    visible = torch.zeros_like(samples.visible)
    target[:, joints] = torch.from_numpy(in_view).float()
    visible[:, joints] = torch.from_numpy(confident[:, landmarks]).float()
    return {"target": target, "visible": visible}


def _to_view(
    points: Float[np.ndarray, "N L 2"],
    crop_from_image: Float[np.ndarray, "N 2 3"],
    samples: Batch,
) -> Float[np.ndarray, "N L 2"]:
    """Map image px to the plane z = 1 of the view, in units of `half_size`."""
    one = np.ones((*points.shape[:2], 1))
    in_crop = np.einsum("nij,nkj->nki", crop_from_image, np.concatenate([points, one], -1))
    view_from_crop = np.linalg.inv(samples.crop_from_view.double().numpy())
    in_view = np.einsum("nij,nkj->nki", view_from_crop, np.concatenate([in_crop, one], -1))
    half_size = samples.half_size.double().numpy()[:, None, None]
    return in_view[..., :2] / in_view[..., 2:] / half_size
