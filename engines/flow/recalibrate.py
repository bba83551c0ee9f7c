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
A strong ridge and a body that turns and moves as a whole keep them as they were drawn. On renders
of test subjects a pose loses 1.2, 2.8 and 4.9 nats of its prior (clear, near, ambiguous images;
9.3, 21.9 and 21.3 without the mobility and with a ridge of 3e-4), the deviations of the joints are
9 to 11 % from the wanted ones instead of 6 to 8 %.

Shapes stay those of people: coefficients are not moved beyond `MAX_BETA`. The distance along the
ray, kept apart everywhere, is scaled by itself. Hypothesis 0 does not move,
weights stay, and `log_q` remains the density of the sample that a body was made from.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.flow.statistics import entropy
from engines.kernels import JointPlan, Skeleton
from engines.quaternions import product, quaternion, rotvec_of
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, NUM_JOINTS, Hypotheses, JointMoments
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
_WIDENING = 1e-6
"""(1 mm)^2, added to covariances, which may vanish."""
_ROTATIONS = 3 * NUM_JOINTS
_WHOLE_BODY = [
    *range(0, _ROTATIONS, NUM_JOINTS),
    *range(_ROTATIONS + NUM_BETAS, _ROTATIONS + NUM_BETAS + 3),
]
"""Rows of omega: the root's rotation, whose axes are `NUM_JOINTS` apart, and the pelvis."""
_IDENTITY = np.eye(3, dtype=np.float32)
_LEVI_CIVITA = np.zeros((3, 3, 3))
_LEVI_CIVITA[[0, 1, 2], [1, 2, 0], [2, 0, 1]] = 1.0
_LEVI_CIVITA[[0, 2, 1], [2, 1, 0], [1, 0, 2]] = -1.0


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
        self._forward_kinematics = JointPlan(skeleton, num_hypotheses, device)
        self._parents = skeleton.parents
        self._is_ancestor = _ancestors(skeleton.parents)
        shapedirs = skeleton.J_shapedirs.astype(np.float64)
        self._bone_shapedirs = shapedirs - shapedirs[np.maximum(skeleton.parents, 0)]

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
        around_best = _Coordinates(hypotheses, moments.ray.astype(np.float64))
        T = transport_map(moments.cov.astype(np.float64), cov)
        deviations = _deviations(hypotheses.joints, around_best.ray)  # (24, 3, K)
        displacements = OVER_RELAXATION * limited_change(T) @ deviations
        gain = self._gain(hypotheses, around_best)  # (D, 72)
        omega = around_best.omega + gain @ displacements.reshape(_ROTATIONS, -1)
        distance = scaled_distances(around_best.distance, hypotheses.weights, distance_std)
        return self._posed(around_best.parameters(omega, distance), hypotheses)

    def _posed(self, parameters: "_Parameters", before: Hypotheses) -> PosedHypotheses:
        """Pose the moved bodies; number 0 keeps its numbers to the last digit."""
        rotvec, betas, pelvis = parameters
        posed = self._forward_kinematics(rotvec, _IDENTITY, betas, pelvis)
        moved = Hypotheses(rotvec, betas, posed.transl, posed.joints, before.log_q, before.weights)
        for name in ("rotvec", "betas", "transl", "joints"):
            getattr(moved, name)[0] = getattr(before, name)[0]
        return PosedHypotheses(moved, posed.T_cam_rest)

    def _gain(
        self, hypotheses: Hypotheses, around_best: "_Coordinates"
    ) -> Float[np.ndarray, "D 72"]:
        """Return W J^T (J W J^T + RIDGE I)^-1: displacements of the joints to changes of omega."""
        joints = hypotheses.joints[0].astype(np.float64)
        rotvec = hypotheses.rotvec[0].astype(np.float64)
        weights = hypotheses.weights.astype(np.float64)
        J, omega = self._jacobian(joints, rotvec, around_best.across), around_best.omega
        variance = (omega - (omega @ weights)[:, None]) ** 2 @ weights
        variance[_WHOLE_BODY] *= MOBILITY
        JW = J * variance
        return np.linalg.solve(JW @ J.T + RIDGE * np.eye(_ROTATIONS), JW).T

    def _jacobian(
        self,
        x: Float[np.ndarray, "24 3"],
        rotvec: Float[np.ndarray, "24 3"],
        across: Float[np.ndarray, "3 3"],
    ) -> Float[np.ndarray, "72 D"]:
        """Differentiate the best estimate's joints (24 x 3) with respect to omega.

        A small rotation e in the axes of joint a, R_a e in the camera frame, moves each joint x_j
        below it by R_a e x (x_j - x_a).
        """
        R = exp_so3(rotvec)
        for j, parent in enumerate(self._parents):
            if parent >= 0:
                R[j] = R[parent] @ R[j]
        lever = (x - x[:, None]) * self._is_ancestor.T[..., None]  # (24 a, 24 j, 3)
        cross = np.tensordot(R, _LEVI_CIVITA, (1, 1))  # (24 a, 3 of e, 3 of x_j, 3 of lever)
        by_rotation = lever @ cross.reshape(NUM_JOINTS, 9, 3).swapaxes(1, 2)
        by_rotation = by_rotation.reshape(NUM_JOINTS, NUM_JOINTS, 3, 3).transpose(1, 3, 2, 0)
        bones = R[np.maximum(self._parents, 0)] @ self._bone_shapedirs  # zero for the root
        by_shape = np.tensordot(self._is_ancestor + np.eye(NUM_JOINTS), bones, 1)
        blocks = (
            by_rotation.reshape(_ROTATIONS, _ROTATIONS),
            by_shape.reshape(_ROTATIONS, NUM_BETAS),
            np.tile(across, (NUM_JOINTS, 1)),
        )
        return np.concatenate(blocks, 1)


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

    Each becomes d_0 (d_k / d_0)^power; the power that gives `std` is found by iteration. A body
    that a fit or a broad posterior has put beside or behind the camera counts as near to it.
    """
    log_ratio = np.log(np.maximum(distance / distance[0], _NEAREST_RATIO))
    power, scaled = 1.0, distance
    for _ in range(6):
        present_std = np.sqrt(weights @ (scaled - weights @ scaled) ** 2)
        if present_std < 1e-6:
            break
        power *= std / present_std
        scaled = distance[0] * np.exp(power * log_ratio)
    return scaled


def _deviations(
    joints: Float[np.ndarray, "K 24 3"], ray: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "24 3 K"]:
    """Return each joint's deviation from the best estimate, the common distance removed."""
    deviations = np.ascontiguousarray((joints - joints[0]).transpose(1, 2, 0), np.float64)
    deviations -= ray[:, None] * (ray @ deviations[0])
    return deviations


