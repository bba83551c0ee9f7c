"""Motion denoising and completion: noisy or missing joints of recorded motion, fitted with a prior.

    task, windows -> measured joints -> calm motion -> fitted with each prior -> error, cm

Every prior over poses has the same solver, the same data term and the same smoothness; HuMoR, which
is a prior over motion, replaces both. The weight of a prior of poses is chosen on validation
subjects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from engines.fitting.sequences.denoise import DenoiseConfig, JointMeasurements, denoise, start_of
from engines.fitting.sequences.observations import Calm, EachFrame, JointPositions, Shape
from engines.fitting.sequences.sequence import BodySequence, SequenceResiduals
from engines.fitting.sequences.solver import solve_sequence
from engines.priors.motion.prior import MotionPrior
from engines.priors.prior import PosePrior
from engines.types import JOINT_NAMES
from trainer.priors.humor_data import MotionData

MEASURED = np.array(["hand" not in name for name in JOINT_NAMES])
"""Joints that the recordings have."""
CM = 100.0
SMOOTHNESS = "smoothness alone"
"""What the fit without a prior is called."""


@dataclass(frozen=True)
class Task:
    """What is known of a motion."""

    name: str
    noise_m: float
    """Standard deviation of each joint per axis."""
    occluded: tuple[str, ...] = ()
    """Joints of which nothing is known, and whose error counts; of all joints when empty."""

    @property
    def visible(self) -> Bool[np.ndarray, "24"]:
        """The joints that are known."""
        return MEASURED & ~self.counts if self.occluded else MEASURED

    @property
    def counts(self) -> Bool[np.ndarray, "24"]:
        """The joints whose error counts."""
        return np.isin(JOINT_NAMES, self.occluded) if self.occluded else MEASURED


DENOISING = (Task("clean", 0.0), Task("noise 4 cm", 0.04), Task("noise 10 cm", 0.1))
COMPLETION = (
    Task("leg", 0.01, ("left_knee", "left_ankle", "left_foot")),
    Task("arm and hand", 0.01, ("left_elbow", "left_wrist")),
    Task("shoulder and upper arm", 0.01, ("left_shoulder", "left_elbow")),
)


@dataclass(frozen=True)
class MotionConfig:
    """How motion is fitted."""

    frames: tuple[int, ...] = (60, 120, 240)
    windows: int = 8
    """Of each length, from test subjects."""
    validation_windows: int = 5
    weights: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Of a prior over poses in each frame, to choose from."""
    least_sigma_m: float = 0.005
    """Standard deviation that the fit takes joints to have at least."""
    smooth: Calm = field(default_factory=lambda: Calm(rest_rad=1e3))
    """Of priors over poses, which know nothing of time."""
    iterations: int = 10
    seed: int = 0


class MotionExperiment:
    """Fits windows of recorded motion."""

    def __init__(
        self,
        config: MotionConfig,
        shape: Shape,
        sole_m: Float[np.ndarray, "4"],
        priors: Mapping[str, PosePrior],
        motion: MotionPrior | None,
    ) -> None:
        """Take the rows of the table.

        Args:
            config: of the fits.
            shape: that the recordings were made with.
            sole_m: see `engines.fitting.sequences.denoise.denoise`.
            priors: over poses, by name.
            motion: HuMoR.
        """
        self._config, self._shape, self._sole_m = config, shape, sole_m
        self._priors, self._motion = priors, motion

    def choose_weights(self, validation: MotionData, task: Task) -> dict[str, float]:
        """Return the weight of each prior that is best for a task on validation subjects."""
        config = self._config
        cases = self._cases(task, validation, config.frames[0], config.validation_windows)
        best = {}
        for name, prior in self._priors.items():
            errors = [self._mean(task, cases, prior, weight) for weight in config.weights]
            best[name] = config.weights[int(np.argmin(errors))]
        return best

    def errors(
        self, test: MotionData, task: Task, frames: int, weights: Mapping[str, float]
    ) -> dict[str, float]:
        """Return each method's mean error over windows of test subjects, cm."""
        cases = self._cases(task, test, frames, self._config.windows)
        out = {SMOOTHNESS: self._mean(task, cases, None, 0.0)}
        for name, prior in self._priors.items():
            out[name] = self._mean(task, cases, prior, weights[name])
        if self._motion is not None:
            found = [self._with_motion(case.measured) for case in cases]
            pairs = zip(found, cases, strict=True)
            away = [self._distance(task, one, case.window) for one, case in pairs]
            out["humor"] = float(np.mean(away))
        return out

    def _cases(self, task: Task, data: MotionData, frames: int, count: int) -> list["_Case"]:
        """Measure windows, with the same noise for all methods, and fit what they begin with."""
        cases = []
        for number, window in enumerate(windows_of(data, frames, count, self._config.seed)):
            rng = np.random.default_rng([self._config.seed, number])
            joints = self._shape.joints(window)
            joints = joints + task.noise_m * rng.standard_normal(joints.shape)
            visible = np.broadcast_to(task.visible, joints.shape[:2]).copy()
            sigma = max(task.noise_m, self._config.least_sigma_m)
            measured = JointMeasurements(joints, visible, sigma)
            start = start_of(self._shape, measured)
            terms = (self._data(measured), Calm())
            calm = solve_sequence(start, terms, self._config.iterations).sequence
            cases.append(_Case(window, measured, calm))
        return cases

    def _data(self, measured: JointMeasurements) -> JointPositions:
        sigma = np.full(measured.visible.shape, measured.sigma)
        return JointPositions(self._shape, measured.joints, sigma, measured.visible)

    def _mean(
        self, task: Task, cases: Sequence["_Case"], prior: PosePrior | None, weight: float
    ) -> float:
        found = []
        for case in cases:
            terms: list[SequenceResiduals] = [self._data(case.measured), self._config.smooth]
            if prior is not None:
                terms.append(EachFrame(self._shape, prior, weight))
            fitted = solve_sequence(case.calm, terms, self._config.iterations).sequence
            found.append(self._distance(task, fitted, case.window))
        return float(np.mean(found))

    def _with_motion(self, measured: JointMeasurements) -> BodySequence:
        assert self._motion is not None
        count = self._config.iterations
        config = DenoiseConfig(calm_iterations=count, iterations=count)
        return denoise(self._motion, self._shape, measured, self._sole_m, config)

    def _distance(self, task: Task, found: BodySequence, window: BodySequence) -> float:
        away = self._shape.joints(found) - self._shape.joints(window)
        return CM * float(np.linalg.norm(away, axis=-1)[:, task.counts].mean())


@dataclass(frozen=True)
class _Case:
    """A window, what is known of it, and the calm motion that every method begins with."""

    window: BodySequence
    measured: JointMeasurements
    calm: BodySequence


def windows_of(data: MotionData, length: int, count: int, seed: int) -> list[BodySequence]:
    """Draw windows of recorded motion without gaps, from as many clips as possible."""
    starts = data.windows(length)
    rng = np.random.default_rng(seed)
    clips = rng.permutation(np.unique(data.clip[starts]))
    chosen = [
        int(rng.choice(starts[data.clip[starts] == clips[i % len(clips)]])) for i in range(count)
    ]
    return [data.sequence(start, length) for start in chosen]
