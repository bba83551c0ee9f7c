"""SMPLify and SMPLify-X from people in their images to estimates, calibrated where it was measured.

landmarks -> starts -> bodies -> what is left open -> hypotheses -> calibration
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from engines.fitting.bodies import Bodies, bodies_of, hypotheses_of, joined
from engines.fitting.initial import hypothesis_starts
from engines.fitting.observation import limbs_of
from engines.fitting.smplify import BodyFitter
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import features_of
from engines.kernels import Skeleton
from engines.types import LIMB_LANDMARKS, NUM_JOINTS
from engines.uncertainty import CovarianceCalibration
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.prediction import People, Prediction, ViewEstimate

SEED = 19420718
FLOW_STARTS = 6
"""Bodies that a fit begins with for each person, the best estimate and its flip among them."""
_OTHERS = {12: 0, 15: 0, 22: 19, 23: 20, 10: 31, 11: 32}
"""Landmarks near joints that are no limb's: nose, index fingers, toes."""
_TORSO = (11, 12, 23, 24)


class LandmarkFitter:
    """Fits bodies to landmarks, and draws hypotheses from what is left open."""

    def __init__(
        self,
        fitter: BodyFitter,
        hypotheses: int,
        starts: Callable[[People], Bodies] | None = None,
        calibration: CovarianceCalibration | None = None,
    ) -> None:
        """Take the parts.

        Args:
            fitter: of bodies.
            hypotheses: K, in every estimate.
            starts: where it begins, as many for each person; at the mean pose when None.
            calibration: of its covariances; none when None.
        """
        self._fitter, self._hypotheses = fitter, hypotheses
        self._starts = starts
        self.calibration = calibration
        self._recalibrate = Recalibrator(fitter.skeleton, hypotheses)

    def __call__(self, people: People) -> list[ViewEstimate]:
        """Fit people."""
        return [
            one.calibrated(self.calibration, self._recalibrate) for one in self.predictions(people)
        ]

    def predictions(self, people: People) -> list[Prediction]:
        """Fit people without the calibration: covariances are Laplace's."""
        fitter = self._fitter
        starts = None if self._starts is None else self._starts(people)
        found = fitter(limbs_of(people, fitter.config.landmarks), starts)
        weights = np.full(self._hypotheses, 1.0 / self._hypotheses)
        predictions = []
        for image, (landmarks, intrinsics) in enumerate(people):
            rng = np.random.default_rng(SEED)  # whoever else is fitted beside
            bodies, log_q = found.sample(image, self._hypotheses, rng)
            _, view = features_of(landmarks, intrinsics, "landmarks_2d")
            predictions.append(
                Prediction(
                    landmarks=landmarks,
                    hypotheses=hypotheses_of(fitter.skeleton, bodies, log_q, weights),
                    moments=found.moments(image),
                    joint_visible=joint_visibility(landmarks.visibility),
                    entropy=found.entropy(image),
                    half_size=float(view.half_size),
                )
            )
        return predictions


def flow_starts(
    estimator: FrameEstimator, skeleton: Skeleton, count: int = FLOW_STARTS
) -> Callable[[People], Bodies]:
    """Begin with the flow's hypotheses, fitted to the landmarks, and the flip of the best one."""

    def starts(people: People) -> Bodies:
        drawn = (estimator.samples(*one).hypotheses for one in people)
        return joined(
            [hypothesis_starts(skeleton, bodies_of(skeleton, one), count) for one in drawn]
        )

    return starts


def joint_visibility(visibility: Float[np.ndarray, "33"]) -> Float[np.ndarray, "24"]:
    """Return the landmark network's visibility of joints; that of the torso where it has none."""
    near = {joint: landmark for landmark, joint in LIMB_LANDMARKS.items()} | _OTHERS
    joints = np.full(NUM_JOINTS, visibility[list(_TORSO)].mean())
    joints[list(near)] = visibility[list(near.values())]
    return joints
