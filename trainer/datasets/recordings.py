"""Recordings of one person by several calibrated cameras, as they lie on disk.

Two forms are known:

- caliscope's: `cam_0.mp4`, ..., `camera_array.toml` and `timestamps.csv`. It has no reference
  joints; they are triangulated from landmarks (`trainer.multiview.triangulation`).
- a `reference.npz` beside `camNN.mp4`: `joints`, names of J joints (LShoulder, ..., RAnkle), and of
  each camera its `camNN_K` (3, 3) and `camNN_dist` (OpenCV's), `camNN_rvec` and `camNN_t` (x_cam =
  R x_world + t) and the joints' positions `camNN_xyz` (F, J, 3), camera frame, metres.
"""

import csv
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from engines.arrays import read_npz
from engines.camera import from_opencv
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES
from trainer.multiview.rig import RigCamera

_CALISCOPE = ("camera_array.toml", "timestamps.csv")
_REFERENCE = "reference.npz"
_SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Recording:
    """V synchronised cameras around one person."""

    name: str
    cameras: tuple[RigCamera, ...]
    instants: tuple[tuple[int, ...], ...]
    """The frame number of each camera at every synchronised instant."""
    reference_joints: tuple[int, ...] = ()
    """SMPL joint numbers; empty where the recording comes without reference."""
    reference: tuple[Float[np.ndarray, "F J 3"], ...] = ()
    """Positions of these joints in each camera's frame, metres, NaN where unknown."""


def read_recording(folder: Path) -> Recording:
    """Read a recording of either form; no video is opened for its images.

    Raises:
        PenumbraError: the folder is of neither form, or a file is broken.
    """
    if (folder / _REFERENCE).is_file():
        return _read_reference(folder)
    missing = [name for name in _CALISCOPE if not (folder / name).is_file()]
    if missing:
        raise PenumbraError(
            f"folders: {folder} has no {' and no '.join(missing)}, nor {_REFERENCE}; name a folder"
            " that caliscope wrote, or one with a reference."
        )
    return _read_caliscope(folder)


def read_recordings(folders: Sequence[Path]) -> list[Recording]:
    """Read several recordings, which reports tell apart by their names.

    Raises:
        PenumbraError: there is none, two have the same name, or as `read_recording`.
    """
    if not folders:
        raise PenumbraError("folders: there is none; name at least one recording.")
    recordings = [read_recording(folder) for folder in folders]
    names = Counter(recording.name for recording in recordings)
    if twice := [name for name, count in names.items() if count > 1]:
        raise PenumbraError(f"folders: several are called {twice[0]}; rename all but one.")
    return recordings


def _read_caliscope(folder: Path) -> Recording:
    try:
        cameras = _caliscope_cameras(folder)
        return Recording(folder.name, cameras, _read_instants(folder, len(cameras)))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PenumbraError(
            f"folders: {folder} holds no recording of caliscope's ({error}); calibrate it again."
        ) from error


def _caliscope_cameras(folder: Path) -> tuple[RigCamera, ...]:
    table = tomllib.loads((folder / "camera_array.toml").read_text())["cameras"]
    cameras = []
    for camera in sorted(table.values(), key=lambda camera: camera["cam_id"]):
        size = (int(camera["size"][0]), int(camera["size"][1]))
        matrix, dist = np.array(camera["matrix"]), tuple(camera["distortions"])
        intrinsics = from_opencv(matrix, size, dist, "camera_array.toml")
        R = np.array(camera["rotation"])
        t = np.array(camera["translation"])
        cameras.append(RigCamera(intrinsics, R, t, folder / f"cam_{camera['cam_id']}.mp4"))
    return tuple(cameras)


def _read_instants(folder: Path, cameras: int) -> tuple[tuple[int, ...], ...]:
    """Number the frames of every camera, and keep the instants at which all cameras have one."""
    with (folder / "timestamps.csv").open(newline="") as file:
        rows = sorted((int(row["cam_id"]), int(row["sync_index"])) for row in csv.DictReader(file))
    frames: dict[int, dict[int, int]] = defaultdict(dict)
    counted: dict[int, int] = defaultdict(int)
    for camera, instant in rows:
        frames[instant][camera] = counted[camera]
        counted[camera] += 1
    return tuple(
        tuple(frame for _, frame in sorted(one.items()))
        for _, one in sorted(frames.items())
        if len(one) == cameras
    )


def _read_reference(folder: Path) -> Recording:
    path = folder / _REFERENCE
    try:
        arrays = read_npz(path)
        joints = tuple(_smpl_joint(str(name)) for name in arrays["joints"])
        names = sorted(key.removesuffix("_K") for key in arrays if key.endswith("_K"))
        cameras = tuple(_reference_camera(folder, name, arrays) for name in names)
        positions = tuple(arrays[f"{name}_xyz"].astype(np.float64) for name in names)
    except (ValueError, KeyError) as error:
        raise PenumbraError(
            f"{path}: not a reference of calibrated cameras ({error}); see"
            " trainer.datasets.recordings for its form."
        ) from error
    frames = min((len(one) for one in positions), default=0)
    instants = tuple((frame,) * len(cameras) for frame in range(frames))
    return Recording(folder.name, cameras, instants, joints, positions)


def _reference_camera(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> RigCamera:
    dist = tuple(arrays[f"{name}_dist"].tolist())
    video = folder / f"{name}.mp4"
    intrinsics = from_opencv(arrays[f"{name}_K"], _image_size(video), dist, _REFERENCE)
    return RigCamera(intrinsics, exp_so3(arrays[f"{name}_rvec"]), arrays[f"{name}_t"], video)


def _image_size(video: Path) -> tuple[int, int]:
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise PenumbraError(f"folders: cannot read {video}; is it a video file?")
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        return width, int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    finally:
        capture.release()


def _smpl_joint(name: str) -> int:
    """Number a joint that is called as Pose2Sim calls it: LShoulder, RKnee."""
    side = _SIDES.get(name[:1], "")
    return JOINT_NAMES.index(f"{side}_{name[1:].lower()}")