def _ancestors(parents: tuple[int, ...]) -> Bool[np.ndarray, "24 24"]:
    """Return the table whose entry (j, a) says whether joint a is an ancestor of joint j."""
    ancestors = np.zeros((len(parents), len(parents)), bool)
    for j, parent in enumerate(parents):
        if parent >= 0:
            ancestors[j] = ancestors[parent]
            ancestors[j, parent] = True
    return ancestors


class _Parameters(NamedTuple):
    """Inputs of the forward kinematics."""

    rotvec: Float[np.ndarray, "K 24 3"]
    betas: Float[np.ndarray, "K 10"]
    pelvis: Float[np.ndarray, "K 3"]


class _Coordinates:
    """Bodies as coordinates around hypothesis 0, one column each (see `omega_k` above)."""

    omega: Float[np.ndarray, "D K"]
    distance: Float[np.ndarray, "K"]
    """Distance of the pelvis along the ray, metres."""
    across: Float[np.ndarray, "3 3"]
    """Projection across the ray."""

    def __init__(self, hypotheses: Hypotheses, ray: Float[np.ndarray, "3"]) -> None:
        pelvis = hypotheses.joints[:, 0].astype(np.float64)
        self.ray = ray
        self.across = np.eye(3) - np.outer(ray, ray)
        self.distance = pelvis @ ray
        self._betas = hypotheses.betas[0][:, None]
        self._drawn_betas = hypotheses.betas.T
        self._pelvis = (self.across @ pelvis[0])[:, None]
        w, v = quaternion(np.ascontiguousarray(hypotheses.rotvec.T))
        self._w = w[:, :1].copy()
        self._v = v[..., :1].copy()
        relative = rotvec_of(*product(self._w, -self._v, w, v)).reshape(_ROTATIONS, -1)
        self.omega = np.concatenate(
            [relative, hypotheses.betas.T - self._betas, self.across @ pelvis.T - self._pelvis],
            dtype=np.float64,
        )

    def parameters(
        self, omega: Float[np.ndarray, "D K"], distance: Float[np.ndarray, "K"]
    ) -> _Parameters:
        """Return the bodies at `omega`, their pelvises at `distance` along the ray."""
        relative = omega[:_ROTATIONS].reshape(3, NUM_JOINTS, -1).astype(np.float32)
        rotvec = rotvec_of(*product(self._w, self._v, *quaternion(relative)))
        bound = np.maximum(MAX_BETA, np.abs(self._drawn_betas))
        betas = np.clip(self._betas + omega[_ROTATIONS:-3], -bound, bound)
        pelvis = self._pelvis + self.across @ omega[-3:] + self.ray[:, None] * distance
        parts = (np.ascontiguousarray(part.T, np.float32) for part in (rotvec, betas, pelvis))
        return _Parameters(*parts)
