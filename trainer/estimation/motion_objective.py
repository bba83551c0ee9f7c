"""The objective `humor`: the frames of one person together, from the anchored fit of each.

Every frame is estimated by itself as the live system does. Its best body is where the motion begins
and is held as firmly as its hypotheses agree. Motions are fitted in windows that overlap. What a
fit leaves open (`engines.fitting.sequences.covariance`) is the covariance of its joints, widened by
a factor that footage gave; each frame's hypotheses move with its best body, and to this covariance.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.circumstances import ImageFactor
from engines.covariance import chi_square_3
from engines.errors import PenumbraError
from engines.fitting.bodies import (
    Bodies,
    bodies_of,
    hypotheses_of,
    joined,
    steps_from_first,
    take,
)
from engines.fitting.bodies import moved as moved_bodies
from engines.fitting.observation import LANDMARKS, observe
from engines.fitting.sequences.denoise import split_windows
from engines.fitting.sequences.floor import FEET
from engines.fitting.sequences.sequence import FEWEST_FRAMES
from engines.fitting.sequences.video import UPRIGHT, fit_video
from engines.fitting.settings import WITHOUT_HEATMAPS
from engines.flow.model import FlowModel
from engines.flow.recalibrate import Recalibrator
from engines.flow.sampler import FlowOutput, skeleton_of
from engines.flow.statistics import entropy, joint_moments
from engines.priors.motion.layout import FPS
from engines.priors.motion.prior import MotionPrior
from engines.rotations import log_so3
from engines.types import NUM_JOINTS, JointMoments, Landmarks, World
from engines.uncertainty import CovarianceCalibration
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.prediction import Prediction, ViewEstimate

_WINDOW = 60
_OVERLAP = 10
_RATE_ERROR = 0.15
_SUREST_RAD = 0.02
WIDENING = 3.3
"""Factor on the standard deviations that a fit predicts of itself. It takes the errors of landmarks
in successive frames for independent, which they are not. With it 90 % ellipsoids hold 90 % on the
balancing man's cam02; those of 50, 68, 90 and 95 % hold 55, 72, 94 and 97 % on cam04, which was not
used (both networks, every other frame)."""
Moment = tuple[float, Landmarks, Intrinsics, World | None]
"""A person in a frame: its time in seconds, the landmarks, the camera, where the camera stands."""


class MotionFitter:
    """Fits the motion of one person after the other."""

    def __init__(
        self, body: BodyModel, model: FlowModel, hypotheses: int, calibrate: bool = True
    ) -> None:
        """Open the flow and the motion prior; `calibrate` says whether covariances are widened."""
        self._estimator = FrameEstimator(model, body, hypotheses, calibrate=calibrate)
        self.calibration = widened(WIDENING) if calibrate else None
        self._recalibrate = Recalibrator(skeleton_of(body), hypotheses)
        self._skeleton = skeleton_of(body)
        self._prior = MotionPrior.load()
        lowest = float(body.full.v_template[:, 1].min())
        self._sole_m = body.J_template[list(FEET), 1].astype(np.float64) - lowest
        self._config = WITHOUT_HEATMAPS

    def __call__(self, moments: Sequence[Moment]) -> list[ViewEstimate]:
        """Fit successive frames of one person, at 30 a second.

        Fewer than three frames are no motion: they stay as they are estimated one by one.

        Raises:
            PenumbraError: there are far more or fewer frames a second.
        """
        check_rate(np.array([time for time, *_ in moments]))
        samples = [self._estimator.samples(one, camera) for _, one, camera, _ in moments]
        drawn = zip(moments, samples, strict=True)
        estimates = [self._estimator.estimate(landmarks, one) for (_, landmarks, *_), one in drawn]
        if len(moments) < FEWEST_FRAMES:
            return estimates
        bodies = [bodies_of(self._skeleton, one.hypotheses) for one in samples]
        turns = np.stack([_spread(one) for one in bodies])
        limbs = [self._limbs(m, one) for m, one in zip(moments, samples, strict=True)]
        rays, sigma = (np.stack(part) for part in zip(*limbs, strict=True))
        start = [take(one, slice(1)) for one in bodies]
        world = moments[0][3]
        R_world_cam = UPRIGHT if world is None else world.T_world_cam[:3, :3].astype(np.float64)
        fitted: dict[int, tuple[Bodies, JointMoments]] = {}
        for window in split_windows(len(moments), _WINDOW, _OVERLAP):
            found = fit_video(
                *(self._prior, self._skeleton, joined(start[window])),
                *(rays[window], sigma[window], turns[window], self._sole_m, R_world_cam),
            )
            middle = window.start + (_OVERLAP // 2 if window.start else 0)
            for frame in range(middle, window.stop):
                at = frame - window.start
                fitted[frame] = take(found.bodies, slice(at, at + 1)), found.moments[at]
        parts = zip(samples, estimates, strict=True)
        return [self._carried(*part, *fitted[i]) for i, part in enumerate(parts)]

    def _limbs(
        self, moment: Moment, samples: FlowOutput
    ) -> tuple[Float[np.ndarray, "12 2"], Float[np.ndarray, "12"]]:
        """Limb landmarks on the plane z = 1 and their sigma, infinite where nothing is seen."""
        _, landmarks, camera, _ = moment
        config = self._config
        seen = observe(landmarks, camera, samples.view, config)
        rays, sigma = np.zeros((len(LANDMARKS), 2)), np.full(len(LANDMARKS), np.inf)
        rays[seen.index], sigma[seen.index] = seen.rays, seen.sigma
        return rays, sigma

    def _carried(
        self, samples: FlowOutput, estimate: ViewEstimate, best: Bodies, moments: JointMoments
    ) -> ViewEstimate:
        """Move a frame's hypotheses as its best body has been moved, and to its covariance."""
        drawn = estimate.hypotheses
        steps = steps_from_first(bodies_of(self._skeleton, drawn))
        repeated = joined([best] * len(steps))
        bodies = moved_bodies(self._skeleton, repeated, steps.astype(np.float64))
        hypotheses = hypotheses_of(self._skeleton, bodies, drawn.log_q, drawn.weights)
        predicted = Prediction(
            *(estimate.landmarks, hypotheses, moments, estimate.joint_visible),
            *(entropy(samples.hypotheses), samples.half_size),
        )
        cov, distance_std = predicted.covariances(self.calibration)
        here = joint_moments(hypotheses)
        moved = self._recalibrate(hypotheses, here, cov, distance_std).hypotheses
        return ViewEstimate(estimate.landmarks, moved, cov, estimate.joint_visible, distance_std)


