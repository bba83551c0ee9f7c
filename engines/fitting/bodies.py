"""K posed bodies, moved by a step each in the coordinates of `engines.coordinates`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.body import forward_kinematics
from engines.coordinates import TURNS, joint_jacobian
from engines.kernels import Skeleton
from engines.rotations import exp_so3, log_so3
from engines.types import NUM_BETAS, NUM_JOINTS, Hypotheses


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

    def joint_jacobian(
        self, skeleton: Skeleton, joints: Int[np.ndarray, "m"]
    ) -> Float[np.ndarray, "K m 3 D"]:
        """Differentiate positions of joints with respect to the coordinates."""
        return joint_jacobian(skeleton.J_shapedirs, self.R_cam, self.joints, joints)


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
