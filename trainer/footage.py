"""How good a flow is on real footage: several calibrated cameras look at one person, one view at a
time is estimated.

    python -m trainer.footage --folders ../shared/data/multiview/charuco_calibration
    ../shared/data/multiview/post_optimization

The reference is triangulated from the landmark network's own points in all views, so it says how
well depth is recovered from one view, not how good the landmarks are. A folder holds `cam_0.mp4`,
..., `camera_array.toml` and `timestamps.csv`, as caliscope writes them. Joints that fewer than two
views see well, or whose views disagree, are left out.
"""

import csv
import json
import math
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from calib.metrics import spearman
from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.covariance import ellipsoid_contains, std_from_cov
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import open_sampler, skeleton_of
from engines.flow.statistics import joint_moments
from engines.types import LIMB_LANDMARKS, Hypotheses, Landmarks
from trainer.command import start
from trainer.data.video_reader import read_frames
from trainer.evaluation.metrics import pa_mpjpe, procrustes


@dataclass(frozen=True)
class FootageConfig:
    """What to score on."""

    folders: tuple[Path, ...]
    models: tuple[Path, ...] = ()
    """Exported flows to compare; the shipped one when there are none."""
    body: Path | None = None
    """That they were trained for; the default body when None."""
    hypotheses: int = 100
    min_visibility: float = 0.7
    """Of a landmark, for its view to count."""
    max_reprojection_px: float = 40.0
    """Of a triangulated joint in each view that counts."""
    min_joints: int = 5


@dataclass(frozen=True)
class View:
    """One camera of a rig: x_cam = R x_world + t, metres."""

    intrinsics: Intrinsics
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, "3"]
    video: Path


@dataclass(frozen=True)
class Look:
    """What one view says about one frame."""

    landmarks: Landmarks
    hypotheses: Hypotheses
    """Calibrated, as they are published; number 0 is the best estimate."""
    cov: Float[np.ndarray, "24 3 3"]
    joint_visible: Float[np.ndarray, "24"]

    @property
    def joints(self) -> Float[np.ndarray, "24 3"]:
        """Of the best estimate."""
        return self.hypotheses.joints[0].astype(float)


@dataclass(frozen=True)
class Scored:
    """One view of one instant against the reference, after Procrustes alignment; n joints,
    millimetres.
    """

    best_estimate: float
    best_hypothesis: float
    landmark_network: float
    joints: Int[np.ndarray, "n"]
    """SMPL joint numbers."""
    std: Float[np.ndarray, "n"]
    """As promised: root mean square over the axes, the common distance apart."""
    inside: Bool[np.ndarray, "n"]
    """Whether the 90 % ellipsoid, turned and scaled with the estimate, holds the reference."""
    inside_camera: Bool[np.ndarray, "n"]
    """The same in the camera's frame without alignment, only the common distance fitted: what the
    covariance promises.
    """
    error_camera: Float[np.ndarray, "n"]
    """There, the common distance fitted."""
    seen: Bool[np.ndarray, "n"]
    """Whether the joint is likelier visible than hidden in this view, as the flow says."""


def read_rig(folder: Path) -> tuple[list[View], list[dict[int, int]]]:
    """The cameras, and for each synchronised instant the frame number of each camera.

    Raises:
        PenumbraError: if the folder is not one that caliscope wrote.
    """
    missing = [
        name for name in ("camera_array.toml", "timestamps.csv") if not (folder / name).is_file()
    ]
    if missing:
        raise PenumbraError(
            f"--folders: {folder} has no {' and no '.join(missing)}; name a folder that caliscope wrote."
        )
    cameras = tomllib.loads((folder / "camera_array.toml").read_text())["cameras"]
    views = []
    for camera in sorted(cameras.values(), key=lambda camera: camera["cam_id"]):
        (fx, _, cx), (_, fy, cy), _ = camera["matrix"]
        size = (int(camera["size"][0]), int(camera["size"][1]))
        intrinsics = Intrinsics(
            fx, fy, cx, cy, size, tuple(camera["distortions"]), "camera_array.toml"
        )
        R, t = np.array(camera["rotation"]), np.array(camera["translation"])
        views.append(View(intrinsics, R, t, folder / f"cam_{camera['cam_id']}.mp4"))
    with (folder / "timestamps.csv").open(newline="") as file:
        rows = sorted((int(row["cam_id"]), int(row["sync_index"])) for row in csv.DictReader(file))
    instants: dict[int, dict[int, int]] = defaultdict(dict)
    counted: dict[int, int] = defaultdict(int)
    for camera_id, instant in rows:
        instants[instant][camera_id] = counted[camera_id]
        counted[camera_id] += 1
    return views, [frames for _, frames in sorted(instants.items()) if len(frames) == len(views)]


