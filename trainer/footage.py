"""Score a flow on real footage: calibrated cameras around one person, one image at a time.

    python -m trainer.footage --folders ../shared/data/multiview/balancing
    ../shared/data/multiview/post_optimization

Folders as in `trainer.datasets.recordings`. Where a recording has no reference joints they are
triangulated from the landmark network's own points in all cameras: then the score says how well
depth is recovered from one image, not how good the landmarks are. Joints that fewer than two
cameras see well, or on which cameras disagree, are left out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engines.blazepose.heavy import named
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from trainer.command import start
from trainer.datasets.recordings import read_recordings
from trainer.datasets.tracked import tracked
from trainer.datasets.view_samples import view_samples, view_tracks
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.motion_objective import MotionFitter
from trainer.estimation.objectives import (
    DEFAULT_PRIOR,
    Objective,
    Starts,
    check_objective,
    open_objective,
)
from trainer.evaluation.motion_scores import CameraTrack, score_track
from trainer.evaluation.view_scores import (
    ViewScore,
    score_views,
    summarise,
    summarise_joints,
)
from trainer.multiview.triangulation import TriangulationConfig


@dataclass(frozen=True)
class FootageConfig:
    """What to score on."""

    folders: tuple[Path, ...]
    models: tuple[Path, ...] = ()
    """Exported flows to compare; the shipped one when there are none."""
    body: Path | None = None
    """That they were trained for; the default body when None."""
    hypotheses: int = 100
    fit: bool = True
    """Fit the hypotheses to the visible landmarks."""
    objective: Literal[Objective, "humor"] = "anchored"
    """Of the fit: that of the live system, one that knows no flow, or one of whole motions, of
    which recordings of 30 frames a second, or a multiple, can be had."""
    prior: str | None = None
    """Pose prior of the fit; see `trainer.fit`."""
    starts: Starts = "mean"
    """Where smplify and smplify-x begin; see `trainer.fit`."""
    landmarks: LandmarkNetwork | None = None
    """Landmark network; None is that of `landmarks_file`, or full."""
    landmarks_file: Path | None = None
    """Local copy of a landmark network, instead of npm's heavy one."""
    landmark_folder: Path | None = None
    """Keeps the landmarks that are found for another run."""
    triangulation: TriangulationConfig = field(default_factory=TriangulationConfig)


def summarise_recording(cameras: dict[str, list[ViewScore]]) -> dict[str, object]:
    """Summarise one recording: all cameras together, each camera, each joint."""
    scores = [one for camera in cameras.values() for one in camera]
    return {
        "all cameras": summarise(scores),
        "cameras": {name: summarise(camera) for name, camera in cameras.items() if camera},
        "joints": summarise_joints(scores),
    }


def open_scorer(
    config: FootageConfig, path: Path | None
) -> Callable[[CameraTrack], list[ViewScore]]:
    """Open what is scored: the flow at `path`, or an objective without one.

    Raises:
        PenumbraError: it cannot be opened.
    """
    body, model = BodyModel.load(config.body), FlowModel.load(path)
    if not config.fit:
        flow = FrameEstimator(model, body, config.hypotheses, fit=False, calibrate=False)
        return lambda track: score_views(flow, track.samples)
    if config.objective == "humor":
        motion = MotionFitter(body, model, config.hypotheses)
        return lambda track: score_track(motion, track)
    fit = open_objective(
        config.objective, config.prior, body, model, config.hypotheses, config.starts
    )
    return lambda track: score_views(lambda *one: fit([one])[0], track.samples)


def main(config: FootageConfig) -> None:
    """Print the scores of every recording and of all together, a model at a time.

    Raises:
        PenumbraError: a recording cannot be read, or has nothing to score.
    """
    check_objective(config.objective, config.prior, config.starts, config.fit)
    network = named(config.landmarks, config.landmarks_file)
    recordings: dict[str, dict[str, CameraTrack]] = {}
    for recording in read_recordings(config.folders):
        landmarks = tracked(recording, network, config.landmark_folder)
        samples = view_samples(recording, landmarks, config.triangulation)
        if not any(samples.values()):
            raise PenumbraError(
                f"folders: {recording.name} has no instant with enough joints that its cameras"
                " agree on; leave it out."
            )
        recordings[recording.name] = view_tracks(recording, landmarks, samples)
    for path in config.models or (None,):
        score = open_scorer(config, path)
        scores = {
            name: {camera: score(track) for camera, track in views.items()}
            for name, views in recordings.items()
        }
        together = [one for cameras in scores.values() for part in cameras.values() for one in part]
        report: dict[str, object] = {"model": str(path or "shipped"), "landmarks": network}
        report |= {name: getattr(config, name) for name in ("fit", "objective", "starts")}
        report["prior"] = config.prior or DEFAULT_PRIOR.get(config.objective, config.objective)
        report["all recordings"] = summarise(together)
        report |= {name: summarise_recording(cameras) for name, cameras in scores.items()}
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    start(main, FootageConfig)
