"""Hold the best estimate still while the person does: a one-euro filter on rotations, place and
shape.

The filter is causal, and it knows time in seconds, not in frames, so a dropped frame changes
nothing. It never touches the uncertainty, which is that of the frame alone. The rule (Casiez,
Roussel and Vogel, CHI 2012): a low-pass filter whose cut-off frequency rises with speed, so that
rest is calm and motion is prompt. For rotations the difference is taken on SO(3), along the
geodesic.
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
    rotation_cutoff: float = 1.5
    rotation_slope: float = 1.2
    place_cutoff: float = 1.0
    place_slope: float = 3.0
    speed_cutoff: float = 1.0
    """Of the low-pass filter on the speed itself."""
    shape_seconds: float = 3.0
    """Time constant of the shape: a body does not change."""
    forget_after_s: float = 0.5
    """A gap longer than this starts afresh."""


class Smoother:
    """Call it with each frame's best estimate in turn."""

    def __init__(self, body: BodyModel, config: SmoothingConfig | None = None) -> None:
        self.config = config or SmoothingConfig()
        self._body = body
        self._last: _State | None = None

    def reset(self) -> None:
        """Forget the person."""
        self._last = None

    def __call__(self, best: Body, t_s: float) -> Body:
        """The filtered body.

        Args:
            best: this frame's estimate.
            t_s: when the picture was taken, seconds; must not run backwards.
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
        if last is None or not 0.0 <= t_s - last.t_s <= config.forget_after_s:
            self._last = now
            return best
        self._last = self._step(last, now)
        return self._to_body(self._last)

    def _step(self, last: "_State", now: "_State") -> "_State":
        config, dt = self.config, max(now.t_s - last.t_s, 1e-4)
        turn = log_so3(np.swapaxes(last.R, -1, -2) @ now.R)
        move = now.transl - last.transl
        keep = _share(config.speed_cutoff, dt)
        turning = last.turning + keep * (np.linalg.norm(turn, axis=-1) / dt - last.turning)
        moving = last.moving + keep * (float(np.linalg.norm(move)) / dt - last.moving)
        share_R = _share(config.rotation_cutoff + config.rotation_slope * turning, dt)
        share_t = _share(config.place_cutoff + config.place_slope * moving, dt)
        R = last.R @ exp_so3(share_R[:, None] * turn)
        betas = last.betas + (1 - math.exp(-dt / config.shape_seconds)) * (now.betas - last.betas)
        return _State(R, last.transl + share_t * move, betas, now.t_s, turning, moving)

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
    turning: Float[np.ndarray, "24"]
    """Filtered angular speed, rad/s."""
    moving: float
    """Filtered speed, m/s."""


def _share(cutoff_hz: float | np.ndarray, dt: float) -> np.ndarray:
    """How much of a step a first-order low-pass filter takes in `dt` seconds."""
    r = 2 * np.pi * np.asarray(cutoff_hz) * dt
    return r / (1 + r)


def _rotations(best: Body) -> Float[np.ndarray, "24 3 3"]:
    return exp_so3(
        np.concatenate([best.global_orient[None], best.body_pose.reshape(23, 3)]).astype(float)
    )
