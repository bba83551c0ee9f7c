"""How good a flow is on real footage: several calibrated cameras look at one person, one view at a time is estimated.

    python -m trainer.footage --folders ../shared/data/multiview/charuco_calibration ../shared/data/multiview/post_optimization

The reference is triangulated from the landmark network's own points in all views, so it says how well depth is recovered
from one view, not how good the landmarks are. A folder holds `cam_0.mp4`, ..., `camera_array.toml` and `timestamps.csv`, as
caliscope writes them. Joints that fewer than two views see well, or whose views disagree, are left out.
"""

import csv
import json
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from jaxtyping import Float
from tqdm import tqdm

from calib.camera import Intrinsics
from calib.covariance import ellipsoid_contains
from engines.body import BodyModel
from engines.perception import Perception, open_perception
from engines.sampler import FlowModel, Sampler, open_sampler
from engines.statistics import joint_moments
from engines.types import Landmarks
from trainer.metrics import mpjpe, procrustes

JOINT_OF = {11: 16, 12: 17, 13: 18, 14: 19, 15: 20, 16: 21, 23: 1, 24: 2, 25: 4, 26: 5, 27: 7, 28: 8}
"""The SMPL joint of each limb landmark."""


@dataclass(frozen=True)
class FootageConfig:
    """What to score on."""

    folders: tuple[Path, ...]
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
    joints: Float[np.ndarray, "24 3"]
    hypotheses: Float[np.ndarray, "K 24 3"]
    cov: Float[np.ndarray, "24 3 3"]


def read_rig(folder: Path) -> tuple[list[View], list[dict[int, int]]]:
    """The cameras, and for each synchronised instant the frame number of each camera."""
    cameras = tomllib.loads((folder / "camera_array.toml").read_text())["cameras"]
    views = []
    for camera in sorted(cameras.values(), key=lambda camera: camera["cam_id"]):
        (fx, _, cx), (_, fy, cy), _ = camera["matrix"]
        size = (int(camera["size"][0]), int(camera["size"][1]))
        intrinsics = Intrinsics(fx, fy, cx, cy, size, tuple(camera["distortions"]), "camera_array.toml")
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


def look(view: View, perception: Perception, sampler: Sampler, model: FlowModel) -> list[Look | None]:
    """Estimate every frame of a view, each for itself."""
    perception.reset()
    capture, looks = cv2.VideoCapture(str(view.video)), []
    while (grabbed := capture.read())[0]:
        landmarks = perception(grabbed[1])
        if landmarks is None:
            looks.append(None)
            continue
        samples = sampler(landmarks, view.intrinsics)
        moments = joint_moments(samples.hypotheses)
        cov = moments.cov.astype(float)
        if model.calibration is not None:
            cov = model.calibration.apply(cov, moments.ray.astype(float), samples.joint_visible)
        looks.append(Look(landmarks, samples.hypotheses.joints[0].astype(float), samples.hypotheses.joints, cov))
    return looks


def triangulate(
    points: Float[np.ndarray, "V 2"], views: list[View], max_reprojection_px: float = np.inf
) -> Float[np.ndarray, "3"] | None:
    """A world point (m) from its image points, linearly (Hartley and Zisserman, 12.2); None if the views disagree."""
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
    for landmark in JOINT_OF:
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
    return bool(one.landmarks.visibility[landmark] >= config.min_visibility and 0 < x < width and 0 < y < height)


def score(one: Look, truth: dict[int, np.ndarray]) -> dict[str, float]:
    """Errors of one view of one instant after Procrustes alignment, millimetres."""
    target = torch.tensor(np.stack(list(truth.values())))
    joints = [JOINT_OF[landmark] for landmark in truth]
    center = torch.tensor(one.joints[joints])
    samples = torch.tensor(one.hypotheses[:, joints].astype(float))
    world = torch.tensor(one.landmarks.world[list(truth)])
    fit = procrustes(center, target)
    error = (fit.apply(center) - target).numpy()
    turn = fit.scale.item() * fit.R.numpy()
    inside = ellipsoid_contains(turn @ one.cov[joints] @ turn.T, error)
    targets = target.expand_as(samples)
    return {
        "best estimate": 1000 * float(np.linalg.norm(error, axis=-1).mean()),
        "best hypothesis": 1000 * mpjpe(procrustes(samples, targets).apply(samples), targets).min().item(),
        "landmark network": 1000 * mpjpe(procrustes(world, target).apply(world), target).item(),
        "inside": float(inside.mean()),
        "joints": float(len(truth)),
    }


def main(config: FootageConfig) -> None:
    """Print the mean over all views and instants."""
    model = FlowModel.load()
    perception, sampler = open_perception(), open_sampler(BodyModel.load(), config.hypotheses, model=model)
    rows: list[dict[str, float]] = []
    for folder in config.folders:
        views, instants = read_rig(folder)
        seen = [look(view, perception, sampler, model) for view in tqdm(views, desc=folder.name, unit="view")]
        for frames in instants:
            looks = [seen[i][frame] if frame < len(seen[i]) else None for i, frame in sorted(frames.items())]
            there = [one for one in looks if one is not None]
            truth = reference(there, views, config) if len(there) == len(views) else {}
            if len(truth) >= config.min_joints:
                rows += [score(one, truth) for one in there]
    if not rows:
        print("no instant has enough joints that the views agree on")
        return
    means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
    print(json.dumps(means | {"pictures": len(rows)}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(FootageConfig))
