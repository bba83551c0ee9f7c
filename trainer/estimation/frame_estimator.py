"""Estimates of single images of real footage, made as the live system does without smoothing."""

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.fitting.fit import HypothesisFitter
from engines.fitting.residuals import Residuals
from engines.fitting.settings import FitConfig
from engines.flow.model import FlowModel
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import FlowOutput, open_sampler, skeleton_of
from engines.flow.statistics import entropy, joint_moments
from engines.types import Landmarks
from trainer.estimation.prediction import People, Prediction, ViewEstimate


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
        calibrate: bool = True,
    ) -> None:
        """Open the model.

        Args:
            model: the flow, and the calibration of its fitted hypotheses.
            body: that it was trained for.
            num_hypotheses: K.
            fit: whether hypotheses are fitted to the landmarks, as the live system does by default.
            prior: of the pose, for the fit; none when None, the default of the live system.
            config: of the fit.
            calibrate: whether the model's calibration is applied, which is that of fitted
                hypotheses.
        """
        assert fit or (prior is None and config is None), "prior, config: are those of a fit"
        self._sampler = open_sampler(body, num_hypotheses, model=model)
        device = self._sampler.engine.device
        self._recalibrate = Recalibrator(skeleton_of(body), num_hypotheses, device)
        self._fit = None
        if fit:
            skeleton = skeleton_of(body)
            self._fit = HypothesisFitter(skeleton, num_hypotheses, config, device, prior)
        self.calibration = model.calibration if calibrate else None

    def __call__(
        self, landmarks: Landmarks, intrinsics: Intrinsics, quarters: int = 0
    ) -> ViewEstimate:
        """Estimate the person with these landmarks.

        Args:
            landmarks, intrinsics, quarters: as `engines.flow.sampler.Sampler` has them.
        """
        return self.estimate(landmarks, self.samples(landmarks, intrinsics, quarters))

    def estimate(self, landmarks: Landmarks, samples: FlowOutput) -> ViewEstimate:
        """Estimate the person with these landmarks from what `samples` returned for them."""
        return _prediction(landmarks, samples).calibrated(self.calibration, self._recalibrate)

    def predictions(self, people: People) -> list[Prediction]:
        """Estimate people without the calibration."""
        return [
            _prediction(landmarks, self.samples(landmarks, camera)) for landmarks, camera in people
        ]

    def samples(
        self, landmarks: Landmarks, intrinsics: Intrinsics, quarters: int = 0
    ) -> FlowOutput:
        """Sample bodies and fit them, unless that is switched off; they are not calibrated."""
        samples = self._sampler(landmarks, intrinsics, quarters)
        return samples if self._fit is None else self._fit(samples, landmarks, intrinsics)


def _prediction(landmarks: Landmarks, samples: FlowOutput) -> Prediction:
    drawn = samples.hypotheses
    moments, nats = joint_moments(drawn), entropy(drawn)
    return Prediction(*(landmarks, drawn, moments, samples.joint_visible, nats, samples.half_size))
