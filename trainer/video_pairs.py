"""Unlabelled real video as training pairs without truth: what is known is where the landmark
network sees limb joints.

    python -m trainer.video_pairs --videos a.mp4 b.mp4 --out runs/video

With `python -m trainer.train --weak runs/video` these supervise as MHEntropy does under `2d-vis`:
visible 2D, prior, entropy. The network thus learns that real pictures, too, are to be explained,
and gets no answer to copy where nothing is seen.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engines.blazepose.landmarker import SIDE as CROP
from engines.blazepose.roi import image_to_crop
from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics, from_fov
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, LIMB_LANDMARKS, NUM_JOINTS, Landmarks
from trainer.command import start
from trainer.data.augment import RawRecords
from trainer.data.samples import Batch, encode, landmark_record, read
from trainer.data.video_reader import read_frames

JOINT_OF = {
    landmark: joint for landmark, joint in LIMB_LANDMARKS.items() if "hip" not in JOINT_NAMES[joint]
}
"""The joint of each landmark that supervises. Hips are left out: the network's lie centimetres from
SMPL's.
"""


@dataclass(frozen=True)
class VideoConfig:
    """What to watch."""

    videos: tuple[Path, ...]
    out: Path = Path("runs/video")
    every: int = 2
    """Keep one frame in so many."""


def watch(video: Path, tracker: PoseTracker, every: int) -> list[dict[str, np.ndarray]]:
    """What the landmark network says about a video's frames.

    Raises:
        PenumbraError: if the video cannot be read.
    """
    tracker.reset()
    records: list[dict[str, np.ndarray]] = []
    for number, picture in enumerate(read_frames(video, "--videos")):
        height, width = picture.shape[:2]
        landmarks = tracker(picture)
        if landmarks is not None and number % every == 0:
            records.append(_record(landmarks, from_fov((width, height))))
    return records


def _record(found: Landmarks, intrinsics: Intrinsics) -> dict[str, np.ndarray]:
    """The fields of `trainer.synthesize`'s records that do not need truth."""
    window = np.array([0, 0, *intrinsics.size])
    return landmark_record(
        found, intrinsics.fx, intrinsics.size, window, image_to_crop(found.roi, CROP)
    )


def load_video(
    folder: Path, body: BodyModel, with_map: bool = False, min_visibility: float = 0.8
) -> Batch:
    """Video shards as pairs whose 3D fields mean nothing; `target` and `visible` hold what may
    supervise.

    Args:
        folder: that `main` wrote.
        body: of the method that is trained.
        with_map: whether it sees feature maps.
        min_visibility: of a landmark that supervises.

    Raises:
        PenumbraError: if there is no shard.
    """
    raw = read(folder, body, with_map=with_map, writer="video_pairs")
    count = len(raw["focal"])
    nowhere = {
        "rotvec": np.zeros((count, NUM_JOINTS, 3), np.float32),
        "betas": np.zeros((count, 10), np.float32),
        "pelvis": np.tile(np.array([0, 0, 3], np.float32), (count, 1)),
        "joint_visible": np.zeros((count, NUM_JOINTS), np.float32),
    }
    pairs = encode(raw | nowhere, body, with_map)
    return pairs._replace(**_seen(raw, pairs, min_visibility))


def _seen(raw: RawRecords, pairs: Batch, min_visibility: float) -> dict[str, torch.Tensor]:
    """Where the landmarks that count lie in the view, in units of `half`."""
    target, visible = torch.zeros_like(pairs.target), torch.zeros_like(pairs.visible)
    size = raw["size"][:, None]
    inside = ((raw["points"] > 0) & (raw["points"] < size)).all(-1)
    one = np.ones((len(size), len(JOINT_OF), 1))
    in_image = np.concatenate([raw["points"][:, list(JOINT_OF)], one], -1)
    in_crop = np.einsum("nij,nkj->nki", raw["crop_from_image"], in_image)
    view_from_crop = np.linalg.inv(pairs.crop_from_view.double().numpy())
    in_view = np.einsum("nij,nkj->nki", view_from_crop, np.concatenate([in_crop, one], -1))
    flat = in_view[..., :2] / in_view[..., 2:] / pairs.half.double().numpy()[:, None, None]
    joints = list(JOINT_OF.values())
    target[:, joints] = torch.from_numpy(flat).float()
    sure = (raw["visibility"] >= min_visibility) & inside
    visible[:, joints] = torch.from_numpy(sure[:, list(JOINT_OF)]).float()
    return {"target": target, "visible": visible}


def main(config: VideoConfig) -> None:
    """TrainingLogger every video and store what was seen.

    Raises:
        PenumbraError: if a video cannot be read, two have the same name, or `every` is too small.
    """
    if config.every < 1:
        raise PenumbraError(f"--every {config.every}: at least 1 is needed.")
    twice = [
        stem for stem, count in Counter(video.stem for video in config.videos).items() if count > 1
    ]
    if twice:
        raise PenumbraError(
            f"--videos: several are called {twice[0]}, and their shards would be; rename all but one."
        )
    tracker = open_tracker()
    config.out.mkdir(parents=True, exist_ok=True)
    for video in tqdm(config.videos, unit="video"):
        records = watch(video, tracker, config.every)
        if records:
            stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
            np.savez(config.out / f"{video.stem}.npz", **stacked)
        print(f"{video.name}: {len(records)} pictures with a person")


if __name__ == "__main__":
    start(main, VideoConfig)