def is_motion(rate: float) -> bool:
    """Whether a video of so many frames a second, or parts of it, has the rate of the prior."""
    return abs(rate / (max(round(rate / FPS), 1) * FPS) - 1.0) <= _RATE_ERROR


def fit_track(
    fit: Callable[[Sequence[Moment]], list[ViewEstimate]],
    landmarks: Sequence[Landmarks | None],
    camera: Intrinsics,
    rate: float,
) -> list[ViewEstimate | None]:
    """Fit a person who is followed by one camera, who may be missing in some frames.

    Of a faster video every second frame, every third, ... are motions of their own, so that each
    has about 30 frames a second.

    Args:
        fit: of motions.
        landmarks: of every frame.
        camera: that all frames are from.
        rate: frames a second.

    Raises:
        PenumbraError: no such part has the rate that the prior knows.
    """
    apart = max(round(rate / FPS), 1)
    found: list[ViewEstimate | None] = [None] * len(landmarks)
    for first in range(apart):
        run: list[int] = []
        for frame in (*range(first, len(landmarks), apart), None):
            if frame is not None and landmarks[frame] is not None:
                run.append(frame)
            elif run:
                moments = [
                    (i / rate, one, camera, None) for i in run if (one := landmarks[i]) is not None
                ]
                for i, estimate in zip(run, fit(moments), strict=True):
                    found[i] = estimate
                run = []
    return found


def widened(factor: float) -> CovarianceCalibration:
    """Return a calibration that multiplies all standard deviations by a factor."""
    levels = np.array([0.5, 0.68, 0.9, 0.95])
    normal = np.array([chi_square_3(level) for level in levels])
    return CovarianceCalibration(
        visible=np.full((NUM_JOINTS, 2), factor),
        occluded=np.full((NUM_JOINTS, 2), factor),
        image_factor=ImageFactor(*4 * ((0.0, 0.0, 0.0, 0.0),), heavy=0.0),
        distance=factor,
        radii=np.column_stack([levels, normal, normal]),
        data="the balancing man's cam02, both landmark networks, 30 frames a second",
    )


def check_rate(times: Float[np.ndarray, "T"]) -> None:
    """Refuse motion at another rate than that of the prior.

    Raises:
        PenumbraError: it is.
    """
    if len(times) < FEWEST_FRAMES:
        return
    rate = 1.0 / max(float(np.median(np.diff(times))), 1e-6)
    if abs(rate / FPS - 1.0) > _RATE_ERROR:
        raise PenumbraError(
            f"source: it has {rate:.0f} frames a second, and humor knows motion at {FPS:.0f};"
            " convert it, or take another objective."
        )


def _spread(bodies: Bodies) -> Float[np.ndarray, "24"]:
    """Standard deviation of each joint's rotation around that of the best body, radians."""
    turns = log_so3(bodies.R[:1].swapaxes(-1, -2) @ bodies.R)
    return np.maximum(np.sqrt((turns.astype(np.float64) ** 2).mean((0, 2))), _SUREST_RAD)
