"""Quaternions (w, v) with axes first: v holds x, y and z of all, so operations run along memory."""

import numpy as np
from jaxtyping import Float


def quaternion(
    rotvec: Float[np.ndarray, "3 *B"],
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "3 *B"]]:
    """Return the rotations by rotation vectors, radians."""
    half_angle = np.float32(0.5) * np.sqrt(_dot(rotvec, rotvec))
    sine_ratio = np.sin(half_angle) / np.maximum(half_angle, np.float32(1e-12))
    return np.cos(half_angle), (np.float32(0.5) * sine_ratio) * rotvec


def product(
    w: Float[np.ndarray, "*#B"],
    v: Float[np.ndarray, "3 *#B"],
    w2: Float[np.ndarray, "*#B"],
    v2: Float[np.ndarray, "3 *#B"],
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "3 *B"]]:
    """Return the rotation by (w2, v2), then by (w, v)."""
    vector = w * v2 + w2 * v
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        vector[i] += v[j] * v2[k] - v[k] * v2[j]
    return w * w2 - _dot(v, v2), vector


def rotvec_of(
    w: Float[np.ndarray, "*B"], v: Float[np.ndarray, "3 *B"]
) -> Float[np.ndarray, "3 *B"]:
    """Return the rotation vectors of at most half a turn, radians."""
    sine = np.sqrt(_dot(v, v))
    angle = np.float32(2.0) * np.arctan2(sine, np.abs(w))
    tiny = sine < 1e-7  # where angle / sine is 2
    ratio = np.where(tiny, np.float32(2.0), angle / np.where(tiny, np.float32(1.0), sine))
    return np.copysign(ratio, w) * v


def _dot(a: Float[np.ndarray, "3 *#B"], b: Float[np.ndarray, "3 *#B"]) -> Float[np.ndarray, "*B"]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
