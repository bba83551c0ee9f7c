"""How hinges bend: limits, which count only beyond them, and SMPLify's push towards flexion.

A knee or an elbow turns about one axis of its bone's frame. Beyond `low` or `high` the angle about
that axis, the component of the joint's rotation vector w, has the residual limit - w_axis; within
the limits the residual is zero and its variance unlimited, so that a limit neither pulls nor holds.
A turn e of the joint moves w by J_r(w)^-1 e, with the right Jacobian of SO(3).

SMPLify (Bogo et al., Keep it SMPL, 2016) knows no limit but the cost 3.17^2 exp(2 s w_axis) against
its pose prior in nats, with the sign s that makes flexion cheap: about 10 nats for a straight knee,
200 for one that is bent by a right angle the wrong way. (The authors' next system writes 3.17 where
the square belongs, which makes it 15 times weaker in its last stage.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM
from engines.fitting.bodies import Bodies
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


def _angles(
    bodies: Bodies, hinges: Sequence[Hinge]
) -> tuple[Float[np.ndarray, "K r"], Float[np.ndarray, "K r D"]]:
    """Return the hinges' angles, radians, and their derivative."""
    joints, axes = [hinge.joint for hinge in hinges], [hinge.axis for hinge in hinges]
    rotvec = log_so3(bodies.R[:, joints])  # (K, r, 3)
    by_turn = inverse_right_jacobian(rotvec)[:, range(len(hinges)), axes]
    J = np.zeros((*rotvec.shape[:2], DIM), rotvec.dtype)
    for row, joint in enumerate(joints):
        J[:, row, 3 * joint : 3 * joint + 3] = by_turn[:, row]
    return rotvec[:, range(len(hinges)), axes], J


@dataclass(frozen=True)
class HingeLimits:
    """Knees and elbows that do not bend the wrong way; one row a hinge."""

    sigma: float = 0.05
    """How soft the limit is, radians."""
    hinges: tuple[Hinge, ...] = HINGES

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare bodies with the limits."""
        angle, J = _angles(bodies, self.hinges)
        low = np.array([hinge.low for hinge in self.hinges], angle.dtype)
        high = np.array([hinge.high for hinge in self.hinges], angle.dtype)
        residual = np.clip(angle, low, high) - angle
        variance = np.where(residual == 0, UNLIMITED, angle.dtype.type(self.sigma**2))
        return Rows(residual, J, variance, 0.5 * (residual**2).sum(-1) / self.sigma**2)


@dataclass(frozen=True)
class Bending:
    """Knees and elbows that would rather bend the right way; one row a hinge."""

    nats: float = 3.17**2
    """Cost of a straight hinge."""
    hinges: tuple[Hinge, ...] = HINGES

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare exp(s angle) with the 0 that it should be."""
        angle, J = _angles(bodies, self.hinges)
        sign = np.array([-np.sign(hinge.low + hinge.high) for hinge in self.hinges], angle.dtype)
        predicted = np.exp(sign * angle)
        variance = np.full_like(angle, 0.5 / self.nats)
        cost = self.nats * (predicted**2).sum(-1)
        return Rows(-predicted, (sign * predicted)[..., None] * J, variance, cost)
