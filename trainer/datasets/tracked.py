"""Landmarks of a recording, found once and kept: finding them takes longer than all that follows.

A file `RECORDING_NETWORK.npz` holds the landmarks of every frame of every camera and a digest of
the videos. Other videos of that name are tracked again. What a changed tracker would find differs
from what is kept: delete the folder then.
"""

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines.arrays import read_npz
from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.errors import PenumbraError
from engines.types import LandmarkNetwork, Landmarks, Roi
from trainer.data.video_reader import read_frames
from trainer.datasets.recordings import Recording
from trainer.multiview.rig import RigCamera

_PARTS = ("points", "depth", "visibility", "presence", "peak", "world")
Tracks = list[list[Landmarks | None]]
"""Of each camera, of each of its frames; None in frames without a person."""


def tracked(recording: Recording, network: LandmarkNetwork, folder: Path | None) -> Tracks:
    """Find the landmarks of a recording, or read what was found before.

    Args:
        recording: of one person.
        network: that finds them.
        folder: where they are kept; nowhere when None.

    Raises:
        PenumbraError: a video is missing or broken, or what was kept is damaged.
    """
    path = None if folder is None else folder / f"{recording.name}_{network}.npz"
    digest = _digest(recording)
    if path is not None and path.exists():
        kept = _read(path, network, digest)
        if kept is not None:
            return kept
    tracker = open_tracker(network=network)
    cameras = tqdm(recording.cameras, desc=f"{recording.name}, {network}", unit="camera")
    tracks = [track_landmarks(camera, tracker) for camera in cameras]
    if path is not None:
        _write(path, tracks, digest)
    return tracks


def track_landmarks(camera: RigCamera, tracker: PoseTracker) -> list[Landmarks | None]:
    """Track the person through a camera's video; None in frames without one.

    Raises:
        PenumbraError: the video is missing or broken.
    """
    tracker.reset()
    return [tracker(image) for image in read_frames(camera.video, "folders")]


def _digest(recording: Recording) -> str:
    digest = hashlib.sha256()
    for camera in recording.cameras:
        try:
            digest.update(camera.video.read_bytes())
        except OSError as error:
            raise PenumbraError(
                f"folders: cannot read {camera.video} ({error.strerror}); name a whole recording."
            ) from error
    return digest.hexdigest()


def _write(path: Path, tracks: Tracks, digest: str) -> None:
    arrays: dict[str, np.ndarray] = {"digest": np.array(digest)}
    for number, frames in enumerate(tracks):
        found = [one for one in frames if one is not None]
        rows = {name: np.array([getattr(one, name) for one in found]) for name in _PARTS}
        rows["found"] = np.array([one is not None for one in frames])
        rows["score"] = np.array([one.score for one in found])
        rows["roi"] = np.array([[*one.roi.center, one.roi.size, one.roi.rotation] for one in found])
        arrays |= {f"camera{number}_{name}": value for name, value in rows.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.stem}.tmp.npz")
    np.savez_compressed(scratch, **arrays)
    scratch.replace(path)


def _read(path: Path, network: LandmarkNetwork, digest: str) -> Tracks | None:
    """Read landmarks; None where they are those of other videos."""
    try:
        arrays = read_npz(path)
        if str(arrays.pop("digest")) != digest:
            return None
        cameras = sum(name.endswith("_found") for name in arrays)
        return [_camera(arrays, f"camera{number}_", network) for number in range(cameras)]
    except (KeyError, ValueError, IndexError) as error:
        raise PenumbraError(
            f"folders: {path} holds no landmarks of a recording ({error}); delete it."
        ) from error


def _camera(
    arrays: dict[str, np.ndarray], prefix: str, network: LandmarkNetwork
) -> list[Landmarks | None]:
    parts = {name: arrays[prefix + name] for name in _PARTS}
    score, roi = arrays[prefix + "score"], arrays[prefix + "roi"]
    frames: list[Landmarks | None] = []
    row = 0
    for there in arrays[prefix + "found"]:
        if not there:
            frames.append(None)
            continue
        crop = Roi(roi[row, :2], float(roi[row, 2]), float(roi[row, 3]))
        one = {name: part[row] for name, part in parts.items()}
        frames.append(Landmarks(**one, score=float(score[row]), roi=crop, network=network))
        row += 1
    return frames
