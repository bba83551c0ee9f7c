"""How good a flow is on real people: 12 limb joints of a balancing man, the joints that four
cameras agree on of a seated one.

    python -m trainer.real_score --models runs/follow/flow.onnx --network heavy

What the landmark networks said is read from where `trainer.heard` put it. Every picture is
estimated alone. References: the balancing man's was triangulated by others from four views, the
seated one's is triangulated from the landmarks themselves.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from calib.camera import Intrinsics
from calib.covariance import ellipsoid_contains, std_from_cov
from calib.reliability import spearman
from engines.body import BodyModel
from engines.fitting import FitConfig
from engines.sampler import FlowModel, Sampler, open_sampler
from engines.statistics import joint_moments
from engines.types import LIMB_LANDMARKS, Hypotheses, Landmarks
from trainer.command import start
from trainer.footage import FootageConfig, read_rig, triangulate, without_common_distance
from trainer.heard import NetworkName, load
from trainer.metrics import pa_mpjpe

DATA = Path("../shared/data/multiview")
SEATED = ("charuco_calibration", "post_optimization")
_BALANCING_JOINTS = (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)


@dataclass(frozen=True)
class RealConfig:
    """What to score on."""

    models: tuple[Path, ...] = ()
    """Exported flows; the shipped one when there are none."""
    data: Path = DATA
    heard: Path = Path("runs/heard")
    network: NetworkName = "full"
    hypotheses: int = 100
    every: int = 1
    """Score every so-manieth picture."""
    fit: bool = False
    """Whether hypotheses are fitted to the visible landmarks."""
    how: FitConfig = field(default_factory=FitConfig)


class Picture(NamedTuple):
    """One person in one picture, and where some of his joints are."""

    landmarks: Landmarks
    intrinsics: Intrinsics
    joints: Int[np.ndarray, "n"]
    truth: Float[np.ndarray, "n 3"]
    """Camera frame, metres."""


def balancing(data: Path, heard: Path, network: NetworkName, camera: str) -> list[Picture]:
    """The pictures of one camera in which he is found."""
    with np.load(data / "balancing" / "reference.npz", allow_pickle=False) as stored:
        K, dist, xyz = stored[f"{camera}_K"], stored[f"{camera}_dist"], stored[f"{camera}_xyz"]
    intrinsics = Intrinsics(
        K[0, 0], K[1, 1], K[0, 2], K[1, 2], (1080, 1920), tuple(dist.tolist()), "reference.npz"
    )
    found = load(heard / network / f"balancing-{camera}.npz")
    joints = np.array(_BALANCING_JOINTS)
    return [
        Picture(one, intrinsics, joints, xyz[t]) for t, one in enumerate(found) if one is not None
    ]


def seated(data: Path, heard: Path, network: NetworkName, folder: str) -> list[Picture]:
    """Every view of each instant at which all cameras see him and agree on enough joints."""
    views, instants = read_rig(data / folder)
    found = [load(heard / network / f"{folder}-{view.video.stem}.npz") for view in views]
    config = FootageConfig(folders=())
    pictures: list[Picture] = []
    for frames in instants:
        there = [
            found[i][frame] if frame < len(found[i]) else None
            for i, frame in sorted(frames.items())
        ]
        looks = [one for one in there if one is not None]
        if len(looks) < len(views):
            continue
        truth = {}
        for landmark, joint in LIMB_LANDMARKS.items():
            use = [
                i
                for i, one in enumerate(looks)
                if _sees(one, views[i].intrinsics, landmark, config.min_visibility)
            ]
            if len(use) < 2:
                continue
            points = np.array([looks[i].points[landmark] for i in use])
            world = triangulate(points, [views[i] for i in use], config.max_reprojection_px)
            if world is not None:
                truth[joint] = world
        if len(truth) >= config.min_joints:
            joints, world = np.array(list(truth)), np.array(list(truth.values()))
            pictures += [
                Picture(one, view.intrinsics, joints, world @ view.R.T + view.t)
                for one, view in zip(looks, views, strict=True)
            ]
    return pictures


def _sees(one: Landmarks, intrinsics: Intrinsics, landmark: int, least: float) -> bool:
    x, y = one.points[landmark]
    width, height = intrinsics.size
    return bool(one.visibility[landmark] >= least and 0 < x < width and 0 < y < height)


class Row(NamedTuple):
    """One picture's scores; millimetres."""

    best_estimate: float
    best_hypothesis: float
    inside: np.ndarray
    """Whether the 90 % ellipsoid holds each joint, in the camera's frame with the common distance
    fitted.
    """
    error: np.ndarray
    std: np.ndarray
    joints: np.ndarray
    reprojection: float
    """Of all hypotheses at landmarks seen with visibility above 0.8: median distance, % of the
    person's height.
    """


