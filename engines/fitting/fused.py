"""The solver for landmarks and hinges, with everything that is done per body in kernels.

It takes the same steps as `solver.solve` with `LandmarkResiduals` and `HingeLimits`, and that is
what the tests compare it with. Kernels move bodies and differentiate them; matrix products of all
bodies are one call of BLAS each. Only the coordinates that move a limb joint have columns, and only
the landmarks that were located and the hinges that some body overextends have rows.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.camera import NEAREST_M
from engines.coordinates import DIM, depth_jacobian
from engines.fitting.anchor import Anchor
from engines.fitting.limits import HINGES, UNLIMITED
from engines.fitting.observation import JOINTS, Observation
from engines.fitting.solver import MAX_DAMPING
from engines.kernels import Skeleton
from engines.kernels.solve import SolvePlan
from engines.kernels.steps import Marks, MovedBodies, StepPlan
from engines.types import Hypotheses

_MARKS = Marks(tuple(JOINTS.tolist()), tuple((hinge.joint, hinge.axis) for hinge in HINGES))
_HINGE_JOINTS = np.array([hinge.joint for hinge in HINGES])
_HINGE_AXES = np.array([hinge.axis for hinge in HINGES])
_LOW = np.array([hinge.low for hinge in HINGES], np.float32)
_HIGH = np.array([hinge.high for hinge in HINGES], np.float32)
_PIXELS = 2 * len(JOINTS)
_ROWS = _PIXELS + len(HINGES)


class _Prediction(NamedTuple):
    """What bodies look like: projections of joints, angles of hinges."""

    joints: Float[np.ndarray, "K 12 2"]
    angles: Float[np.ndarray, "K 4"]


class _Rows(NamedTuple):
    """See `residuals.Rows`; the Jacobian is apart."""

    numbers: Int[np.ndarray, "r"]
    """Which rows of the kernels' Jacobian they are: those that say something of some body."""
    residual: Float[np.ndarray, "K r"]
    variance: Float[np.ndarray, "K r"]
    cost: Float[np.ndarray, "K"]


class Targets:
    """Landmarks, aimed at by each body, and the limits of hinges."""

    def __init__(
        self,
        target: Float[np.ndarray, "#K m 2"],
        seen: Observation,
        cauchy: float,
        limit_sigma: float,
    ) -> None:
        """Take landmarks that were located, and where each body's shall go."""
        self._target = target
        self._seen = seen
        self._half_squared = 0.5 * cauchy**2
        self._variance = seen.sigma**2
        self._bend = (cauchy * seen.sigma) ** 2
        self._limit_variance = limit_sigma**2
        self._pixels = rows_of(seen)

    def compare(self, predicted: _Prediction) -> _Rows:
        """Compare bodies with it."""
        count = len(predicted.joints)
        away = self._target - predicted.joints.take(self._seen.index, 1)
        inflated = 1.0 + np.einsum("kmi,kmi->km", away, away) / self._bend
        cost = self._half_squared * np.log(inflated).sum(-1)
        variance = np.repeat(self._variance * inflated, 2, axis=-1)
        beyond = np.minimum(np.maximum(predicted.angles, _LOW), _HIGH) - predicted.angles
        hinges = np.flatnonzero(beyond.any(0))
        if len(hinges) == 0:
            return _Rows(self._pixels, away.reshape(count, -1), variance, cost)
        cost += 0.5 * (beyond**2).sum(-1) / self._limit_variance
        beyond = beyond[:, hinges]
        limit = np.where(beyond == 0, UNLIMITED, np.float32(self._limit_variance))
        return _Rows(
            np.concatenate([self._pixels, _PIXELS + hinges]),
            np.concatenate([away.reshape(count, -1), beyond], 1),
            np.concatenate([variance, limit], 1),
            cost,
        )


def rows_of(seen: Observation) -> Int[np.ndarray, "n"]:
    """Number the rows, x and y, of the joints that were located."""
    return (2 * seen.index[:, None] + np.arange(2)).reshape(-1)


