"""Bodies, the coordinates that a fit moves them in, and how their joints follow.

A step d (85 numbers) moves a body, with exp on the right so that each turn is in its bone's axes:

    d = (e_0, ..., e_23, b, p)    R_j <- R_j exp(e_j)    betas <- betas + b    pelvis <- pelvis + p

To first order a joint x_j moves by (R_cam_a e_a) x (x_j - x_a) for each bone a above it, by
R_cam_parent(i) (S_i - S_parent(i)) b for itself and each joint i above it but the root, with S the
shape directions of the rest joints, and by p. Metres, radians, camera frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.body import forward_kinematics
from engines.kernels import Skeleton
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS, NUM_JOINTS, PARENTS, Hypotheses

TURNS = 3 * NUM_JOINTS
DIM = TURNS + NUM_BETAS + 3


def _ancestors(joint: int) -> tuple[int, ...]:
    parent = PARENTS[joint]
    return () if parent < 0 else (parent, *_ancestors(parent))


ANCESTORS: tuple[tuple[int, ...], ...] = tuple(_ancestors(j) for j in range(NUM_JOINTS))
"""The joints whose turns move each joint, from its parent up."""


@dataclass(frozen=True)
class Bodies:
    """K posed bodies."""

    R: Float[np.ndarray, "K 24 3 3"]
    """Of each joint relative to its parent, of the root relative to the camera."""
    betas: Float[np.ndarray, "K 10"]
    pelvis: Float[np.ndarray, "K 3"]
    """Camera frame, metres."""
    R_cam: Float[np.ndarray, "K 24 3 3"]
    """From each bone's axes to the camera's."""
    joints: Float[np.ndarray, "K 24 3"]
    """Camera frame, metres."""

    @property
    def count(self) -> int:
        """K."""
        return len(self.R)


def pose(
    skeleton: Skeleton,
    R: Float[np.ndarray, "K 24 3 3"],
    betas: Float[np.ndarray, "K 10"],
    pelvis: Float[np.ndarray, "K 3"],
) -> Bodies:
    """Run forward kinematics, in the dtype of the arguments."""
    by_shape = (betas @ skeleton.J_shapedirs.reshape(-1, NUM_BETAS).T).reshape(-1, NUM_JOINTS, 3)
    rest = skeleton.J_template + by_shape
    R_cam, joints = forward_kinematics(R, rest, pelvis - rest[:, 0])
    return Bodies(R, betas, pelvis, R_cam, joints)


def bodies_of(skeleton: Skeleton, hypotheses: Hypotheses) -> Bodies:
    """Pose the bodies of hypotheses."""
    R = exp_so3(hypotheses.rotvec)
    return pose(skeleton, R, hypotheses.betas, hypotheses.joints[:, 0])


def hypotheses_of(
    skeleton: Skeleton,
    bodies: Bodies,
    log_q: Float[np.ndarray, "K"],
    weights: Float[np.ndarray, "K"],
) -> Hypotheses:
    """Return bodies as hypotheses."""
    rest = skeleton.J_template[0] + bodies.betas @ skeleton.J_shapedirs[0].T
    parts = (log_so3(bodies.R), bodies.betas, bodies.pelvis - rest, bodies.joints, log_q, weights)
    return Hypotheses(*(np.ascontiguousarray(part, np.float32) for part in parts))


def moved(skeleton: Skeleton, bodies: Bodies, step: Float[np.ndarray, "K D"]) -> Bodies:
    """Move bodies by a step each."""
    R = bodies.R @ exp_so3(step[:, :TURNS].reshape(-1, NUM_JOINTS, 3))
    return pose(skeleton, R, bodies.betas + step[:, TURNS:-3], bodies.pelvis + step[:, -3:])


def steps_from_first(bodies: Bodies) -> Float[np.ndarray, "K D"]:
    """Return the steps that take body 0 to each body."""
    turns = log_so3(np.swapaxes(bodies.R[:1], -1, -2) @ bodies.R).reshape(-1, TURNS)
    betas, pelvis = bodies.betas - bodies.betas[:1], bodies.pelvis - bodies.pelvis[:1]
    return np.concatenate([turns, betas, pelvis], -1)


def take(bodies: Bodies, index: "slice | Int[np.ndarray, 'M']") -> Bodies:
    """Select some of the bodies."""
    return Bodies(*(getattr(bodies, field.name)[index] for field in fields(bodies)))


def joined(parts: Sequence[Bodies]) -> Bodies:
    """Put bodies behind each other, in double precision."""
    columns = (
        np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(Bodies)
    )
    return Bodies(*(column.astype(np.float64) for column in columns))


def chosen(where: Bool[np.ndarray, "K"], yes: Bodies, no: Bodies) -> Bodies:
    """Take each body from `yes` where the condition holds, else from `no`."""

    def pick(name: str) -> np.ndarray:
        a, b = getattr(yes, name), getattr(no, name)
        return np.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return Bodies(*(pick(field.name) for field in fields(Bodies)))


def joint_jacobian(
    skeleton: Skeleton, bodies: Bodies, joints: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "K m 3 D"]:
    """Differentiate joint positions with respect to the coordinates."""
    count, dtype = bodies.count, bodies.joints.dtype
    rows, bones = _levers(tuple(joints.tolist()))
    lever = bodies.joints[:, joints[rows]] - bodies.joints[:, bones]  # (K, pairs, 3)
    turned = np.zeros((count, len(joints), NUM_JOINTS, 3, 3), dtype)
    turned[:, rows, bones] = _cross_columns(bodies.R_cam[:, bones], lever)  # R e x lever
    J = np.empty((count, len(joints), 3, DIM), dtype)
    J[..., :TURNS] = turned.swapaxes(2, 3).reshape(count, len(joints), 3, TURNS)
    J[..., TURNS:-3] = _by_shape(skeleton, bodies)[:, joints]
    J[..., -3:] = np.eye(3)
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


def _by_shape(skeleton: Skeleton, bodies: Bodies) -> Float[np.ndarray, "K 24 3 10"]:
    """Differentiate the joints with respect to the betas, the pelvis staying."""
    above = list(PARENTS[1:])
    bones = skeleton.J_shapedirs[1:] - skeleton.J_shapedirs[above]
    turned = bodies.R_cam[:, above] @ bones
    out = np.zeros((bodies.count, NUM_JOINTS, 3, NUM_BETAS), turned.dtype)
    for joint in range(1, NUM_JOINTS):
        out[:, joint] = out[:, PARENTS[joint]] + turned[:, joint - 1]
    return out
