"""The coordinates that bodies are moved in, and how their joints follow.

A step d (85 numbers) moves a body, with exp on the right so that each turn is in its bone's axes:

    d = (e_0, ..., e_23, b, p)    R_j <- R_j exp(e_j)    betas <- betas + b    pelvis <- pelvis + p

To first order a joint x_j moves by (R_cam_a e_a) x (x_j - x_a) for each bone a above it, by
R_cam_parent(i) (S_i - S_parent(i)) b for itself and each joint i above it but the root, with S the
shape directions of the rest joints, and by p. Metres, radians, camera frame.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

from engines.rotations import skew
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS

TURNS = 3 * NUM_JOINTS
DIM = TURNS + NUM_BETAS + 3
PELVIS = slice(TURNS + NUM_BETAS, DIM)
"""Where p is."""
_ABOVE = np.maximum(PARENTS, 0)
"""The parent of each joint; the root's own number for the root."""


def _ancestors(joint: int) -> tuple[int, ...]:
    parent = PARENTS[joint]
    return () if parent < 0 else (parent, *_ancestors(parent))


ANCESTORS: tuple[tuple[int, ...], ...] = tuple(_ancestors(j) for j in range(NUM_JOINTS))
"""The joints whose turns move each joint, from its parent up."""
_CHAIN = np.array(
    [[i == j or i in ANCESTORS[j] for i in range(NUM_JOINTS)] for j in range(NUM_JOINTS)]
)
"""Whether joint i (column) lies on the way from joint j (row) to the root, both included."""


def joint_jacobian(
    J_shapedirs: Float[np.ndarray, "24 3 10"],
    R_cam: Float[np.ndarray, "K 24 3 3"],
    x: Float[np.ndarray, "K 24 3"],
    joints: Int[np.ndarray, "m"],
) -> Float[np.ndarray, "K m 3 D"]:
    """Differentiate joint positions with respect to the coordinates, in the dtype of `x`.

    Args:
        J_shapedirs: change of the rest joints per unit of each shape coefficient, metres.
        R_cam: from each bone's axes to the camera's.
        x: the bodies' joints, camera frame, metres.
        joints: that are differentiated.
    """
    count, m = len(x), len(joints)
    rows, bones = _levers(tuple(joints.tolist()))
    lever = x[:, joints[rows]] - x[:, bones]  # (K, pairs, 3)
    by_turn = np.zeros((count, m, 3, NUM_JOINTS, 3), x.dtype)
    by_turn[:, rows, :, bones] = _cross_columns(R_cam[:, bones], lever).swapaxes(0, 1)
    J = np.empty((count, m, 3, DIM), x.dtype)
    J[..., :TURNS] = by_turn.reshape(count, m, 3, TURNS)
    J[..., TURNS:-3] = _by_shape(J_shapedirs, R_cam)[:, joints]
    J[..., -3:] = np.eye(3)
    return J


def depth_jacobian(
    J_shapedirs: Float[np.ndarray, "24 3 10"],
    R_cam: Float[np.ndarray, "24 3 3"],
    x: Float[np.ndarray, "24 3"],
    joints: Int[np.ndarray, "m"],
) -> Float[np.ndarray, "m D"]:
    """Differentiate joints' distance along the pelvis' viewing ray, relative to the pelvis.

    These are the rows r^T J of `joint_jacobian` with the unit ray r, but zero for p, which moves
    the pelvis too; r^T ((R e) x v) = e^T R^T (v x r). In the dtype of `x`.

    Args:
        J_shapedirs: change of the rest joints per unit of each shape coefficient, metres.
        R_cam: from each bone's axes to the camera's.
        x: the body's joints, camera frame, metres.
        joints: that are differentiated.
    """
    ray = x[0] / np.linalg.norm(x[0])
    rows, bones = _levers(tuple(joints.tolist()))
    torque = (x[joints[rows]] - x[bones]) @ skew(ray)  # v x r
    by_turn = np.zeros((len(joints), NUM_JOINTS, 3), x.dtype)
    by_turn[rows, bones] = (torque[:, None] @ R_cam[bones])[:, 0]
    J = np.zeros((len(joints), DIM), x.dtype)
    J[:, :TURNS] = by_turn.reshape(len(joints), TURNS)
    bone_by_shape = (ray @ R_cam[_ABOVE])[:, None] @ (J_shapedirs - J_shapedirs[_ABOVE])
    J[:, TURNS:-3] = _CHAIN[joints].astype(x.dtype) @ bone_by_shape[:, 0]
    return J


@cache
def _levers(joints: tuple[int, ...]) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
    """Number each joint with each bone that moves it: its place in `joints`, and the bone."""
    pairs = [(row, bone) for row, joint in enumerate(joints) for bone in ANCESTORS[joint]]
    rows, bones = np.array(pairs, np.int64).reshape(-1, 2).T
    return rows, bones


def _cross_columns(
    R: Float[np.ndarray, "K n 3 3"], v: Float[np.ndarray, "K n 3"]
) -> Float[np.ndarray, "K n 3 3"]:
    """Return the cross product of each column of R with v, as columns."""
    x, y, z = (v[..., i, None] for i in range(3))
    a, b, c = (R[..., i, :] for i in range(3))
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], -2)


def _by_shape(
    J_shapedirs: Float[np.ndarray, "24 3 10"], R_cam: Float[np.ndarray, "K 24 3 3"]
) -> Float[np.ndarray, "K 24 3 10"]:
    """Differentiate the joints with respect to the betas, the pelvis staying."""
    change = R_cam[:, _ABOVE] @ (J_shapedirs - J_shapedirs[_ABOVE])  # zero for the root
    for joint in range(1, NUM_JOINTS):
        change[:, joint] += change[:, PARENTS[joint]]
    return change
