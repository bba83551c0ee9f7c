"""The step: Levenberg-Marquardt in the form of a Kalman update, for all bodies at once.

Each body x_i is moved by the step d that minimises

    sum of the rows' costs(x_i + d)  +  d^T C^-1 d / 2

With residuals r, Jacobian J and variances N at the present step a, and the damping l in the metric
of the anchor (l = 0 is Gauss-Newton), the next step is

    a' = s a + C' J^T (J C' J^T + N)^-1 (r + (1 - s) J a)        s = l / (1 + l), C' = (1 - s) C

which needs a matrix as large as there are rows. Where there are more rows than coordinates, the
same step comes from the information form (C'^-1 + J^T N^-1 J)^-1; the matrix inversion lemma says
so, and a test. A step that does not lower the objective is taken back and damped more, so what
comes out is never worse than what went in. Which numbers a step has says a chart (`charts.py`): J
is taken at the moved body and brought back to the start, where C is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, chosen
from engines.fitting.charts import Chart
from engines.fitting.residuals import Residuals, Rows, stacked

MAX_DAMPING = 1e8
"""From here on a step goes nowhere."""


@dataclass(frozen=True)
class Solution:
    """Bodies where the solver left them."""

    bodies: Bodies
    step: Float[np.ndarray, "K D"]
    """From where they started."""
    cost_before: Float[np.ndarray, "K"]
    """The objective at the start, nats."""
    cost: Float[np.ndarray, "K"]
    """The objective now, nats; nowhere larger."""
    rows: Rows
    """There, J by the step."""


def solve(
    chart: Chart,
    anchor: Anchor,
    residuals: Sequence[Residuals],
    iterations: int,
    shared_jacobian: bool = False,
    step: Float[np.ndarray, "K D"] | None = None,
) -> Solution:
    """Minimise the objective of each body by a number of damped steps.

    Args:
        chart: the bodies, and the coordinates that they are moved in.
        anchor: what holds the step near 0.
        residuals: what bodies should agree with.
        iterations: how many steps are tried.
        shared_jacobian: whether all bodies take the derivatives of body 0.
        step: to begin with; 0 when None.
    """

    def compare(bodies: Bodies, step: Float[np.ndarray, "K D"]) -> Rows:
        rows = stacked([one(bodies) for one in residuals])
        J = rows.J[:1] if shared_jacobian else rows.J
        return replace(rows, J=chart.derivative(J, step[: len(J)]))

    if step is None:
        step = np.zeros((chart.count, chart.dim), anchor.cov.dtype)
    bodies = chart.bodies(step)
    rows = compare(bodies, step)
    damping = np.zeros(chart.count)
    cost_before = cost = rows.cost + anchor.cost(step)
    for _ in range(iterations):
        trial_step = damped_step(rows, anchor, step, damping)
        trial = chart.bodies(trial_step)
        trial_rows = compare(trial, trial_step)
        trial_cost = trial_rows.cost + anchor.cost(trial_step)
        better = trial_cost < cost
        damping = np.where(better, 0.1 * damping, np.clip(10.0 * damping, 1.0, MAX_DAMPING))
        bodies, rows = chosen(better, trial, bodies), _chosen_rows(better, trial_rows, rows)
        step = np.where(better[:, None], trial_step, step)
        cost = np.where(better, trial_cost, cost)
    return Solution(bodies, step, cost_before, cost, rows)


def damped_step(
    rows: Rows,
    anchor: Anchor,
    step: Float[np.ndarray, "K D"],
    damping: Float[np.ndarray, "K"],
) -> Float[np.ndarray, "K D"]:
    """Return the next step from the start, given the present one (see above)."""
    damping = damping[:, None]
    kept = (damping / (1.0 + damping)).astype(step.dtype)
    free = (1.0 / (1.0 + damping)).astype(step.dtype)  # 1 - s, which rounds to 0 beside s = 1
    J = rows.J
    ahead = rows.residual + free * (J @ step[..., None])[..., 0]
    variance = rows.variance / free  # C' = (1 - s) C and N are as C and N / (1 - s)
    if J.shape[1] <= J.shape[2]:
        return kept * step + kalman_update(J, anchor.cov, variance, ahead)
    return kept * step + information_update(J, anchor.precision, variance, ahead)


def kalman_update(
    J: Float[np.ndarray, "#K r D"],
    cov: Float[np.ndarray, "D D"],
    variance: Float[np.ndarray, "K r"],
    ahead: Float[np.ndarray, "K r"],
) -> Float[np.ndarray, "K D"]:
    """Return C J^T (J C J^T + N)^-1 t of each body."""
    JC = (J.reshape(-1, J.shape[-1]) @ cov).reshape(J.shape)
    S = JC @ np.swapaxes(J, -1, -2) + variance[..., None] * np.eye(J.shape[1], dtype=J.dtype)
    weights = np.linalg.solve(S, ahead[..., None])
    return (np.swapaxes(weights, -1, -2) @ JC)[:, 0]


def information_update(
    J: Float[np.ndarray, "#K r D"],
    precision: Float[np.ndarray, "D D"],
    variance: Float[np.ndarray, "K r"],
    ahead: Float[np.ndarray, "K r"],
) -> Float[np.ndarray, "K D"]:
    """Return (P + J^T N^-1 J)^-1 J^T N^-1 t of each body with P = C^-1: the same."""
    weighted = np.swapaxes(J / variance[..., None], -1, -2)
    information = precision + weighted @ J
    return np.linalg.solve(information, weighted @ ahead[..., None])[..., 0]


def _chosen_rows(where: Bool[np.ndarray, "K"], yes: Rows, no: Rows) -> Rows:
    return Rows(
        np.where(where[:, None], yes.residual, no.residual),
        np.where(where[: len(yes.J), None, None], yes.J, no.J),
        np.where(where[:, None], yes.variance, no.variance),
        np.where(where, yes.cost, no.cost),
    )
