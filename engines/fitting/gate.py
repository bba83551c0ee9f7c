"""Whether the landmarks of a frame may move its hypotheses at all.

If the flow's posterior is right, the innovation r (landmarks minus the best estimate's projections)
is normal with the covariance S = J C J^T + N, and r^T S^-1 r of n numbers has mean n (Bar-Shalom,
Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4). The
flow was given the same landmarks, so usually it is far less: a third of n on real footage. Where it
exceeds n, landmarks and posterior contradict each other: a landmark is wrong, or the pose is so far
from the flow's that a step along its covariance brings projections near and joints astray. There
the fit gained nothing on real footage, so belief fades out around n, and the step with it. It does
not end at once, or the hypotheses of a video would jump.
"""

import numpy as np
from jaxtyping import Float


def normalised_innovation(
    residual: Float[np.ndarray, "n"],
    J: Float[np.ndarray, "n D"],
    variance: Float[np.ndarray, "n"],
    cov: Float[np.ndarray, "D D"],
) -> float:
    """Return r^T (J C J^T + N)^-1 r / n of one body.

    Args:
        residual: r, of n numbers.
        J: derivative of the predictions.
        variance: diagonal of N, not inflated by a robust loss, which would hide what is tested.
        cov: C.
    """
    S = (J @ cov @ J.T).astype(np.float64)
    S.reshape(-1)[:: len(S) + 1] += variance
    return float(residual @ np.linalg.solve(S, residual)) / len(residual)


def belief(innovation: float, full: float, none: float) -> float:
    """Return the factor in [0, 1] on the step, linear between two innovations."""
    return float(np.clip((none - innovation) / (none - full), 0.0, 1.0))
