"""Measure what a second camera is worth as evidence: hypotheses of one, landmarks of another.

    python -m trainer.second_view --folders RECORDING [RECORDING ...]

Every ordered pair of cameras of a rig: hypotheses are drawn from the first image alone and
reweighted by the landmarks of the second. The reference is triangulated from the *other* cameras,
so that evidence and reference share no image (they share the landmark network and its errors).
Nothing is turned or scaled: errors are in the first camera's frame as they are ("absolute"), after
the means of the scored joints are put together ("relative"), and, to compare, after Procrustes
alignment ("aligned"). Folders as in `trainer.datasets.recordings`, of four cameras or more.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from engines.blazepose.heavy import named
from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError, check_at_least
from engines.evidence.evidence import best, effective_sample_size, posterior_moments, reweight
from engines.evidence.second_view import SCALE, SecondView
from engines.flow.model import FlowModel
from engines.types import LIMB_LANDMARKS, LandmarkNetwork
from trainer.command import start
from trainer.datasets.recordings import read_recordings
from trainer.datasets.tracked import track_landmarks
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.prediction import ViewEstimate
from trainer.evaluation.metrics import pa_mpjpe
from trainer.multiview.rig import RigCamera, relative_pose
from trainer.multiview.triangulation import TriangulationConfig, triangulate_landmarks

_CAMERAS = 4
"""Two for the pair, and two whose joints are the reference."""


@dataclass(frozen=True)
class SecondViewConfig:
    """What to measure."""

    folders: tuple[Path, ...]
    model: Path | None = None
    """A flow made by `trainer.export_onnx`; None for the shipped one."""
    body: Path | None = None
    """That it was trained for; the default body when None."""
    hypotheses: int = 100
    landmarks: LandmarkNetwork | None = None
    """Landmark network; None is that of `landmarks_file`, or full."""
    landmarks_file: Path | None = None
    """Local copy of a landmark network, instead of npm's heavy one."""
    every: int = 4
    """Score one instant in so many; all frames are read, because the landmark network tracks."""
    scale: float = SCALE
    """Scale of the second view's Laplace distribution, share of the person's size."""
    min_effective: float = 10.0
    """Temper the evidence until so many hypotheses are left in effect; 1 takes it at its word."""
    triangulation: TriangulationConfig = field(default_factory=TriangulationConfig)


def estimate_frames(
    camera: RigCamera, tracker: PoseTracker, estimator: FrameEstimator
) -> list[ViewEstimate | None]:
    """Estimate every frame of a camera, each for itself; None in frames without a person."""
    return [
        None if landmarks is None else estimator(landmarks, camera.intrinsics)
        for landmarks in track_landmarks(camera, tracker)
    ]


def errors(joints: Float[np.ndarray, "J 3"], target: Float[np.ndarray, "J 3"]) -> dict[str, float]:
    """Mean distances, millimetres; see the module."""
    centred = joints - joints.mean(0) + target.mean(0)
    return {
        "absolute": 1000 * float(np.linalg.norm(joints - target, axis=1).mean()),
        "relative": 1000 * float(np.linalg.norm(centred - target, axis=1).mean()),
        "aligned": 1000 * pa_mpjpe(torch.tensor(joints), torch.tensor(target)).item(),
    }


def score(
    first: ViewEstimate,
    evidence: SecondView,
    reference: dict[int, Float[np.ndarray, "3"]],
    min_effective: float,
) -> dict[str, float]:
    """Errors of one pair of cameras at one instant.

    Args:
        first: the estimate of the first camera.
        evidence: of the second camera.
        reference: by landmark, in the first camera's frame, metres.
        min_effective: as in the configuration.
    """
    target = np.stack(list(reference.values()))
    chosen = [LIMB_LANDMARKS[landmark] for landmark in reference]
    posterior = reweight(first.hypotheses, evidence, min_effective=min_effective)
    estimates = {
        "one view, best estimate": first.joints,
        "one view, mean": posterior_moments(first.hypotheses).mean,
        "two views, top": best(posterior).joints,
        "two views, mean": posterior_moments(posterior).mean,
    }
    row = {"effective": effective_sample_size(posterior)}
    for name, joints in estimates.items():
        named = errors(joints[chosen].astype(float), target)
        row |= {f"{name}: {kind}": value for kind, value in named.items()}
    every = [errors(joints[chosen].astype(float), target) for joints in first.hypotheses.joints]
    row |= {f"best possible: {kind}": min(one[kind] for one in every) for kind in every[0]}
    return row


def score_instant(
    estimates: Sequence[ViewEstimate], cameras: Sequence[RigCamera], config: SecondViewConfig
) -> list[dict[str, float]]:
    """Score all ordered pairs of one instant whose remaining cameras agree on enough joints."""
    rows = []
    for i, j in permutations(range(len(cameras)), 2):
        others = [k for k in range(len(cameras)) if k not in (i, j)]
        world = triangulate_landmarks(
            [estimates[k].landmarks for k in others],
            [cameras[k] for k in others],
            config.triangulation,
        )
        if len(world) < config.triangulation.min_joints:
            continue
        reference = {landmark: cameras[i].to_camera(point) for landmark, point in world.items()}
        T = relative_pose(cameras[i], cameras[j])
        evidence = SecondView.of(estimates[j].landmarks, cameras[j].intrinsics, T, config.scale)
        rows.append(score(estimates[i], evidence, reference, config.min_effective))
    return rows


def main(config: SecondViewConfig) -> None:
    """Print the means over all pairs and instants.

    Raises:
        PenumbraError: a recording cannot be read or has too few cameras, there is nothing to
            score, or a number is too small.
    """
    check_at_least(1, config, "every", "hypotheses")
    recordings = read_recordings(config.folders)
    if few := [one.name for one in recordings if len(one.cameras) < _CAMERAS]:
        raise PenumbraError(f"folders: {few[0]} has fewer than {_CAMERAS} cameras; leave it out.")
    tracker = open_tracker(network=named(config.landmarks, config.landmarks_file))
    body = BodyModel.load(config.body)
    estimator = FrameEstimator(FlowModel.load(config.model), body, config.hypotheses)
    rows: list[dict[str, float]] = []
    for recording in recordings:
        cameras = tqdm(recording.cameras, desc=recording.name, unit="camera")
        estimates = [estimate_frames(camera, tracker, estimator) for camera in cameras]
        for frames in recording.instants[:: config.every]:
            found = [
                one[frame] for one, frame in zip(estimates, frames, strict=True) if frame < len(one)
            ]
            complete = [one for one in found if one is not None]
            if len(complete) == len(recording.cameras):
                rows += score_instant(complete, recording.cameras, config)
    if not rows:
        raise PenumbraError(
            "folders: no instant has enough joints that the remaining cameras agree on; give"
            " recordings that show the whole person."
        )
    means = {key: round(float(np.mean([row[key] for row in rows])), 1) for key in rows[0]}
    print(json.dumps(means | {"pairs": len(rows)}, indent=2))


if __name__ == "__main__":
    start(main, SecondViewConfig)