def watch(view: View, tracker: PoseTracker) -> list[Landmarks | None]:
    """What the landmark network says about every frame of a view.

    Raises:
        PenumbraError: if the video is missing or broken.
    """
    tracker.reset()
    return [tracker(picture) for picture in read_frames(view.video, "--folders")]


class Looker:
    """Estimates frames one by one as the live system does, without its smoothing."""

    def __init__(self, model: FlowModel, body: BodyModel, num_hypotheses: int) -> None:
        """Open the model."""
        self._sampler = open_sampler(body, num_hypotheses, model=model)
        self._recalibrate = Recalibrator(
            skeleton_of(body), num_hypotheses, self._sampler.engine.device
        )
        self._calibration = model.calibration

    def __call__(self, landmarks: Landmarks, intrinsics: Intrinsics) -> Look:
        """One frame of one view."""
        samples = self._sampler(landmarks, intrinsics)
        moments = joint_moments(samples.hypotheses)
        posed, cov, _ = self._recalibrate.calibrated(samples, moments, self._calibration)
        return Look(landmarks, posed.hypotheses, cov, samples.joint_visible)


def triangulate(
    points: Float[np.ndarray, "V 2"], views: list[View], max_reprojection_px: float = np.inf
) -> Float[np.ndarray, "3"] | None:
    """A world point (m) from its image points, linearly (Hartley and Zisserman, 12.2); None if the
    views disagree.
    """
    rows = []
    for point, view in zip(points, views, strict=True):
        u, v = view.intrinsics.rays(point[None])[0]
        P = np.column_stack([view.R, view.t])
        rows += [u * P[2] - P[0], v * P[2] - P[1]]
    homogeneous = np.linalg.svd(np.array(rows))[2][-1]
    world = homogeneous[:3] / homogeneous[3]
    for point, view in zip(points, views, strict=True):
        seen = view.intrinsics.project((view.R @ world + view.t)[None])[0]
        if np.linalg.norm(seen - point) > max_reprojection_px:
            return None
    return world


def reference(looks: list[Look], views: list[View], config: FootageConfig) -> dict[int, np.ndarray]:
    """World positions (m) of the landmarks that enough views agree on."""
    found = {}
    for landmark in LIMB_LANDMARKS:
        use = [i for i, one in enumerate(looks) if _sees(one, views[i], landmark, config)]
        if len(use) >= 2:
            points = np.array([looks[i].landmarks.points[landmark] for i in use])
            world = triangulate(points, [views[i] for i in use], config.max_reprojection_px)
            if world is not None:
                found[landmark] = world
    return found


def _sees(one: Look, view: View, landmark: int, config: FootageConfig) -> bool:
    x, y = one.landmarks.points[landmark]
    width, height = view.intrinsics.size
    return bool(
        one.landmarks.visibility[landmark] >= config.min_visibility
        and 0 < x < width
        and 0 < y < height
    )


