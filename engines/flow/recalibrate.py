"""Move hypotheses until their joints have calibrated covariances, and keep them bodies.

A calibration changes the covariance C_j of each joint to C*_j. Moving joints one by one would tear
bodies apart, so their parameters move, in coordinates relative to the best estimate (k = 0):

    omega_k = (log(R_0j^T R_kj) for each joint j,  betas_k - betas_0,  p_k - p_0)    (85 numbers)

with the pelvis p projected across the viewing ray. Three steps:

1. Target displacements. The least displacement that turns C_j into C*_j is the symmetric linear map
   T_j = C^-1/2 (C^1/2 C* C^1/2)^1/2 C^-1/2, the optimal transport between two Gaussians (Olkin and
   Pukelsheim, 1982). A joint at the deviation d_kj = x_kj - x_0j is to move by (T_j - I) d_kj.
2. Ridge regression. With J = dx / domega at the best estimate and W = diag(var_k omega_k), times
   `MOBILITY` for the orientation and the place of the whole body, the parameters follow all the
   joints of a body at once, those that vary most moving most:

       omega_k += W J^T (J W J^T + RIDGE I)^-1 OVER_RELAXATION (T - I) d_k

3. Forward kinematics. Joints move on arcs and bones keep their lengths, so the targets are not
   quite reached; over-relaxation makes up for that on average.

Poses pay for every joint that moves: a body that is bent for a single one is no longer plausible.
A strong ridge keeps them as they were drawn, and the deviations of the joints less close to the
wanted ones; the mobility has what all joints ask for together done by a turn of the body, not by
bending it. On renders of test subjects a pose loses 1.2, 2.8 and 4.9 nats of its prior (clear,
near, ambiguous images; 9.3, 21.9 and 21.3 without the mobility and with a ridge of 3e-4), the
deviations of the joints are 9 to 11 % from the wanted ones instead of 6 to 8 %. That is the ridge's
doing: on the demo clip a pose loses 18 nats with neither and with the mobility alone, 3.5 with the
ridge alone and 3.2 with both.

Shapes stay those of people: coefficients are not moved beyond `MAX_BETA`. The distance along the
ray, kept apart everywhere, is scaled by itself. Hypothesis 0 does not move,
weights stay, and `log_q` remains the density of the sample that a body was made from.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM, TURNS, joint_jacobian
from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.flow.statistics import entropy
from engines.kernels import Skeleton
from engines.kernels.steps import Marks, StepPlan
from engines.types import NUM_JOINTS, Hypotheses, JointMoments
from engines.uncertainty import CovarianceCalibration

RIDGE = 0.03
"""Square metres; the larger, the less a body bends for a single joint."""
OVER_RELAXATION = 1.5
"""Factor on the target displacements."""
MOBILITY = 100.0
"""Factor on the variance of the whole body's orientation and place, which cost no plausibility."""
MAX_BETA = 3.5
"""Shape coefficients are not moved beyond this: they are standard normal in the population."""
_MAX_CHANGE = 1.5
"""Limit of |T - I| (Frobenius): joints that hardly vary cannot be made to vary at will."""
_NEAREST_RATIO = 0.05
"""Smallest distance along the ray, in relation to the best estimate's."""
_MAX_POWER = 32.0
"""Largest power of distances' ratios: bodies at one distance cannot be spread at will."""
_MAX_TRIALS = 60
_WIDENING = 1e-6
"""(1 mm)^2, added to covariances, which may vanish."""
_WHOLE_BODY = [*range(3), *range(DIM - 3, DIM)]
"""Columns of omega: the root's rotation and the pelvis."""


class Calibrated(NamedTuple):
    """A posterior whose hypotheses and covariances agree."""

    posed: PosedHypotheses
    cov: Float[np.ndarray, "24 3 3"]
    """Joint covariances, the common distance removed, camera frame, square metres."""
    distance_std: float
    """Standard deviation of the person's distance along the ray, metres."""