def score_one(picture: Picture, hypotheses: Hypotheses) -> Row:
    """Compare."""
    joints, truth = picture.joints, picture.truth
    drawn = torch.tensor(hypotheses.joints[:, joints].astype(float))
    target = torch.tensor(truth, dtype=torch.float64)
    pa = 1000 * pa_mpjpe(drawn, target.expand_as(drawn))
    moments = joint_moments(hypotheses)
    best, cov = hypotheses.joints[0].astype(float), moments.cov[joints].astype(float)
    cov = cov + 1e-8 * np.eye(3)
    error = without_common_distance(truth - best[joints], cov, best[0] / np.linalg.norm(best[0]))
    inside = ellipsoid_contains(cov, error)
    length = 1000 * np.linalg.norm(error, axis=-1)
    return Row(
        float(pa[0]),
        float(pa.min()),
        inside,
        length,
        1000 * std_from_cov(cov),
        joints,
        _reprojection(picture, hypotheses),
    )


def _reprojection(picture: Picture, hypotheses: Hypotheses) -> float:
    marks = [m for m in LIMB_LANDMARKS if picture.landmarks.visibility[m] > 0.8]
    if not marks:
        return math.nan
    joints = hypotheses.joints[:, [LIMB_LANDMARKS[m] for m in marks]].astype(float)
    px = picture.intrinsics.project(joints.reshape(-1, 3)).reshape(*joints.shape[:-1], 2)
    away = np.linalg.norm(px - picture.landmarks.points[marks], axis=-1)
    all_joints = picture.intrinsics.project(hypotheses.joints[0].astype(float))
    height = 1.1 * np.ptp(all_joints[:, 1])
    return 100 * float(np.median(away)) / height


def summary(rows: list[Row]) -> dict[str, float]:
    """Means over pictures and joints."""
    joint, error, std, inside = (
        np.concatenate([getattr(row, k) for row in rows])
        for k in ("joints", "error", "std", "inside")
    )
    ranks = [
        spearman(std[joint == j], error[joint == j])
        for j in np.unique(joint)
        if (joint == j).sum() > 10
    ]
    return {
        "best": round(float(np.mean([row.best_estimate for row in rows])), 1),
        "of100": round(float(np.mean([row.best_hypothesis for row in rows])), 1),
        "in90": round(100 * float(inside.mean()), 1),
        "spearman": round(float(np.nanmean(ranks)), 2),
        "reproj%": round(float(np.nanmedian([row.reprojection for row in rows])), 2),
        "pictures": len(rows),
    }


Estimator = Callable[[Landmarks, Intrinsics], Hypotheses]


def sets(config: RealConfig) -> dict[str, list[Picture]]:
    """All recordings."""
    where = config.data, config.heard, config.network
    out = {camera: balancing(*where, camera) for camera in ("cam02", "cam04")}
    return out | {folder: seated(*where, folder) for folder in SEATED}


def score_all(
    estimate: Estimator, pictures: dict[str, list[Picture]]
) -> dict[str, dict[str, float]]:
    """Scores of every recording."""
    out = {}
    for name, some in pictures.items():
        out[name] = summary(
            [score_one(one, estimate(one.landmarks, one.intrinsics)) for one in some]
        )
    return out


def estimator(sampler: Sampler) -> Estimator:
    """What a sampler draws."""
    return lambda landmarks, intrinsics: sampler(landmarks, intrinsics).hypotheses


def main(config: RealConfig) -> None:
    """Print scores, a model at a time."""
    pictures = sets(config)
    for path in config.models or (None,):
        fit = config.how if config.fit else None
        sampler = open_sampler(
            BodyModel.load(), config.hypotheses, model=FlowModel.load(path), fit=fit
        )
        scores = score_all(
            estimator(sampler), {name: some[:: config.every] for name, some in pictures.items()}
        )
        print(path or "shipped", config.network)
        for name, one in scores.items():
            print(f"  {name:22s}", json.dumps(one))


if __name__ == "__main__":
    start(main, RealConfig)
