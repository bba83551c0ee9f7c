"""What is known of single frames: joints in space, rotations, or anything that a body's rows say.

Residuals are in units of their standard deviation. Positions may have a robust loss (Cauchy's, as
in `engines.fitting.residuals`): a joint s sigmas away costs c^2/2 log(1 + s^2/c^2).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from engines.coordinates import TURNS
from engines.fitting.bodies import Bodies, pose
from engines.fitting.residuals import Residuals
from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, Linearised, LinkedRows
from engines.kernels import Skeleton
from engines.rotations import inverse_right_jacobian, log_so3
from engines.types import NUM_BETAS, NUM_JOINTS

COLUMNS = np.r_[np.arange(TURNS), -3, -2, -1]
"""Of the 85 coordinates of a body, the 75 of a frame."""


@dataclass(frozen=True)
class Shape:
    """The body whose joints are compared."""

    skeleton: Skeleton
    betas: Float[np.ndarray, "10"] | None
    """None where they are the first of what the frames share, and looked for."""

    def bodies(self, sequence: BodySequence) -> Bodies:
        """Pose it in every frame."""
        betas = sequence.shared[:NUM_BETAS] if self.betas is None else self.betas
        betas = np.broadcast_to(betas, (sequence.count, NUM_BETAS))
        return pose(self.skeleton, sequence.R, betas, sequence.pelvis)

    def joints(self, sequence: BodySequence) -> Float[np.ndarray, "T 24 3"]:
        """Return its joints, metres."""
        return self.bodies(sequence).joints

    def jacobian(
        self, bodies: Bodies, shared: int
    ) -> tuple[Float[np.ndarray, "T 24 3 75"], Float[np.ndarray, "T 24 3 G"]]:
        """Differentiate its joints by the coordinates of their frame, and by what is shared.

        Args:
            bodies: of `bodies()`.
            shared: how many numbers the frames share.
        """
        return self.split(bodies.joint_jacobian(self.skeleton, np.arange(NUM_JOINTS)), shared)

    def split(
        self, J: Float[np.ndarray, "*B 85"], shared: int
    ) -> tuple[Float[np.ndarray, "*B 75"], Float[np.ndarray, "*B G"]]:
        """Tell derivatives by the coordinates of a frame from those by what is shared."""
        by_shared = np.zeros((*J.shape[:-1], shared))
        if self.betas is None:
            by_shared[..., :NUM_BETAS] = J[..., TURNS:-3]
        return J[..., COLUMNS], by_shared


@dataclass(frozen=True)
class JointPositions:
    """Joints that were located in space."""

    shape: Shape
    target: Float[np.ndarray, "T 24 3"]
    """Metres."""
    sigma: Float[np.ndarray, "T 24"]
    """Standard deviation per axis, metres."""
    visible: Bool[np.ndarray, "T 24"]
    """What is not visible says nothing."""
    cauchy: float | None = None
    """Residual, in sigmas, at which a joint counts half; None for the normal distribution."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Compare joints with where they were located."""
        bodies = self.shape.bodies(sequence)
        away, squared = self._away(bodies.joints)
        weight = np.ones_like(squared)
        if self.cauchy is not None:
            weight = 1.0 / np.sqrt(1.0 + squared / self.cauchy**2)
        scale = (weight / self.sigma * self.visible)[..., None]
        J, shared = self.shape.jacobian(bodies, len(sequence.shared))
        residual = away * weight[..., None]
        count = sequence.count
        rows = LinkedRows(
            np.arange(count),
            residual.reshape(count, -1),
            (J * scale[..., None]).reshape(count, 3 * NUM_JOINTS, -1),
            (shared * scale[..., None]).reshape(count, 3 * NUM_JOINTS, -1),
        )
        return Linearised((rows,), self._cost)

    def _away(
        self, joints: Float[np.ndarray, "T 24 3"]
    ) -> tuple[Float[np.ndarray, "T 24 3"], Float[np.ndarray, "T 24"]]:
        away = np.where(self.visible[..., None], self.target - joints, 0.0) / self.sigma[..., None]
        return away, (away**2).sum(-1)

    def _cost(self, sequence: BodySequence) -> float:
        _, squared = self._away(self.shape.joints(sequence))
        if self.cauchy is None:
            return 0.5 * float(squared.sum())
        return 0.5 * self.cauchy**2 * float(np.log1p(squared / self.cauchy**2).sum())