class Recalibrator:
    """Recalibrates K hypotheses of one body model; one thread at a time."""

    def __init__(self, skeleton: Skeleton, num_hypotheses: int, device: str = "cpu") -> None:
        """Allocate.

        Args:
            skeleton: of the body model.
            num_hypotheses: K.
            device: of the forward kinematics, "cpu" or "cuda:N".
        """
        self._bodies = StepPlan(skeleton, num_hypotheses, Marks((), ()), device)
        self._none = np.zeros((num_hypotheses, DIM), np.float32)
        self._first = np.arange(num_hypotheses) == 0
        self._shapedirs = skeleton.J_shapedirs.astype(np.float32)

    def calibrated(
        self, samples: FlowOutput, moments: JointMoments, calibration: CovarianceCalibration | None
    ) -> Calibrated:
        """Apply a calibration to samples and their moments; None leaves them as they are."""
        if calibration is None:
            return Calibrated(samples.posed, moments.cov.astype(float), moments.distance_std)
        nats = entropy(samples.hypotheses)
        cov, distance_std = calibration.apply_to_person(
            moments, samples.joint_visible, nats, samples.half_size, samples.heavy
        )
        return Calibrated(self(samples.hypotheses, moments, cov, distance_std), cov, distance_std)

    def __call__(
        self,
        hypotheses: Hypotheses,
        moments: JointMoments,
        cov: Float[np.ndarray, "24 3 3"],
        distance_std: float,
    ) -> PosedHypotheses:
        """Move the bodies.

        Args:
            hypotheses: K bodies.
            moments: of their joints.
            cov: wanted of the joints, the common distance removed, camera frame, square metres.
            distance_std: wanted of the pelvis' distance along the ray, metres.
        """
        ray = moments.ray
        across = np.eye(3, dtype=np.float32) - np.outer(ray, ray)
        pelvis = np.ascontiguousarray(hypotheses.joints[:, 0])
        self._bodies.load(hypotheses.rotvec, hypotheses.betas, pelvis)
        omega = self._bodies.steps_from_first()
        omega[:, -3:] @= across
        change = limited_change(transport_map(moments.cov.astype(np.float64), cov))
        change = (OVER_RELAXATION * change).astype(np.float32)
        displacements = _deviations(hypotheses.joints, ray) @ change.swapaxes(1, 2)  # (24, K, 3)
        displacements = displacements.swapaxes(0, 1).reshape(-1, 3 * NUM_JOINTS)
        omega += displacements @ self._gain(omega, hypotheses, across)
        distance = scaled_distances(pelvis @ ray, hypotheses.weights, distance_std)
        omega[:, -3:] = omega[:, -3:] @ across + (distance - distance[0])[:, None] * ray
        omega[:, TURNS:-3] = _bounded(omega[:, TURNS:-3], hypotheses.betas)
        return self._moved(omega, hypotheses)

    def _moved(self, omega: Float[np.ndarray, "K D"], before: Hypotheses) -> PosedHypotheses:
        """Pose the moved bodies; number 0 keeps its numbers to the last digit."""
        self._bodies.load_first()
        self._bodies.move(omega)
        after = self._bodies.bodies()
        arrays = {name: getattr(after, name) for name in ("rotvec", "betas", "transl", "joints")}
        for name, array in arrays.items():
            array[0] = getattr(before, name)[0]
        return PosedHypotheses(replace(before, **arrays), after.T_cam_rest)

    def _gain(
        self,
        omega: Float[np.ndarray, "K D"],
        hypotheses: Hypotheses,
        across: Float[np.ndarray, "3 3"],
    ) -> Float[np.ndarray, "72 D"]:
        """Return (J W J^T + RIDGE I)^-1 J W: displacements of the joints to changes of omega."""
        self._bodies.move(self._none, self._first)
        R_cam, first = self._bodies.first_rotations()[None], hypotheses.joints[:1]
        J = joint_jacobian(self._shapedirs, R_cam, first, np.arange(NUM_JOINTS))
        J[..., -3:] = across
        J = J.reshape(-1, DIM)
        weights = hypotheses.weights
        variance = weights @ (omega - weights @ omega) ** 2
        variance[_WHOLE_BODY] *= MOBILITY
        JW = J * variance
        S = JW @ J.T
        S.reshape(-1)[:: len(S) + 1] += RIDGE
        return np.linalg.solve(S, JW)


def transport_map(
    cov: Float[np.ndarray, "*B 3 3"], target: Float[np.ndarray, "*B 3 3"]
) -> Float[np.ndarray, "*B 3 3"]:
    """Return the symmetric positive T with T cov T = target, both widened by a millimetre.

    With cov = L L^T and M = L^T target L it is L^-T M^1/2 L^-1.
    """
    widening = _WIDENING * np.eye(3)
    L = np.linalg.cholesky(cov + widening)
    values, vectors = np.linalg.eigh(L.swapaxes(-1, -2) @ (target + widening) @ L)
    basis = np.linalg.inv(L).swapaxes(-1, -2) @ vectors
    return (basis * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ basis.swapaxes(-1, -2)


def limited_change(T: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Return T - I, scaled down to the norm `_MAX_CHANGE` where it is larger."""
    change = T - np.eye(3)
    size = np.sqrt((change**2).sum((-2, -1), keepdims=True))
    return change * np.minimum(1.0, _MAX_CHANGE / np.maximum(size, 1e-9))


def scaled_distances(
    distance: Float[np.ndarray, "K"], weights: Float[np.ndarray, "K"], std: float
) -> Float[np.ndarray, "K"]:
    """Return distances with the standard deviation `std`, all of them positive.

    Each becomes d_0 (d_k / d_0)^power. The deviation grows exponentially with the power, so that
    power *= std / deviation may overshoot further every time: where it leaves the bracket of what
    was tried, and every third time anyway, the bracket is halved. A body that a fit or a broad
    posterior has put beside or behind the camera counts as near to it.
    """
    log_ratio = np.log(np.maximum(distance / distance[0], _NEAREST_RATIO))
    power, low, high, scaled = 1.0, 0.0, _MAX_POWER, distance
    for trial in range(_MAX_TRIALS):
        present_std = np.sqrt(weights @ (scaled - weights @ scaled) ** 2)
        if present_std < 1e-6 or abs(std - present_std) < 1e-4 * std:
            break
        low, high = (power, high) if present_std < std else (low, power)
        wanted = power * std / present_std
        halve = trial % 3 == 2 or not low < wanted < high
        power = 0.5 * (low + high) if halve else wanted
        scaled = distance[0] * np.exp(power * log_ratio)
    return scaled


def _deviations(
    joints: Float[np.ndarray, "K 24 3"], ray: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "24 K 3"]:
    """Return each joint's deviation from the best estimate, the common distance removed."""
    deviations = np.ascontiguousarray((joints - joints[0]).swapaxes(0, 1))
    deviations -= (deviations[0] @ ray)[:, None] * ray
    return deviations


def _bounded(
    change: Float[np.ndarray, "K 10"], betas: Float[np.ndarray, "K 10"]
) -> Float[np.ndarray, "K 10"]:
    """Return changes of number 0's shape that lead beyond `MAX_BETA` only who was there before."""
    bound = np.maximum(MAX_BETA, np.abs(betas))
    return np.clip(change, -bound - betas[0], bound - betas[0])
