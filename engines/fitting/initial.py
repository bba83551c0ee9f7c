"""Where a fit begins that knows nothing but landmarks: before the camera, turned as the torso is.

As SMPLify begins (Bogo et al., Keep it SMPL, 2016, section 3.3): the distance is that at which the
mean body's torso is as long as in the image; then orientation and position alone follow shoulders
and hips, here from four sides, of which the best is kept; and since front and back of a torso look
alike, the body that is turned by half a turn about its own axis is the second start. Where
hypotheses are at hand, they and the flip of the best one are the starts.
"""

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, pose, take
from engines.fitting.charts import Turns
from engines.fitting.observation import JOINTS
from engines.fitting.residuals import LandmarkResiduals
from engines.fitting.solver import solve
from engines.kernels import Skeleton
from engines.types import NUM_BETAS

STARTS = 2
_TORSO = np.array([0, 1, 6, 7])
"""Left and right shoulder, left and right hip among `observation.LANDMARKS`."""
_SIDES = 4
_ITERATIONS = 8
_TURN_RAD = 1.0
_SHIFT_M = 1.0
_FIXED = 1e-4
"""Standard deviation of what does not move."""
_SIGMA = 0.1
"""Of shoulders and hips at the start, in torso lengths: only one pose of the limbs is tried."""


def torso_starts(
    skeleton: Skeleton, R: Float[np.ndarray, "24 3 3"], rays: Float[np.ndarray, "B 12 2"]
) -> Bodies:
    """Place the mean shape in front of the camera, `STARTS` times for each image.

    Args:
        skeleton: of the bodies.
        R: the pose to begin with; its root counts for nothing.
        rays: limb landmarks on the plane z = 1, as in `observation.LANDMARKS`.

    Returns:
        The bodies of image 0, those of image 1, ...
    """
    torso = rays[:, _TORSO]
    mean = pose(skeleton, R[None], np.zeros((1, NUM_BETAS)), np.zeros((1, 3)))
    length = np.linalg.norm(_spine(torso), axis=-1).clip(1e-3)
    distance = np.linalg.norm(_spine(mean.joints[:, JOINTS[_TORSO]]), axis=-1) / length
    upright = _upright(_spine(torso))  # (B, 3, 3)
    roots = upright[:, None] @ _about_own_axis(_SIDES)  # (B, sides, 3, 3)
    middle = np.concatenate([torso[:, 2:].mean(1), np.ones((len(rays), 1))], -1)
    start = _placed(skeleton, R, roots, middle * distance[:, None])
    sigma = np.repeat(_SIGMA * length, _SIDES)[:, None] * np.ones(len(_TORSO))
    target = np.repeat(torso, _SIDES, 0)
    landmarks = LandmarkResiduals(skeleton, JOINTS[_TORSO], target, sigma, 3.0)
    scale = np.full(DIM, _FIXED)
    scale[:3] = _TURN_RAD
    scale[-3:] = _SHIFT_M
    found = solve(Turns(skeleton, start), Anchor(np.diag(scale**2)), [landmarks], _ITERATIONS)
    best = np.arange(len(rays)), found.cost.reshape(-1, _SIDES).argmin(1)
    roots, pelvis = (
        part.reshape(len(rays), _SIDES, *part.shape[1:])[best]
        for part in (found.bodies.R[:, 0], found.bodies.pelvis)
    )
    return _placed(skeleton, R, roots[:, None] @ _about_own_axis(STARTS), pelvis)


def hypothesis_starts(skeleton: Skeleton, hypotheses: Bodies, count: int) -> Bodies:
    """Begin with the hypotheses of an image: number 0, its flip, and those that follow.

    Args:
        skeleton: of the bodies.
        hypotheses: at least `count` - 1, the best one first.
        count: of the starts, at least `STARTS`.
    """
    first, rest = take(hypotheses, slice(1)), take(hypotheses, slice(1, count - 1))
    flipped = first.R.copy()
    flipped[:, 0] = first.R[:, 0] @ _about_own_axis(STARTS)[1]
    R, betas, pelvis = (
        np.concatenate(parts).astype(np.float64)
        for parts in (
            (first.R, flipped, rest.R),
            (first.betas, first.betas, rest.betas),
            (first.pelvis, first.pelvis, rest.pelvis),
        )
    )
    return pose(skeleton, R, betas, pelvis)


def _spine(torso: Float[np.ndarray, "*B 4 N"]) -> Float[np.ndarray, "*B N"]:
    """Return the way from the middle of the hips to that of the shoulders."""
    return torso[..., :2, :].mean(-2) - torso[..., 2:, :].mean(-2)


def _upright(up: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, "B 3 3"]:
    """Return the orientation of a body that faces the camera, its head towards `up`.

    Where that is zero the head is towards the upper edge of the image.
    """
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    up = np.where(length < 1e-9, [0.0, -1.0], up / length.clip(1e-9))
    up = np.concatenate([up, np.zeros((len(up), 1))], -1)
    forward = np.broadcast_to([0.0, 0.0, -1.0], up.shape)
    return np.stack([np.cross(up, forward), up, forward], -1)


def _about_own_axis(count: int) -> Float[np.ndarray, "n 3 3"]:
    """Return turns about the body's upward axis that are evenly spread."""
    angle = 2 * np.pi * np.arange(count) / count
    R = np.zeros((count, 3, 3))
    R[:, 1, 1] = 1.0
    R[:, 0, 0] = R[:, 2, 2] = np.cos(angle)
    R[:, 0, 2] = np.sin(angle)
    R[:, 2, 0] = -np.sin(angle)
    return R


def _placed(
    skeleton: Skeleton,
    R: Float[np.ndarray, "24 3 3"],
    roots: Float[np.ndarray, "B n 3 3"],
    pelvis: Float[np.ndarray, "B 3"],
) -> Bodies:
    """Pose bodies of the mean shape, n at each place."""
    count = roots.shape[0] * roots.shape[1]
    turns = np.broadcast_to(R, (count, *R.shape)).copy()
    turns[:, 0] = roots.reshape(-1, 3, 3)
    where = np.repeat(pelvis, roots.shape[1], 0)
    return pose(skeleton, turns, np.zeros((count, NUM_BETAS)), where)