def without_common_distance(
    error: Float[np.ndarray, "n 3"], cov: Float[np.ndarray, "n 3 3"], ray: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3"]:
    """Errors after one shift of all joints along the ray, by generalised least squares."""
    weight = np.linalg.inv(cov) @ ray  # (n, 3)
    return error - (weight * error).sum() / (weight @ ray).sum() * ray


def score(one: Look, truth: dict[int, np.ndarray], view: View) -> Scored:
    """Errors of one view of one instant."""
    target = torch.tensor(np.stack(list(truth.values())))
    joints = [LIMB_LANDMARKS[landmark] for landmark in truth]
    center = torch.tensor(one.joints[joints])
    samples = torch.tensor(one.hypotheses.joints[:, joints].astype(float))
    world = torch.tensor(one.landmarks.world[list(truth)])
    fit = procrustes(center, target)
    error = (fit.apply(center) - target).numpy()
    turn = fit.scale.item() * fit.R.numpy()
    cov = turn @ one.cov[joints] @ turn.T
    in_camera = target.numpy() @ view.R.T + view.t - one.joints[joints]
    left = without_common_distance(
        in_camera, one.cov[joints], one.joints[0] / np.linalg.norm(one.joints[0])
    )
    return Scored(
        best_estimate=1000 * float(np.linalg.norm(error, axis=-1).mean()),
        best_hypothesis=1000 * pa_mpjpe(samples, target.expand_as(samples)).min().item(),
        landmark_network=1000 * pa_mpjpe(world, target).item(),
        joints=np.array(joints),
        std=1000 * std_from_cov(one.cov[joints]),
        inside=ellipsoid_contains(cov, error),
        inside_camera=ellipsoid_contains(one.cov[joints], left),
        error_camera=1000 * np.linalg.norm(left, axis=-1),
        seen=one.joint_visible[joints] > 0.5,
    )


def summary(scored: list[Scored]) -> dict[str, float | int | None]:
    """Means over pictures and joints; Spearman's correlation of promised standard deviation and
    error in the camera's frame within each joint, averaged."""
    names = ("joints", "error_camera", "std", "inside", "inside_camera", "seen")
    joint, error, std, inside, inside_camera, seen = (
        np.concatenate([getattr(one, name) for one in scored]) for name in names
    )
    ranks = [
        spearman(std[joint == j], error[joint == j])
        for j in np.unique(joint)
        if (joint == j).sum() > 10
    ]
    within = [rank for rank in ranks if not math.isnan(rank)]
    return {
        "best estimate": round(float(np.mean([one.best_estimate for one in scored])), 2),
        "best hypothesis": round(float(np.mean([one.best_hypothesis for one in scored])), 2),
        "landmark network": round(float(np.mean([one.landmark_network for one in scored])), 2),
        "inside, seen": round(float(inside_camera[seen].mean()), 3),
        "inside, hidden": round(float(inside_camera[~seen].mean()), 3) if not seen.all() else None,
        "inside after alignment, seen": round(float(inside[seen].mean()), 3),
        "inside after alignment, hidden": round(float(inside[~seen].mean()), 3)
        if not seen.all()
        else None,
        "hidden joints": int((~seen).sum()),
        "spearman": round(float(np.mean(within)), 3) if within else None,
        "joints a picture": round(len(joint) / len(scored), 2),
        "pictures": len(scored),
    }


Footage = tuple[list[View], list[dict[int, int]], list[list[Landmarks | None]]]


def score_footage(footage: Footage, looker: Looker, config: FootageConfig) -> list[Scored]:
    """Every view of every instant at which all views see somebody and enough joints are agreed
    upon.
    """
    views, instants, found = footage
    scored: list[Scored] = []
    for frames in instants:
        there = [
            found[i][frame] if frame < len(found[i]) else None
            for i, frame in sorted(frames.items())
        ]
        if any(landmarks is None for landmarks in there):
            continue
        looks = [
            looker(landmarks, view.intrinsics)
            for landmarks, view in zip(there, views, strict=True)
            if landmarks is not None
        ]
        truth = reference(looks, views, config)
        if len(truth) >= config.min_joints:
            scored += [score(one, truth, view) for one, view in zip(looks, views, strict=True)]
    return scored


def main(config: FootageConfig) -> None:
    """Print the means over all views and instants, a model at a time."""
    tracker = open_tracker()
    footage: list[Footage] = []
    for folder in config.folders:
        views, instants = read_rig(folder)
        found = [watch(view, tracker) for view in tqdm(views, desc=folder.name, unit="view")]
        footage.append((views, instants, found))
    for path in config.models or (None,):
        looker = Looker(FlowModel.load(path), BodyModel.load(config.body), config.hypotheses)
        scored = [one for part in footage for one in score_footage(part, looker, config)]
        if not scored:
            raise PenumbraError("--folders: no instant has enough joints that the views agree on.")
        print(json.dumps({"model": str(path or "shipped")} | summary(scored), indent=2))


if __name__ == "__main__":
    start(main, FootageConfig)
