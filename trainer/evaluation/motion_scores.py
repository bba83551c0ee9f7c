"""Scores of a person's motion on real footage: the frames of a camera are estimated together."""

from collections.abc import Sequence
from dataclasses import dataclass

from engines.camera import Intrinsics
from engines.types import Landmarks
from trainer.estimation.motion_objective import MotionFitter, fit_track
from trainer.evaluation.view_scores import ViewSample, ViewScore, score_view


@dataclass(frozen=True)
class CameraTrack:
    """What one camera saw of a person."""

    landmarks: Sequence[Landmarks | None]
    """Of every frame."""
    camera: Intrinsics
    rate: float
    """Frames a second."""
    samples: Sequence[ViewSample]
    """Those of its frames that have a reference."""


def score_track(fit: MotionFitter, track: CameraTrack) -> list[ViewScore]:
    """Fit a person's motion and compare it with the reference."""
    estimates = fit_track(fit, track.landmarks, track.camera, track.rate)
    by_landmarks = {
        id(one): estimate for one, estimate in zip(track.landmarks, estimates, strict=True)
    }
    scored = ((by_landmarks[id(sample.landmarks)], sample) for sample in track.samples)
    return [score_view(estimate, sample) for estimate, sample in scored if estimate is not None]
