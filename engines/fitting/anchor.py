"""What holds a hypothesis to the flow: the covariance of the hypotheses themselves.

The flow says with its samples what the image leaves open, and how what is visible and what is
occluded hang together. In the coordinates around the best estimate that is one covariance C for all
hypotheses of a frame; a step d from the sample costs d^T C^-1 d / 2. A hundred samples do not
determine 85 x 85 numbers, so correlations are shrunk towards none (Ledoit and Wolf, 2004, with a
fixed share), and no direction is quite stiff.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from engines.camera import look_at
from engines.coordinates import DIM, PELVIS
from engines.fitting.bodies import Bodies, steps_from_first
from engines.fitting.residuals import Rows

_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True)
class Anchor:
    """A normal distribution of the step, around none."""

    cov: Float[np.ndarray, "D D"]

    def cost(self, step: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K"]:
        """Negative log density of steps, nats, without its constant."""
        white = step @ self._whitening.T
        return 0.5 * (white * white).sum(-1)

    @cached_property
    def precision(self) -> Float[np.ndarray, "D D"]:
        """C^-1, in the dtype of C."""
        return self._whitening.T @ self._whitening

    @cached_property
    def _whitening(self) -> Float[np.ndarray, "D D"]:
        """L^-1 of C = L L^T, in the dtype of C."""
        L = np.linalg.cholesky(self.cov.astype(np.float64))
        return np.linalg.inv(L).astype(self.cov.dtype)


def anchor_of(bodies: Bodies, weights: Float[np.ndarray, "K"], shrinkage: float) -> Anchor:
    """Take the covariance of hypotheses; see `anchor_of_steps`."""
    return anchor_of_steps(steps_from_first(bodies), weights, shrinkage, bodies.pelvis[0])


def anchor_of_steps(
    steps: Float[np.ndarray, "K D"],
    weights: Float[np.ndarray, "K"],
    shrinkage: float,
    pelvis: Float[np.ndarray, "3"],
) -> Anchor:
    """Take the covariance of hypotheses, in the coordinates around number 0.

    Of the pelvis' position the distance is least certain. Off the camera's axis that is a
    correlation of its coordinates, which must not be shrunk: there they are taken along and across
    the viewing ray.

    Args:
        steps: from number 0 to each of them.
        weights: theirs, which sum to one.
        shrinkage: share of the diagonal matrix in the mixture of it and the full one.
        pelvis: of number 0, camera frame, metres.
    """
    R_cam_ray = look_at(pelvis[:2] / pelvis[2]).astype(steps.dtype)
    steps = steps - weights @ steps
    steps[:, PELVIS] = steps[:, PELVIS] @ R_cam_ray
    cov = (steps * weights[:, None]).T @ steps
    diagonal = cov.reshape(-1)[:: DIM + 1]  # a view
    variance = diagonal + _LEAST_VARIANCE
    cov *= 1.0 - shrinkage
    diagonal[:] = variance
    cov[PELVIS] = R_cam_ray @ cov[PELVIS]
    cov[:, PELVIS] = cov[:, PELVIS] @ R_cam_ray.T
    return Anchor(cov)


def holding(anchor: Anchor, J: Float[np.ndarray, "r D"], sigma: float) -> Anchor:
    """Condition an anchor on steps that leave something as it is, to first order.

        C - C J^T (J C J^T + sigma^2 I)^-1 J C

    Args:
        anchor: C.
        J: derivative of what is to stay.
        sigma: how far it may change, in its units; above 0.
    """
    assert sigma > 0
    JC = (J @ anchor.cov).astype(np.float64)
    S = JC @ J.T
    S[np.diag_indices(len(S))] += sigma**2
    white = np.linalg.solve(np.linalg.cholesky(S), JC)
    return Anchor((anchor.cov - white.T @ white).astype(anchor.cov.dtype))


def conditioned(
    anchor: Anchor,
    steps: Float[np.ndarray, "K D"],
    rows: Rows,
    share: float,
    noise: Float[np.ndarray, "K r"],
) -> tuple[Anchor, Float[np.ndarray, "K D"]]:
    """Condition samples of an anchor on rows, which are linear around number 0.

    A sample at s is moved as Kalman's filter moves its mean, and the covariance shrinks likewise:

        s + G (r + e - J s)     C - G J C     with     G = C J^T (J C J^T + N / share)^-1

    With e drawn from N / share samples become samples, else they lie too close together.

    Args:
        anchor: C.
        steps: s, from number 0 to each of the samples.
        rows: r, J and N of number 0.
        share: power to which the likelihood of the rows is taken, above 0.
        noise: e in standard deviations.

    Returns:
        The anchor afterwards, and how each sample is moved.
    """
    J = rows.J[0].astype(np.float64)
    JC = J @ anchor.cov
    S = JC @ J.T
    variance = rows.variance[0] / share
    S[np.diag_indices(len(S))] += variance
    gain = np.linalg.solve(S, JC)  # (r, D)
    cov = anchor.cov - JC.T @ gain
    moves = (rows.residual[0] + np.sqrt(variance) * noise - steps @ J.T) @ gain
    dtype = anchor.cov.dtype
    return Anchor((0.5 * (cov + cov.T)).astype(dtype)), moves.astype(dtype)
