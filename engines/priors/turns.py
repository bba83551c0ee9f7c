"""From rotations to the coordinates that priors work in, and from their derivatives to rows.

A prior's coordinates are the rotation vectors y_j = log R_j of the J joints that it knows. A turn e
of joint j, R_j <- R_j exp(e), moves them by J_r(y_j)^-1 e, with the right Jacobian of SO(3).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM
from engines.fitting.residuals import Rows
from engines.rotations import exp_so3, inverse_right_jacobian, log_so3
from engines.types import NUM_JOINTS

BODY_JOINTS = tuple(range(1, NUM_JOINTS))
"""All 23 joints below the root."""
ARTICULATED = tuple(range(1, NUM_JOINTS - 2))
"""The 21 joints below the root but the hands, which no recording measures."""


def coordinates(
    R: Float[np.ndarray, "K 24 3 3"], joints: Sequence[int]
) -> Float[np.ndarray, "K J 3"]:
    """Return rotation vectors of some joints, no longer than pi."""
    return log_so3(R[:, joints[0] : joints[-1] + 1])


def with_coordinates(
    R: Float[np.ndarray, "K 24 3 3"], rotvec: Float[np.ndarray, "K J 3"], joints: Sequence[int]
) -> Float[np.ndarray, "K 24 3 3"]:
    """Replace the rotations of some joints."""
    out = R.copy()
    out[:, joints[0] : joints[-1] + 1] = exp_so3(rotvec)
    return out


def turn_gradient(
    by_coordinates: Float[np.ndarray, "K J 3"],
    rotvec: Float[np.ndarray, "K J 3"],
    joints: Sequence[int],
) -> Float[np.ndarray, "K 72"]:
    """Turn a gradient by coordinates into one by turns of all joints.

    J_r(y)^-T g = g + g x y / 2 + b y x (y x g), see `inverse_right_jacobian`.
    """
    y, g = rotvec, by_coordinates
    squared = np.einsum("kji,kji->kj", y, y)
    near_zero = squared < 1e-4
    t = np.sqrt(np.where(near_zero, 1.0, squared))
    b = np.where(near_zero, 1.0 / 12.0 + squared / 720.0, 1.0 / t**2 - 0.5 / (t * np.tan(0.5 * t)))
    along = np.einsum("kji,kji->kj", y, g)[..., None]
    b, squared = b[..., None], squared[..., None]
    out = np.zeros((len(y), NUM_JOINTS, 3), g.dtype)
    span = slice(joints[0], joints[-1] + 1)
    out[:, span] = g + 0.5 * cross(g, y) + b * (along * y - squared * g)
    return out.reshape(len(y), -1)


def cross(a: Float[np.ndarray, "*B 3"], b: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """The cross product; NumPy's own is several times slower."""
    out = np.empty_like(a)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return out


def white_rows(
    residual: Float[np.ndarray, "K r"],
    by_coordinates: Float[np.ndarray, "K r N"],
    rotvec: Float[np.ndarray, "K J 3"],
    cost: Float[np.ndarray, "K"],
    joints: Sequence[int],
) -> Rows:
    """Return rows of unit variance.

    Args:
        residual: of them.
        by_coordinates: derivative of what is predicted by the coordinates.
        rotvec: the coordinates.
        cost: of all rows.
        joints: whose coordinates they are; derivatives by all others are zero.
    """
    J = np.zeros((*residual.shape, DIM), rotvec.dtype)
    split = (*residual.shape, len(joints), 3)
    here = J[..., 3 * joints[0] : 3 * joints[-1] + 3].reshape(split)  # a view
    by_joint = by_coordinates.reshape(split).swapaxes(1, 2)
    np.matmul(by_joint, inverse_right_jacobian(rotvec), out=here.swapaxes(1, 2))
    return Rows(residual, J, np.ones_like(residual), cost)
