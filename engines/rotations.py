"""Rotations as arrays: axis-angle vectors, 3x3 matrices and quaternions, and the maps between them.

Every function is batched over leading dimensions, keeps float32 or float64 as it came, and is
accurate near the identity and near half a turn. Rotation vectors are in radians; matrices act on
column vectors; quaternions are (w, x, y, z) with w >= 0.
"""

import numpy as np
from jaxtyping import Float

_SMALL_ANGLE_SQUARED = 1e-6
"""Below it two terms of the Taylor series are exact to double precision (error ~ angle^6)."""


def exp_so3(rotvec: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Rodrigues' formula: R = I + sin(t)/t [v] + (1 - cos t)/t^2 [v]^2 with t = |v|.

    Args:
        rotvec: axis times angle, radians; any angle.
    """
    rotvec = _floating(rotvec)
    squared = np.einsum("...i,...i->...", rotvec, rotvec)
    near_zero = squared < _SMALL_ANGLE_SQUARED
    angle = np.sqrt(np.where(near_zero, 1.0, squared))
    half_sine = np.sin(0.5 * angle)
    a = np.where(near_zero, 1.0 - squared / 6.0 + squared**2 / 120.0, np.sin(angle) / angle)
    b = np.where(
        near_zero, 0.5 - squared / 24.0 + squared**2 / 720.0, 2.0 * (half_sine / angle) ** 2
    )
    x, y, z = np.moveaxis(rotvec, -1, 0)
    ax, ay, az = a * x, a * y, a * z
    bxy, bxz, byz = b * x * y, b * x * z, b * y * z
    matrix = np.empty((*rotvec.shape, 3), rotvec.dtype)
    matrix[..., 0, 0] = 1.0 - b * (y * y + z * z)
    matrix[..., 1, 1] = 1.0 - b * (x * x + z * z)
    matrix[..., 2, 2] = 1.0 - b * (x * x + y * y)
    matrix[..., 0, 1], matrix[..., 1, 0] = bxy - az, bxy + az
    matrix[..., 0, 2], matrix[..., 2, 0] = bxz + ay, bxz - ay
    matrix[..., 1, 2], matrix[..., 2, 1] = byz - ax, byz + ax
    return matrix


def log_so3(matrix: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3"]:
    """The shortest rotation vector of a matrix, its angle in [0, pi].

    At an angle of exactly pi both signs of the axis are right, and one of them is returned.
    """
    # Through the quaternion: the matrix's own trace and skew part lose all digits near pi, the
    # quaternion does not.
    quat = matrix_to_quat_wxyz(matrix)
    w, xyz = quat[..., 0], quat[..., 1:]
    sine = np.sqrt(np.einsum("...i,...i->...", xyz, xyz))
    near_zero = sine**2 < _SMALL_ANGLE_SQUARED
    safe_sine = np.where(near_zero, 1.0, sine)
    # atan(s/w)/s, expanded for small s
    small = (1.0 - sine**2 / (3.0 * np.where(near_zero, w, 1.0) ** 2)) / np.where(near_zero, w, 1.0)
    scale = 2.0 * np.where(near_zero, small, np.arctan2(sine, w) / safe_sine)
    return (xyz * scale[..., None]).astype(quat.dtype, copy=False)


def matrix_to_quat_wxyz(matrix: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 4"]:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix.

    Each of the four rows built below is the quaternion times four times one of its components; the
    row of the largest component is the one without cancellation.
    """
    m = _floating(matrix)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    rows = np.empty((*m.shape[:-2], 4, 4), m.dtype)
    rows[..., 0, 0] = 1 + xx + yy + zz
    rows[..., 1, 1] = 1 + xx - yy - zz
    rows[..., 2, 2] = 1 - xx + yy - zz
    rows[..., 3, 3] = 1 - xx - yy + zz
    rows[..., 0, 1] = rows[..., 1, 0] = m[..., 2, 1] - m[..., 1, 2]
    rows[..., 0, 2] = rows[..., 2, 0] = m[..., 0, 2] - m[..., 2, 0]
    rows[..., 0, 3] = rows[..., 3, 0] = m[..., 1, 0] - m[..., 0, 1]
    rows[..., 1, 2] = rows[..., 2, 1] = m[..., 0, 1] + m[..., 1, 0]
    rows[..., 1, 3] = rows[..., 3, 1] = m[..., 0, 2] + m[..., 2, 0]
    rows[..., 2, 3] = rows[..., 3, 2] = m[..., 1, 2] + m[..., 2, 1]
    largest = np.einsum("...ii->...i", rows).argmax(-1)
    quat = np.take_along_axis(rows, largest[..., None, None], -2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return quat * np.where(quat[..., :1] < 0, -1, 1).astype(quat.dtype)


def geodesic_angle(
    a: Float[np.ndarray, "*B 3 3"], b: Float[np.ndarray, "*B 3 3"]
) -> Float[np.ndarray, "*B"]:
    """The angle of the rotation that takes `a` to `b`, radians in [0, pi]."""
    return np.asarray(np.linalg.norm(log_so3(np.swapaxes(a, -1, -2) @ b), axis=-1))


def interpolate(
    a: Float[np.ndarray, "*B 3 3"],
    b: Float[np.ndarray, "*B 3 3"],
    t: float | Float[np.ndarray, "*B"],
) -> Float[np.ndarray, "*B 3 3"]:
    """The rotation at fraction `t` of the shortest way from `a` to `b`, at constant speed."""
    step = log_so3(np.swapaxes(a, -1, -2) @ b)
    return a @ exp_so3(step * np.asarray(t, step.dtype)[..., None])


def right_jacobian(rotvec: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """J_r(w), with exp(w + d) = exp(w) exp(J_r(w) d) to first order.

    I - (1 - cos t)/t^2 [w] + (t - sin t)/t^3 [w]^2 with t = |w| (Chirikjian, Stochastic Models,
    Information Theory, and Lie Groups 2, 2012, section 10.6.5).
    """
    rotvec = _floating(rotvec)
    squared = np.einsum("...i,...i->...", rotvec, rotvec)[..., None, None]
    near_zero = squared < _SMALL_ANGLE_SQUARED
    t = np.sqrt(np.where(near_zero, 1.0, squared))
    a = np.where(near_zero, 0.5 - squared / 24.0, 2.0 * (np.sin(0.5 * t) / t) ** 2)
    b = np.where(near_zero, 1.0 / 6.0 - squared / 120.0, (t - np.sin(t)) / t**3)
    W = skew(rotvec)
    return (np.eye(3) - a * W + b * (W @ W)).astype(rotvec.dtype, copy=False)


def inverse_right_jacobian(rotvec: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """J_r(w)^-1, with log(exp(w) exp(e)) = w + J_r(w)^-1 e to first order, for angles below 2 pi.

    I + [w]/2 + (1/t^2 - cot(t/2)/(2 t)) [w]^2 with t = |w| (as above).
    """
    rotvec = _floating(rotvec)
    squared = np.einsum("...i,...i->...", rotvec, rotvec)[..., None, None]
    near_zero = squared < 1e-4  # the difference below cancels earlier than the others
    t = np.sqrt(np.where(near_zero, 1.0, squared))
    exact = 1.0 / t**2 - 0.5 / (t * np.tan(0.5 * t))
    b = np.where(near_zero, 1.0 / 12.0 + squared / 720.0, exact)
    W = skew(rotvec)
    return (np.eye(3) + 0.5 * W + b * (W @ W)).astype(rotvec.dtype, copy=False)


def skew(vector: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Return [v], with [v] u = v x u."""
    # NumPy's `cross` takes 5 to 8 times as long.
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    matrix = np.zeros((*vector.shape, 3), vector.dtype)
    matrix[..., 0, 1], matrix[..., 0, 2] = -z, y
    matrix[..., 1, 0], matrix[..., 1, 2] = z, -x
    matrix[..., 2, 0], matrix[..., 2, 1] = -y, x
    return matrix


def _floating(array: np.ndarray) -> np.ndarray:
    """The array itself where it is float32 or float64, else as float64."""
    array = np.asarray(array)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
