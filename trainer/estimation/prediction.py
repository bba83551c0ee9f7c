"""What is known of a person before it is calibrated, and the step from there to an estimate.

Whatever predicts covariances has a calibration of its own, made by `trainer.calibrate` and
`calib.uncertainty`: the flow that of its record, the fits to landmarks alone those that
`shipped_calibration` reads.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engines.camera import Intrinsics
from engines.flow.recalibrate import Recalibrator
from engines.types import Hypotheses, JointMoments, Landmarks
from engines.uncertainty import CovarianceCalibration

People = Sequence[tuple[Landmarks, Intrinsics]]
TOGETHER = 16
"""How many images a predictor is given at a time; it fits them all at once."""


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


@dataclass(frozen=True)
class Prediction:
    """One person in one image, not calibrated."""

    landmarks: Landmarks
    hypotheses: Hypotheses
    moments: JointMoments
    """Of the joints."""
    joint_visible: Float[np.ndarray, "24"]
    """Probability that each joint is visible."""
    entropy: float
    """Of the posterior over bodies, nats."""
    half_size: float
    """Half the person's size on the plane z = 1."""

    @property
    def heavy(self) -> bool:
        """Whether the heavy network found the landmarks."""
        return self.landmarks.network == "heavy"

    def calibrated(
        self, calibration: CovarianceCalibration | None, recalibrate: Recalibrator
    ) -> ViewEstimate:
        """Apply a calibration to covariances and hypotheses; None leaves them as they are."""
        hypotheses, (cov, distance_std) = self.hypotheses, self.covariances(calibration)
        if calibration is not None:
            hypotheses = recalibrate(hypotheses, self.moments, cov, distance_std).hypotheses
        return ViewEstimate(self.landmarks, hypotheses, cov, self.joint_visible, distance_std)

    def covariances(
        self, calibration: CovarianceCalibration | None
    ) -> tuple[Float[np.ndarray, "24 3 3"], float]:
        """Return covariances and the standard deviation of the distance, calibrated."""
        if calibration is None:
            return self.moments.cov.astype(float), self.moments.distance_std
        return calibration.apply_to_person(
            self.moments, self.joint_visible, self.entropy, self.half_size, self.heavy
        )


@runtime_checkable
class Predictor(Protocol):
    """What predicts people in their images."""

    def predictions(self, people: People) -> list[Prediction]:
        """Predict, each person alone."""
        ...


def shipped_calibration(objective: str, starts: str) -> CovarianceCalibration | None:
    """Read the calibration of a fit to landmarks; None where none was made."""
    file = files("engines") / "assets" / "calibration" / f"{objective}_{starts}.json"
    if not file.is_file():
        return None
    return CovarianceCalibration.from_json(json.loads(file.read_text())["calibration"])
