"""Score limbs of a real person that are behind a panel, which is rendered into the footage.

    python -m trainer.hidden_limbs --folders ../shared/data/multiview/balancing

A panel hides a forearm or a shin of the person from the first image to the last. The tracker sees
nothing else, each image is estimated by itself, as in `trainer.footage`, and two questions are
asked of the joints behind the panel: how much wider their standard deviations are than those of the
other limb joints, and how often the 90 % ellipsoid holds the reference. Only recordings with
reference joints can be scored (`trainer.datasets.recordings`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from engines.blazepose.tracker import PoseTracker, open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import JOINT_NAMES, LandmarkNetwork, Landmarks
from trainer.command import start
from trainer.data.video_reader import read_frames
from trainer.datasets.recordings import Recording, read_recordings
from trainer.datasets.view_samples import view_samples
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.evaluation.view_scores import ViewSample, ViewScore, score_views
from trainer.multiview.rig import RigCamera
from trainer.multiview.triangulation import TriangulationConfig

HIDDEN = {
    f"{side} {limb}": (JOINT_NAMES.index(f"{side}_{upper}"), JOINT_NAMES.index(f"{side}_{lower}"))
    for limb, upper, lower in (("forearm", "elbow", "wrist"), ("shin", "knee", "ankle"))
    for side in ("left", "right")
}
"""The SMPL joint numbers behind each panel."""
_COLOUR = (120, 110, 100)


@dataclass(frozen=True)
class HiddenLimbsConfig:
    """What to score on."""

    folders: tuple[Path, ...]
    models: tuple[Path, ...] = ()
    """Exported flows to compare, on the same landmarks; the shipped one when there are none."""
    body: Path | None = None
    """That they were trained for; the default body when None."""
    hypotheses: int = 100
    landmarks: LandmarkNetwork = "full"
    margin: float = 45.0
    """How far a panel reaches beyond the joints it hides, px."""


def with_panel(
    image: UInt8[np.ndarray, "h w 3"], joints_px: Float[np.ndarray, "J 2"], margin: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Copy an image and hide joints in it; where one is not known (NaN) nothing is hidden."""
    image = image.copy()
    if np.isfinite(joints_px).all():
        left, top = np.maximum(joints_px.min(0) - margin, 0).astype(int)
        right, bottom = np.maximum(joints_px.max(0) + margin, 0).astype(int)
        image[top:bottom, left:right] = _COLOUR
    return image


def hidden_samples(
    recording: Recording, limb: str, tracker: PoseTracker, margin: float
) -> dict[str, list[ViewSample]]:
    """Track the person with a limb behind a panel; samples by the name of the camera.

    Raises:
        PenumbraError: there is no reference, or a video cannot be read.
    """
    if not recording.reference:
        raise PenumbraError(
            f"folders: {recording.name} has no reference.npz; name a recording that has one."
        )
    columns = [recording.reference_joints.index(joint) for joint in HIDDEN[limb]]
    landmarks = [
        _track(camera, reference[:, columns], tracker, margin)
        for camera, reference in zip(recording.cameras, recording.reference, strict=True)
    ]
    return view_samples(recording, landmarks, TriangulationConfig())


def _track(
    camera: RigCamera, hidden: Float[np.ndarray, "F J 3"], tracker: PoseTracker, margin: float
) -> list[Landmarks | None]:
    tracker.reset()
    return [
        tracker(with_panel(image, camera.intrinsics.project(joints), margin))
        for image, joints in zip(read_frames(camera.video, "folders"), hidden, strict=False)
    ]


def summarise(scores: Sequence[ViewScore], hidden: Sequence[int]) -> dict[str, float | int]:
    """Compare the joints behind the panel with the other limb joints; means over images."""
    behind = [np.isin(one.joints, hidden) for one in scores]
    pairs = list(zip(scores, behind, strict=True))
    ratios = [one.std[rows].mean() / one.std[~rows].mean() for one, rows in pairs if rows.any()]
    inside = np.concatenate([one.inside[rows] for one, rows in pairs])
    return {
        "sigma relative to the other limbs'": round(float(np.mean(ratios)), 2),
        "inside 90 %": round(float(inside.mean()), 3),
        "images": len(ratios),
    }


def main(config: HiddenLimbsConfig) -> None:
    """Print the scores by recording, camera and limb, a model at a time.

    Raises:
        PenumbraError: a recording cannot be read, or has no reference.
    """
    tracker = open_tracker(network=config.landmarks)
    samples = {
        (recording.name, limb): hidden_samples(recording, limb, tracker, config.margin)
        for recording in read_recordings(config.folders)
        for limb in tqdm(HIDDEN, desc=recording.name, unit="limb")
    }
    body = BodyModel.load(config.body)
    for path in config.models or (None,):
        estimator = FrameEstimator(FlowModel.load(path), body, config.hypotheses)
        table = {
            f"{recording}/{camera}, {limb}": summarise(score_views(estimator, part), HIDDEN[limb])
            for (recording, limb), cameras in samples.items()
            for camera, part in cameras.items()
            if part
        }
        held = [row["inside 90 %"] for row in table.values()]
        report: dict[str, object] = {"model": str(path or "shipped"), "landmarks": config.landmarks}
        report["inside 90 %, mean"] = round(float(np.mean(held)), 3) if held else None
        print(json.dumps(report | table, indent=2))


if __name__ == "__main__":
    start(main, HiddenLimbsConfig)
