"""How far hinges bend: rows that count only beyond the limit.

A knee or an elbow turns about one axis of its bone's frame. Beyond `low` or `high` the angle about
that axis, the component of the joint's rotation vector w, has the residual limit - w_axis; within
the limits the residual is zero and its variance unlimited, so that a limit neither pulls nor holds.
A turn e of the joint moves w by J_r(w)^-1 e, with the right Jacobian of SO(3).
"""

from dataclasses import dataclass

import numpy as np

from engines.fitting.bodies import DIM, Bodies
from engines.fitting.residuals import Rows
from engines.rotations import inverse_right_jacobian, log_so3
from engines.types import JOINT_NAMES

UNLIMITED = np.float32(1e6)
"""Variance of an angle that is not limited, square radians."""


@dataclass(frozen=True)
class Hinge:
    """The range of one component of a joint's rotation vector."""

    joint: int
    axis: int
    """Component 0, 1 or 2."""
    low: float
    """Radians."""
    high: float
    """Radians."""


def _hinge(name: str, axis: int, low: float, high: float) -> Hinge:
    return Hinge(JOINT_NAMES.index(name), axis, low, high)


HINGES = (
    _hinge("left_knee", 0, -0.12, 2.6),
    _hinge("right_knee", 0, -0.12, 2.6),
    _hinge("left_elbow", 1, -2.7, -0.08),
    _hinge("right_elbow", 1, 0.08, 2.7),
)
"""What 99.8 % of the 116,158 CMU poses that the flow was trained on keep to (`trainer.mocap`)."""


@dataclass(frozen=True)
class HingeLimits:
    """Knees and elbows that do not bend the wrong way; one row a hinge."""

    sigma: float = 0.05
    """How soft the limit is, radians."""
    hinges: tuple[Hinge, ...] = HINGES

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare bodies with the limits."""
        joints = [hinge.joint for hinge in self.hinges]
        axes = [hinge.axis for hinge in self.hinges]
        count = range(len(self.hinges))
        rotvec = log_so3(bodies.R[:, joints])  # (K, r, 3)
        angle = rotvec[:, count, axes]
        low = np.array([hinge.low for hinge in self.hinges], angle.dtype)
        high = np.array([hinge.high for hinge in self.hinges], angle.dtype)
        residual = np.clip(angle, low, high) - angle
        J = np.zeros((*angle.shape, DIM), angle.dtype)
        by_turn = inverse_right_jacobian(rotvec)[:, count, axes]
        for row, joint in enumerate(joints):
            J[:, row, 3 * joint : 3 * joint + 3] = by_turn[:, row]
        variance = np.where(residual == 0, UNLIMITED, angle.dtype.type(self.sigma**2))
        return Rows(residual, J, variance, 0.5 * (residual**2).sum(-1) / self.sigma**2)
