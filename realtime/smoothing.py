"""Temporal smoothing of the best estimate: a one-euro filter on rotations, translation and shape.

A low-pass filter whose cut-off frequency rises with speed (Casiez, Roussel and Vogel, CHI 2012)
removes jitter at rest and adds little lag in motion. It is causal and works on time stamps in
seconds, so dropped frames do no harm. Differences of rotations are taken on SO(3), along the
geodesic. The uncertainty is not filtered: the pipeline adds to it what the estimate is moved by.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.body import BodyModel
from engines.flow.sampler import skeleton_of
from engines.kernels.steps import Marks, StepPlan
from engines.types import NUM_BETAS, NUM_JOINTS, Body


@dataclass(frozen=True)
class SmoothingConfig:
    """Cut-off frequencies in Hz; slopes in Hz per (rad/s) or per (m/s)."""

    enabled: bool = True
    rotation_cutoff: float = 2.5
    rotation_slope: float = 3.0
    translation_cutoff: float = 1.0
    translation_slope: float = 3.0
    speed_cutoff: float = 2.0
    """Cut-off of the filter on the speed itself."""
    shape_time_constant_s: float = 3.0
    """Time constant of the shape, which is a constant of the person."""
    reset_after_s: float = 0.5
    """Gap between frames after which the filter starts afresh."""


class Smoother:
    """Filters the best estimates of one person, in the order of the frames."""

    def __init__(
        self, body: BodyModel, config: SmoothingConfig | None = None, plan: StepPlan | None = None
    ) -> None:
        """Begin without a frame.

        Args:
            body: of the estimates.
            config: of the filter; the default one when None.
            plan: of `smoothing_plan`, which the smoothers of one thread share; allocated when None.
        """
        self.config = config or SmoothingConfig()
        self._plan = plan or smoothing_plan(body)
        # Joint 0 of the body at rest: SMPL's `transl` is the pelvis without it.
        self._at_rest = body.J_template[0]
        self._at_rest_dirs = body.J_shapedirs[0]
        self._last: _State | None = None

    def reset(self) -> None:
        """Start afresh with the next frame."""
        self._last = None

    def __call__(self, best: Body, t_s: float) -> Body:
        """Return the filtered body.

        Args:
            best: this frame's estimate.
            t_s: time of the frame, seconds; the filter starts afresh where it runs backwards.
        """
        config, last = self.config, self._last
        if not config.enabled:
            return best
        if last is None or not 0.0 <= t_s - last.t_s <= config.reset_after_s:
            self._last = _State(best, t_s, np.zeros(NUM_JOINTS), 0.0)
            return best
        self._last = self._step(last, best, t_s)
        return self._last.body

    def _step(self, last: "_State", now: Body, t_s: float) -> "_State":
        config, dt = self.config, max(t_s - last.t_s, 1e-4)
        rotation = self._rotation(last.body, now)
        translation = now.transl - last.body.transl
        gain = _gain(config.speed_cutoff, dt)
        angular_speed = np.sqrt((rotation * rotation).sum(-1)) / dt
        angular_speed = last.angular_speed + gain * (angular_speed - last.angular_speed)
        speed = math.hypot(*translation) / dt
        speed = last.speed + gain * (speed - last.speed)
        gain_R = _gain(config.rotation_cutoff + config.rotation_slope * angular_speed, dt)
        gain_t = _gain(config.translation_cutoff + config.translation_slope * speed, dt)
        gain_betas = 1 - math.exp(-dt / config.shape_time_constant_s)
        moved = self._moved(
            last.body,
            gain_R[:, None] * rotation,
            gain_betas * (now.betas - last.body.betas),
            gain_t * translation,
        )
        return _State(moved, t_s, angular_speed, speed)

    def _rotation(self, last: Body, now: Body) -> Float[np.ndarray, "24 3"]:
        """Load both bodies into the plan; return log(R_last^T R_now) of each joint."""
        bodies = (last, now)
        rotvec = [np.append(body.global_orient, body.body_pose) for body in bodies]
        self._plan.load(
            np.array(rotvec, np.float32).reshape(2, NUM_JOINTS, 3),
            np.array([body.betas for body in bodies], np.float32),
            np.array([body.transl + self._rest(body.betas) for body in bodies], np.float32),
        )
        return self._plan.steps_from_first()[1, : 3 * NUM_JOINTS].reshape(NUM_JOINTS, 3)

    def _rest(self, betas: Float[np.ndarray, "10"]) -> Float[np.ndarray, "3"]:
        return self._at_rest + self._at_rest_dirs @ betas

    def _moved(
        self,
        last: Body,
        rotation: Float[np.ndarray, "24 3"],
        betas: Float[np.ndarray, "10"],
        transl: Float[np.ndarray, "3"],
    ) -> Body:
        """Return the first of the loaded bodies after a step."""
        step = np.zeros((2, 3 * NUM_JOINTS + NUM_BETAS + 3), np.float32)
        pelvis = transl + self._at_rest_dirs @ betas
        step[0] = np.concatenate([rotation.ravel(), betas, pelvis])
        self._plan.move(step, _FIRST)
        after = self._plan.bodies()
        rotvec = after.rotvec[0].astype(float)
        return Body(
            rotvec[0],
            rotvec[1:].ravel(),
            last.betas + betas,
            last.transl + transl,
            after.joints[0].astype(float),
        )


def smoothing_plan(body: BodyModel) -> StepPlan:
    """Allocate what smoothers of a body compute with."""
    return StepPlan(skeleton_of(body), 2, Marks((), ()))


@dataclass(frozen=True)
class _State:
    body: Body
    """Filtered."""
    t_s: float
    angular_speed: Float[np.ndarray, "24"]
    """Filtered, rad/s."""
    speed: float
    """Filtered, m/s."""


_FIRST = np.array([True, False])


def _gain(cutoff_hz: float | np.ndarray, dt: float) -> np.ndarray:
    """Return the share of a step that a first-order low-pass filter takes in `dt` seconds."""
    r = 2 * np.pi * np.asarray(cutoff_hz) * dt
    return np.asarray(r / (1 + r))
