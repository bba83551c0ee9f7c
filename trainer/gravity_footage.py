"""Measure how far gravity is off on real footage, also with the camera rolled.

    python -m trainer.gravity_footage --folders ../shared/data/multiview/balancing

Folders as in `trainer.datasets.recordings`. Each camera is one run as that of the live system:
every frame is estimated, as from an upright camera once it is clear how it is rolled, and what its
person tells of gravity is fused. Every frame is resampled as a camera would see it that is rolled
by each of `roll_deg`, lens distortion removed.

What up is must be known: `up` of the recording's world. Pose2Sim's worlds are z up, and in
`balancing` the floor is at z = 0. caliscope's worlds are those of a board that somebody holds, so
nothing says where up is; give `--up none`, and only how far the cameras disagree is reported: the
angles of what they say from their mean, in the common world.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError, check_at_least
from engines.flow.model import FlowModel
from engines.gravity.direction import Direction
from engines.gravity.fusion import GravityFilter
from engines.gravity.network import GravityNetwork
from engines.rotations import exp_so3
from engines.types import World
from realtime.world.frames import quarters_of, tilt_cov, world_from_camera
from trainer.command import start
from trainer.data.video_reader import frame_rate, read_frames
from trainer.datasets.recordings import read_recordings
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.multiview.rig import RigCamera


@dataclass(frozen=True)
class GravityFootageConfig:
    """What to measure on."""

    folders: tuple[Path, ...]
    up: Literal["x", "y", "z", "none"] = "z"
    """Axis of the recording's world that points up; none where that is not known."""
    roll_deg: tuple[float, ...] = (0.0, 20.0, 90.0)
    """By how much the camera is rolled, clockwise as it looks."""
    after_s: float = 1.0
    """Time with a person in view after which the fused direction is taken."""
    every: int = 4
    """Take every so many frames."""
    fps: float | None = None
    """Frames a second of the recording; as its videos say when None."""
    hypotheses: int = 50
    weights: Path | None = None
    """Of the gravity network; the shipped ones when None."""