class FusedSolver:
    """Solves for K bodies of one skeleton; its buffers are allocated once, for one thread."""

    def __init__(self, skeleton: Skeleton, num_hypotheses: int, device: str = "cpu") -> None:
        """Compile or load the kernels."""
        self._plan = StepPlan(skeleton, num_hypotheses, _MARKS, device)
        self._solve = SolvePlan(num_hypotheses, _ROWS, device)
        self._none = np.zeros((num_hypotheses, DIM), np.float32)
        self._first = np.arange(num_hypotheses) == 0
        self._shapedirs = skeleton.J_shapedirs.astype(np.float32)

    def load(self, bodies: Hypotheses) -> None:
        """Bring in the bodies to start from."""
        pelvis = np.ascontiguousarray(bodies.joints[:, 0])
        self._plan.load(bodies.rotvec, bodies.betas, pelvis)
        self._first_joints = bodies.joints[0]
        marked = bodies.joints[:, JOINTS]  # posed already: the kernel need not do so again
        projected = marked[..., :2] / np.maximum(marked[..., 2:], NEAREST_M)
        self._start = _Prediction(projected, bodies.rotvec[:, _HINGE_JOINTS, _HINGE_AXES])
        self._move(self._none, self._first)
        self._J = self._plan.jacobian(first_only=True)

    def steps_from_first(self) -> Float[np.ndarray, "K D"]:
        """Return the steps that take body 0 of those that were loaded to each."""
        return self._plan.steps_from_first()

    def projection(
        self, seen: Observation
    ) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "n D"]]:
        """Return body 0's projections of joints that were located, and their derivative."""
        J = np.zeros((2 * len(seen.index), DIM), np.float32)
        J[:, self._plan.columns] = self._J[0, rows_of(seen)]
        return self._start.joints[0, seen.index], J

    def depth_jacobian(self) -> Float[np.ndarray, "12 D"]:
        """Differentiate the depth of body 0's limb joints, relative to the pelvis."""
        R_cam = self._plan.first_rotations()
        return depth_jacobian(self._shapedirs, R_cam, self._first_joints, JOINTS)

    def minimise(
        self, anchor: Anchor, targets: Targets, iterations: int, shared_jacobian: bool
    ) -> Float[np.ndarray, "K D"]:
        """Take damped steps from the loaded bodies; see `solver.solve`."""
        step = self._none
        damping = np.zeros(len(step), np.float32)
        rows = targets.compare(self._start)
        cost, J = rows.cost, self._J
        if not shared_jacobian:
            self._move(step)
        for iteration in range(iterations):
            if iteration or not shared_jacobian:
                J = self._plan.jacobian(shared_jacobian)
            trial, prior = self._damped_step(J[:, rows.numbers], rows, anchor, step, damping)
            trial_rows = targets.compare(self._move(trial))
            better = trial_rows.cost + prior < cost
            damping = np.where(better, 0.1 * damping, np.clip(10.0 * damping, 1.0, MAX_DAMPING))
            if better.all():
                step, rows, cost = trial, trial_rows, trial_rows.cost + prior
            else:
                step = np.where(better[:, None], trial, step)
                cost = np.where(better, trial_rows.cost + prior, cost)
                back = self._move(step, ~better)
                if iteration + 1 < iterations:
                    rows = targets.compare(back)
        return step

    def moved(self, step: Float[np.ndarray, "K D"]) -> MovedBodies:
        """Return the loaded bodies after a step."""
        if step is not self._present or step is self._none:
            self._move(step)
        return self._plan.bodies()

    def _move(
        self, step: Float[np.ndarray, "K D"], chosen: Bool[np.ndarray, "K"] | None = None
    ) -> _Prediction:
        self._present = step
        return _Prediction(*self._plan.move(step, chosen))

    def _damped_step(
        self,
        J: Float[np.ndarray, "#K r C"],
        rows: _Rows,
        anchor: Anchor,
        step: Float[np.ndarray, "K D"],
        damping: Float[np.ndarray, "K"],
    ) -> tuple[Float[np.ndarray, "K D"], Float[np.ndarray, "K"]]:
        """Return the next step from the start, and what it costs in the anchor."""
        columns = self._plan.columns
        kept = (damping / (1.0 + damping))[:, None]
        free = (1.0 / (1.0 + damping))[:, None]  # 1 - kept, which rounds to 0 beside kept = 1
        variance = rows.variance / free
        ahead = rows.residual
        if step is not self._none:
            ahead = ahead + free * (J @ step[:, columns, None])[..., 0]
        to_all = anchor.cov[columns]
        JC = (J.reshape(-1, len(columns)) @ to_all[:, columns]).reshape(J.shape)
        weights = self._solve(JC @ np.swapaxes(J, -1, -2), variance, ahead)
        by_row = weights @ J[0] if len(J) == 1 else (weights[:, None] @ J)[:, 0]
        trial = kept * step + by_row @ to_all
        if kept.any():
            return trial, anchor.cost(trial)
        # The step is C J^T w, so d^T C^-1 d = w^T J C J^T w, and S w is known.
        return trial, 0.5 * (weights * (ahead - variance * weights)).sum(-1)
