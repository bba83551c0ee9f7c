"""Estimates of single images of real footage, made as the live system does without smoothing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.blazepose.tracker import PoseTracker
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.fitting.fit import HypothesisFitter
from engines.fitting.residuals import Residuals
from engines.fitting.settings import FitConfig
from engines.flow.model import FlowModel
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import FlowOutput, open_sampler, skeleton_of
from engines.flow.statistics import joint_moments
from engines.types import Hypotheses, Landmarks
from trainer.data.video_reader import read_frames
from trainer.evaluation.triangulation import RigCamera


@dataclass(frozen=True)
class ViewEstimate:
    """What is published of one image."""

    landmarks: Landmarks
    hypotheses: Hypotheses
    """Calibrated; number 0 is the best estimate."""
    cov: Float[np.ndarray, "24 3 3"]
    """Calibrated, camera frame, square metres, the common distance apart."""
    joint_visible: Float[np.ndarray, "24"]
    """Probability that each joint is visible."""
    distance_std: float = float("nan")
    """Standard deviation of the common distance, metres."""

    @property
    def joints(self) -> Float[np.ndarray, "24 3"]:
        """Joints of the best estimate, camera frame, metres."""
        return self.hypotheses.joints[0].astype(float)


class FrameEstimator:
    """Estimates images one by one as the live system does, without its smoothing."""

    def __init__(
        self,
        model: FlowModel,
        body: BodyModel,
        num_hypotheses: int,
        fit: bool = True,
        prior: Residuals | None = None,
        config: FitConfig | None = None,
    ) -> None:
        """Open the model.

        Args:
            model: the flow, and the calibration of its fitted hypotheses.
            body: that it was trained for.
            num_hypotheses: K.
            fit: whether hypotheses are fitted to the landmarks, as the live system does by default.
            prior: of the pose, for the fit; none when None, the default of the live system.
            config: of the fit.
        """
        self._sampler = open_sampler(body, num_hypotheses, model=model)
        device = self._sampler.engine.device
        self._recalibrate = Recalibrator(skeleton_of(body), num_hypotheses, device)
        self._fit = None
        if fit:
            skeleton = skeleton_of(body)
            self._fit = HypothesisFitter(skeleton, num_hypotheses, config, device, prior)
        self._calibration = model.calibration

    def __call__(self, landmarks: Landmarks, intrinsics: Intrinsics) -> ViewEstimate:
        """Estimate the person with these landmarks."""
        samples = self.samples(landmarks, intrinsics)
        moments = joint_moments(samples.hypotheses)
        posed, cov, far = self._recalibrate.calibrated(samples, moments, self._calibration)
        return ViewEstimate(landmarks, posed.hypotheses, cov, samples.joint_visible, far)

    def samples(self, landmarks: Landmarks, intrinsics: Intrinsics) -> FlowOutput:
        """Sample bodies and fit them, unless that is switched off; they are not calibrated."""
        samples = self._sampler(landmarks, intrinsics)
        return samples if self._fit is None else self._fit(samples, landmarks, intrinsics)


def track_landmarks(camera: RigCamera, tracker: PoseTracker) -> list[Landmarks | None]:
    """Track the person through a camera's video; None in frames without one.

    Raises:
        PenumbraError: the video is missing or broken.
    """
    tracker.reset()
    return [tracker(image) for image in read_frames(camera.video, "folders")]