@dataclass(frozen=True)
class Rolled:
    """A camera that is rolled, without lens distortion."""

    intrinsics: Intrinsics
    R_rolled_cam: Float[np.ndarray, "3 3"]
    maps: tuple[np.ndarray, np.ndarray]
    """For `cv2.remap`."""

    @staticmethod
    def of(camera: Intrinsics, roll_deg: float) -> "Rolled":
        """Roll a camera clockwise; the image grows so that the whole of the old one stays."""
        R = exp_so3(np.array([0.0, 0.0, -np.radians(roll_deg)]))
        width, height = camera.size
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
        flat = (corners - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
        flat = flat @ R[:2, :2].T * camera.fx
        low, high = flat.min(0), flat.max(0)
        size = (round(high[0] - low[0]), round(high[1] - low[1]))
        rolled = Intrinsics(camera.fx, camera.fx, -low[0], -low[1], size, source="rolled")
        maps = cv2.initUndistortRectifyMap(
            camera.opencv_matrix,
            np.array(camera.dist or (0.0,) * 4),
            R,
            rolled.opencv_matrix,
            size,
            cv2.CV_32FC1,
        )
        return Rolled(rolled, R, maps)

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
        """The image that the rolled camera takes."""
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Run:
    """What one camera says of gravity, in its own frame."""

    single: tuple[Direction, ...]
    fused: tuple[tuple[float, Direction], ...]
    """Time with a person in view, and what is known then."""
    moved: int
    """How often the camera was taken to have moved, which it never did."""

    def after(self, seconds: float) -> Direction | None:
        """What is known after a time."""
        return next((one for t, one in self.fused if t >= seconds), None)


def run_camera(
    camera: RigCamera,
    rolled: Rolled,
    tracker: PoseTracker,
    estimator: FrameEstimator,
    network: GravityNetwork,
    config: GravityFootageConfig,
) -> Run:
    """Go through one camera's video, back in the frame of the camera that is not rolled."""
    tracker.reset()
    gravity = GravityFilter()
    single: list[Direction] = []
    fused: list[tuple[float, Direction]] = []
    began, moved, quarters = None, 0, 0
    rate = frame_rate(camera.video, "folders") if config.fps is None else config.fps
    for i, image in enumerate(read_frames(camera.video, "folders")):
        if i % config.every:
            continue
        landmarks = tracker(rolled(image))
        t_s = i / rate
        if landmarks is None:
            continue
        began = t_s if began is None else began
        found = estimator(landmarks, rolled.intrinsics, quarters)
        R_cam_root = exp_so3(found.hypotheses.rotvec[0, 0].astype(float))
        sample = network.direction(R_cam_root, found.joints, found.cov, found.joint_visible)
        known, restarted = gravity({0: sample}, t_s)
        moved += restarted
        assert known is not None
        quarters = _quarters(known)
        single.append(_turned(sample, rolled.R_rolled_cam.T))
        fused.append((t_s - began, _turned(known, rolled.R_rolled_cam.T)))
    return Run(tuple(single), tuple(fused), moved)


def _quarters(up: Direction) -> int:
    """Quarters of a turn by which the live system then takes the camera to be rolled."""
    T_world_cam = world_from_camera(up.vector, 0.0)
    return quarters_of(World(T_world_cam, tilt_cov(up, T_world_cam), math.inf, "estimated"))


def report(runs: dict[str, Run], up: dict[str, np.ndarray] | None, after_s: float) -> object:
    """Summarise the runs of all cameras, world frame; `up` is the truth in each camera's frame."""
    rows = {}
    for name, run in runs.items():
        known = run.after(after_s)
        row: dict[str, object] = {"frames": len(run.single), "moved": run.moved}
        if known is not None:
            row["sigma_deg"] = _degrees(known.std)
        if up is not None and known is not None:
            row["fused_error_deg"] = _degrees(_angle(known.vector, up[name]))
            errors = [_angle(one.vector, up[name]) for one in run.single]
            row["single_error_deg"] = _degrees(float(np.median(errors)))
            later = [_angle(one.vector, up[name]) for t, one in run.fused if t >= after_s]
            row["fused_error_later_deg"] = _degrees(float(np.median(later)))
        rows[name] = row
    return rows


def disagreement(runs: dict[str, Run], cameras: dict[str, RigCamera], after_s: float) -> object:
    """Angles of what each camera says, in the common world, from the mean of all, degrees."""
    said = {name: run.after(after_s) for name, run in runs.items()}
    in_world = {n: cameras[n].R.T @ one.vector for n, one in said.items() if one is not None}
    if len(in_world) < 2:
        return None
    mean = np.mean(list(in_world.values()), axis=0)
    mean /= np.linalg.norm(mean)
    return {name: _degrees(_angle(vector, mean)) for name, vector in in_world.items()}


def main(config: GravityFootageConfig) -> None:
    """Print a report of every recording and roll.

    Raises:
        PenumbraError: a recording cannot be read, or a number is too small.
    """
    check_at_least(1, config, "every", "hypotheses")
    if config.fps is not None and not config.fps > 0:
        raise PenumbraError(f"fps: must be more than 0, not {config.fps}; leave it out.")
    body, network = BodyModel.load(), GravityNetwork.load(config.weights)
    estimator = FrameEstimator(FlowModel.load(), body, config.hypotheses)
    tracker = open_tracker()
    for recording in read_recordings(config.folders):
        cameras = {camera.video.stem: camera for camera in recording.cameras}
        up = None
        if config.up != "none":
            axis = np.eye(3)["xyz".index(config.up)]
            up = {name: camera.R @ axis for name, camera in cameras.items()}
        for roll in config.roll_deg:
            runs = {
                name: run_camera(
                    camera, Rolled.of(camera.intrinsics, roll), tracker, estimator, network, config
                )
                for name, camera in tqdm(cameras.items(), desc=f"{recording.name} {roll:g}")
            }
            result = {
                "recording": recording.name,
                "rolled_by_deg": roll,
                "cameras": report(runs, up, config.after_s),
                "disagreement_deg": disagreement(runs, cameras, config.after_s),
            }
            print(json.dumps(result), flush=True)


def _turned(direction: Direction, R: Float[np.ndarray, "3 3"]) -> Direction:
    return Direction(R @ direction.vector, R @ direction.cov @ R.T)


def _angle(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _degrees(angle: float) -> float:
    return round(float(np.degrees(angle)), 1)


if __name__ == "__main__":
    start(main, GravityFootageConfig)
