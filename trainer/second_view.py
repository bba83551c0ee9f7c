"""What a second camera is worth as evidence, on real footage: hypotheses of one view, landmarks of
another.

    python -m trainer.second_view --folders RECORDING [RECORDING ...]

Every ordered pair of cameras of a rig: hypotheses are drawn from the first picture alone and
reweighted by the landmarks of the second. The reference is triangulated from the *other* cameras,
so that evidence and reference share no picture (they share the landmark network and its habits).
Nothing is turned or scaled: errors are in the first camera's frame as they are ("absolute"), after
the means of the scored joints are put together ("relative"), and, to compare, after Procrustes
alignment ("aligned"). Folders as in `trainer.footage`.
"""

import json
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.evidence.evidence import best, effective_sample_size, posterior_moments, reweight
from engines.evidence.second_view import SCALE, SecondView
from engines.flow.model import FlowModel
from engines.types import LIMB_LANDMARKS
from trainer.command import start
from trainer.evaluation.metrics import pa_mpjpe
from trainer.footage import FootageConfig, Look, Looker, View, read_rig, reference, watch


@dataclass(frozen=True)
class SecondViewConfig:
    """What to measure."""

    folders: tuple[Path, ...]
    model: Path | None = None
    """A flow made by `trainer.export_onnx`; None for the shipped one."""
    body: Path | None = None
    """That it was trained for; the default body when None."""
    hypotheses: int = 100
    every: int = 4
    """Score one instant in so many; all frames are looked at, because the landmark network
    tracks.
    """
    scale: float = SCALE
    """Of the second view's Laplace distribution, share of the person's size."""
    min_effective: float = 10.0
    """Temper the evidence until so many hypotheses are left in effect; 1 takes it at its word."""
    min_joints: int = 5


def draw(view: View, tracker: PoseTracker, looker: Looker) -> list[Look | None]:
    """Hypotheses of every frame of a view, each for itself."""
    found = watch(view, tracker)
    return [
        looker(landmarks, view.intrinsics) if landmarks is not None else None for landmarks in found
    ]


def between(first: View, second: View) -> Float[np.ndarray, "4 4"]:
    """T_second_first of two calibrated cameras."""
    T = np.eye(4)
    T[:3, :3] = second.R @ first.R.T
    T[:3, 3] = second.t - T[:3, :3] @ first.t
    return T


def errors(joints: Float[np.ndarray, "J 3"], truth: Float[np.ndarray, "J 3"]) -> dict[str, float]:
    """Mean distances, millimetres; see the module."""
    centred = joints - joints.mean(0) + truth.mean(0)
    return {
        "absolute": 1000 * float(np.linalg.norm(joints - truth, axis=1).mean()),
        "relative": 1000 * float(np.linalg.norm(centred - truth, axis=1).mean()),
        "aligned": 1000 * pa_mpjpe(torch.tensor(joints), torch.tensor(truth)).item(),
    }


def score(
    first: Look,
    evidence: SecondView,
    truth: dict[int, Float[np.ndarray, "3"]],
    min_effective: float,
) -> dict[str, float]:
    """Errors of one pair at one instant; `truth` by landmark, in the first camera's frame,
    metres.
    """
    target = np.stack(list(truth.values()))
    chosen = [LIMB_LANDMARKS[landmark] for landmark in truth]
    posterior = reweight(first.hypotheses, evidence, min_effective=min_effective)
    estimates = {
        "one view, centre": first.joints,
        "one view, mean": posterior_moments(first.hypotheses).mean,
        "two views, top": best(posterior).joints,
        "two views, mean": posterior_moments(posterior).mean,
    }
    row = {"effective": effective_sample_size(posterior)}
    for name, joints in estimates.items():
        row |= {f"{name}: {kind}": value for kind, value in errors(joints[chosen], target).items()}
    every = [errors(joints[chosen].astype(float), target) for joints in first.hypotheses.joints]
    row |= {f"best possible: {kind}": min(one[kind] for one in every) for kind in every[0]}
    return row


def score_instant(
    looks: list[Look], views: list[View], config: SecondViewConfig
) -> list[dict[str, float]]:
    """All ordered pairs of one instant whose remaining cameras see enough."""
    rows, limits = [], FootageConfig(config.folders, min_joints=config.min_joints)
    for i, j in permutations(range(len(views)), 2):
        others = [k for k in range(len(views)) if k not in (i, j)]
        world = reference([looks[k] for k in others], [views[k] for k in others], limits)
        if len(world) < config.min_joints:
            continue
        truth = {landmark: views[i].R @ point + views[i].t for landmark, point in world.items()}
        T = between(views[i], views[j])
        evidence = SecondView.of(looks[j].landmarks, views[j].intrinsics, T, config.scale)
        rows.append(score(looks[i], evidence, truth, config.min_effective))
    return rows


def main(config: SecondViewConfig) -> None:
    """Print the means over all pairs and instants.

    Raises:
        PenumbraError: if there is nothing to score.
    """
    tracker = open_tracker()
    looker = Looker(FlowModel.load(config.model), BodyModel.load(config.body), config.hypotheses)
    rows: list[dict[str, float]] = []
    for folder in config.folders:
        views, instants = read_rig(folder)
        drawn = [draw(view, tracker, looker) for view in tqdm(views, desc=folder.name, unit="view")]
        for frames in instants[:: config.every]:
            looks = [
                drawn[i][frame] if frame < len(drawn[i]) else None
                for i, frame in sorted(frames.items())
            ]
            there = [one for one in looks if one is not None]
            if len(there) == len(views):
                rows += score_instant(there, views, config)
    if not rows:
        raise PenumbraError(
            "--folders: no instant has enough joints that the remaining views agree on."
        )
    means = {key: round(float(np.mean([row[key] for row in rows])), 1) for key in rows[0]}
    print(json.dumps(means | {"pairs": len(rows)}, indent=2))


if __name__ == "__main__":
    start(main, SecondViewConfig)
