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

from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, log_so3
from engines.types import Body


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

    def __init__(self, body: BodyModel, config: SmoothingConfig | None = None) -> None:
        self.config = config or SmoothingConfig()
        self._body = body
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
        now = _State(
            _rotations(best),
            best.transl.astype(float),
            best.betas.astype(float),
            t_s,
            np.zeros(24),
            0.0,
        )
        if last is None or not 0.0 <= t_s - last.t_s <= config.reset_after_s:
            self._last = now
            return best
        self._last = self._step(last, now)
        return self._to_body(self._last)

    def _step(self, last: "_State", now: "_State") -> "_State":
        config, dt = self.config, max(now.t_s - last.t_s, 1e-4)
        rotation = log_so3(np.swapaxes(last.R, -1, -2) @ now.R)
        translation = now.transl - last.transl
        gain = _gain(config.speed_cutoff, dt)
        angular_speed = np.linalg.norm(rotation, axis=-1) / dt
        angular_speed = last.angular_speed + gain * (angular_speed - last.angular_speed)
        speed = float(np.linalg.norm(translation)) / dt
        speed = last.speed + gain * (speed - last.speed)
        gain_R = _gain(config.rotation_cutoff + config.rotation_slope * angular_speed, dt)
        gain_t = _gain(config.translation_cutoff + config.translation_slope * speed, dt)
        gain_betas = 1 - math.exp(-dt / config.shape_time_constant_s)
        return _State(
            last.R @ exp_so3(gain_R[:, None] * rotation),
            last.transl + gain_t * translation,
            last.betas + gain_betas * (now.betas - last.betas),
            now.t_s,
            angular_speed,
            speed,
        )

    def _to_body(self, state: "_State") -> Body:
        rotvec, transl, betas = log_so3(state.R), state.transl, state.betas
        joints = joints_only(self._body, rotvec, betas, transl)
        return Body(rotvec[0], rotvec[1:].reshape(69), betas, transl, joints)


@dataclass(frozen=True)
class _State:
    R: Float[np.ndarray, "24 3 3"]
    transl: Float[np.ndarray, "3"]
    betas: Float[np.ndarray, "10"]
    t_s: float
    angular_speed: Float[np.ndarray, "24"]
    """Filtered, rad/s."""
    speed: float
    """Filtered, m/s."""


def _gain(cutoff_hz: float | np.ndarray, dt: float) -> np.ndarray:
    """Return the share of a step that a first-order low-pass filter takes in `dt` seconds."""
    r = 2 * np.pi * np.asarray(cutoff_hz) * dt
    return np.asarray(r / (1 + r))


def _rotations(best: Body) -> Float[np.ndarray, "24 3 3"]:
    return exp_so3(
        np.concatenate([best.global_orient[None], best.body_pose.reshape(23, 3)]).astype(float)
    )
