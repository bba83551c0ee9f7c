"""The solver for landmarks and hinges, with everything that is done per body in kernels.

It takes the same steps as `solver.solve` with `LandmarkResiduals` and `HingeLimits`, and that is
what the tests compare it with. Kernels move bodies and differentiate them; matrix products of all
bodies are one call of BLAS each. Rows are always those of all limb landmarks and all hinges: what
says nothing has a row of zeros, and only the coordinates that move a limb joint have columns.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from engines.fitting.anchor import Anchor
from engines.fitting.bodies import DIM
from engines.fitting.limits import HINGES
from engines.fitting.observation import JOINTS, Observation
from engines.kernels import Skeleton
from engines.kernels.solve import SolvePlan
from engines.kernels.steps import Marks, MovedBodies, StepPlan
from engines.types import Hypotheses

_MARKS = Marks(tuple(JOINTS.tolist()), tuple((hinge.joint, hinge.axis) for hinge in HINGES))
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

    residual: Float[np.ndarray, "K r"]
    variance: Float[np.ndarray, "K r"]
    cost: Float[np.ndarray, "K"]


class Evidence:
    """Landmarks, aimed at by each body, and limits; all rows, whether they say something or not."""

    def __init__(
        self,
        target: Float[np.ndarray, "#K m 2"],
        seen: Observation,
        cauchy: float,
        limit_sigma: float,
    ) -> None:
        """Spread the landmarks that were located over the rows of all limb landmarks."""
        self.target = np.zeros((len(target), len(JOINTS), 2), np.float32)
        self.target[:, seen.index] = target
        self.believed = np.zeros(len(JOINTS), bool)
        self.believed[seen.index] = True
        self.sigma = np.ones(len(JOINTS), np.float32)
        self.sigma[seen.index] = seen.sigma
        self.cauchy = cauchy
        self.limit_variance = limit_sigma**2

    def compare(self, predicted: _Prediction) -> _Rows:
        """Compare bodies with it."""
        count = len(predicted.joints)
        residual = np.empty((count, _ROWS), np.float32)
        variance = np.empty_like(residual)
        away = (self.target - predicted.joints) * self.believed[:, None]
        residual[:, :_PIXELS] = away.reshape(count, -1)
        squared = (away[..., 0] ** 2 + away[..., 1] ** 2) / (self.cauchy * self.sigma) ** 2
        variance[:, :_PIXELS] = np.repeat(self.sigma**2 * (1.0 + squared), 2, axis=-1)
        beyond = np.clip(predicted.angles, _LOW, _HIGH) - predicted.angles
        residual[:, _PIXELS:] = beyond
        variance[:, _PIXELS:] = self.limit_variance
        cost = 0.5 * self.cauchy**2 * np.log1p(squared).sum(-1)
        return _Rows(residual, variance, cost + 0.5 * (beyond**2).sum(-1) / self.limit_variance)

    def masked(self, J: Float[np.ndarray, "K r C"], rows: _Rows) -> Float[np.ndarray, "K r C"]:
        """Clear the rows that say nothing, in place."""
        for landmark in np.flatnonzero(~self.believed):
            J[:, 2 * landmark : 2 * landmark + 2] = 0.0
        J[:, _PIXELS:] *= (rows.residual[:, _PIXELS:] != 0.0)[..., None]
        return J


class FusedSolver:
    """Solves for K bodies of one skeleton; its buffers are allocated once, for one thread."""

    def __init__(self, skeleton: Skeleton, num_hypotheses: int, device: str = "cpu") -> None:
        """Compile or load the kernels."""
        self._plan = StepPlan(skeleton, num_hypotheses, _MARKS, device)
        self._solve = SolvePlan(num_hypotheses, _ROWS, device)
        self._none = np.zeros((num_hypotheses, DIM), np.float32)

    def load(self, bodies: Hypotheses) -> None:
        """Bring in the bodies to start from."""
        pelvis = np.ascontiguousarray(bodies.joints[:, 0])
        self._plan.load(bodies.rotvec, bodies.betas, pelvis)
        self._start = _Prediction(*self._plan.move(self._none))
        self._J = self._plan.jacobian()

    def steps_from_first(self) -> Float[np.ndarray, "K D"]:
        """Return the steps that take body 0 to each."""
        return self._plan.steps_from_first()

    def projection(
        self, seen: Observation
    ) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "n D"]]:
        """Return body 0's projections of joints that were located, and their derivative."""
        J = np.zeros((2 * len(seen.index), DIM), np.float32)
        rows = np.repeat(2 * seen.index, 2)
        rows[1::2] += 1
        J[:, self._plan.columns] = self._J[0, rows]
        return self._start.joints[0, seen.index], J

    def minimise(
        self, anchor: Anchor, evidence: Evidence, iterations: int
    ) -> Float[np.ndarray, "K D"]:
        """Take damped steps from the loaded bodies; see `solver.solve`."""
        plan, step = self._plan, self._none
        damping = np.zeros(len(step), np.float32)
        rows = evidence.compare(self._start)
        cost, J = rows.cost, self._J
        for iteration in range(iterations):
            if iteration:
                J = plan.jacobian()
            trial, prior = self._damped_step(evidence.masked(J, rows), rows, anchor, step, damping)
            trial_rows = evidence.compare(_Prediction(*plan.move(trial)))
            better = trial_rows.cost + prior < cost
            damping = np.where(better, 0.1 * damping, np.maximum(1.0, 10.0 * damping))
            if better.all():
                step, rows, cost = trial, trial_rows, trial_rows.cost + prior
            else:
                step = np.where(better[:, None], trial, step)
                cost = np.where(better, trial_rows.cost + prior, cost)
                rows = evidence.compare(_Prediction(*plan.move(step)))
        return step

    def moved(self, step: Float[np.ndarray, "K D"]) -> MovedBodies:
        """Return the loaded bodies after a step."""
        self._plan.move(step)
        return self._plan.bodies()

    def _damped_step(
        self,
        J: Float[np.ndarray, "K r C"],
        rows: _Rows,
        anchor: Anchor,
        step: Float[np.ndarray, "K D"],
        damping: Float[np.ndarray, "K"],
    ) -> tuple[Float[np.ndarray, "K D"], Float[np.ndarray, "K"]]:
        """Return the next step from the start, and what it costs in the anchor."""
        columns = self._plan.columns
        kept = (damping / (1.0 + damping))[:, None]
        variance = rows.variance / (1.0 - kept)
        ahead = rows.residual + (1.0 - kept) * (J @ step[:, columns, None])[..., 0]
        to_all = anchor.cov[columns]
        JC = (J.reshape(-1, len(columns)) @ to_all[:, columns]).reshape(J.shape)
        S = JC @ np.swapaxes(J, -1, -2)
        S[:, range(_ROWS), range(_ROWS)] += variance
        weights = self._solve(S, ahead)
        trial = kept * step + (weights[:, None] @ J)[:, 0] @ to_all
        if kept.any():
            return trial, anchor.cost(trial)
        # The step is C J^T w, so d^T C^-1 d = w^T J C J^T w, and S w is known.
        return trial, 0.5 * (weights * (ahead - variance * weights)).sum(-1)