@dataclass(frozen=True)
class Rotations:
    """Rotations that were measured, and the pelvis."""

    target: Float[np.ndarray, "T 24 3 3"]
    """Of each joint relative to its parent, of the root in the frame of reference."""
    sigma: Float[np.ndarray, "T 24"]
    """Standard deviation of each component of log(measured^T R), radians."""
    visible: Bool[np.ndarray, "T 24"]
    pelvis: Float[np.ndarray, "T 3"]
    """Metres."""
    pelvis_sigma: float
    """Standard deviation per axis, metres."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Compare rotations and pelvis with the measurements."""
        count = sequence.count
        rotvec, residual = self._residual(sequence)
        by_turn = inverse_right_jacobian(rotvec) * (self.visible / self.sigma)[..., None, None]
        J = np.zeros((count, FRAME_DIM, FRAME_DIM))
        for j in range(NUM_JOINTS):
            J[:, 3 * j : 3 * j + 3, 3 * j : 3 * j + 3] = by_turn[:, j]
        J[:, TURNS:, TURNS:] = np.eye(3) / self.pelvis_sigma
        rows = LinkedRows(np.arange(count), residual, J)
        return Linearised((rows,), lambda other: half_square(self._residual(other)[1]))

    def _residual(
        self, sequence: BodySequence
    ) -> tuple[Float[np.ndarray, "T 24 3"], Float[np.ndarray, "T 75"]]:
        target = np.where(self.visible[..., None, None], self.target, sequence.R)
        rotvec = log_so3(target.swapaxes(-1, -2) @ sequence.R)
        turns = -(rotvec / self.sigma[..., None]).reshape(sequence.count, -1)
        moved = (self.pelvis - sequence.pelvis) / self.pelvis_sigma
        return rotvec, np.concatenate([turns, moved], -1)


@dataclass(frozen=True)
class EachFrame:
    """Rows of single bodies, such as a pose prior's, in every frame."""

    shape: Shape
    residuals: Residuals
    weight: float = 1.0
    """Factor on their cost."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Compare every frame's body with them; reweighted rows as they are at this sequence."""
        found = self.residuals(self.shape.bodies(sequence))
        scale = np.sqrt(self.weight / found.variance)
        J = np.broadcast_to(found.J, (sequence.count, *found.J.shape[1:])) * scale[..., None]
        rows = LinkedRows(
            np.arange(sequence.count),
            found.residual * scale,
            *self.shape.split(J, len(sequence.shared)),
        )
        return Linearised((rows,), self._cost)

    def _cost(self, sequence: BodySequence) -> float:
        return self.weight * float(self.residuals(self.shape.bodies(sequence)).cost.sum())


@dataclass(frozen=True)
class Calm:
    """Bodies near rest that hardly move: what a fit begins with, before it knows more."""

    rest_rad: float = 0.8
    """Standard deviation of each component of a joint's rotation vector."""
    turn_rad: float = 0.1
    """The same of its turn from frame to frame."""
    move_m: float = 0.05
    """The same of the pelvis' move."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Linearise around a sequence."""
        count = sequence.count
        rest, turns, rest_rows, step_rows = self._residuals(sequence)
        by_rest, by_after, by_before = (
            np.zeros((n, FRAME_DIM, FRAME_DIM)) for n in (count, count - 1, count - 1)
        )
        for j in range(NUM_JOINTS):
            block = slice(3 * j, 3 * j + 3)
            if j:
                by_rest[:, block, block] = inverse_right_jacobian(rest[:, j]) / self.rest_rad
            by_after[:, block, block] = inverse_right_jacobian(turns[:, j]) / self.turn_rad
            by_before[:, block, block] = -inverse_right_jacobian(-turns[:, j]) / self.turn_rad
        by_after[:, TURNS:, TURNS:] = np.eye(3) / self.move_m
        by_before[:, TURNS:, TURNS:] = -np.eye(3) / self.move_m
        rows = (
            LinkedRows(np.arange(count), rest_rows, by_rest),
            LinkedRows(np.arange(count - 1), step_rows, np.concatenate([by_before, by_after], -1)),
        )
        return Linearised(rows, self._cost)

    def _residuals(
        self, sequence: BodySequence
    ) -> tuple[
        Float[np.ndarray, "T 24 3"],
        Float[np.ndarray, "M 24 3"],
        Float[np.ndarray, "T 75"],
        Float[np.ndarray, "M 75"],
    ]:
        """Return rotation vectors, turns, and the rows of both."""
        count = sequence.count
        rest = log_so3(sequence.R)
        turns = log_so3(sequence.R[:-1].swapaxes(-1, -2) @ sequence.R[1:])
        rest_rows = np.zeros((count, FRAME_DIM))
        rest_rows[:, 3:TURNS] = -rest[:, 1:].reshape(count, -1) / self.rest_rad
        moves = np.diff(sequence.pelvis, axis=0) / self.move_m
        step_rows = np.concatenate([turns.reshape(count - 1, -1) / self.turn_rad, moves], -1)
        return rest, turns, rest_rows, -step_rows

    def _cost(self, sequence: BodySequence) -> float:
        _, _, rest_rows, step_rows = self._residuals(sequence)
        return half_square(rest_rows) + half_square(step_rows)


def half_square(residual: np.ndarray) -> float:
    """Nats of white residuals."""
    return 0.5 * float((residual**2).sum())
