"""Move hypotheses so that their joints have the covariance that a calibration asks for, and stay
bodies.

A calibration changes covariances; hypotheses drawn before it would say something else than the
ellipsoids beside them. Moving joints would tear bodies apart, so what is moved are the bodies' own
coordinates, relative to the best estimate (number 0):

    omega = (log(R_0j^T R_kj) for each joint j, betas_k - betas_0, pelvis_k - pelvis_0 across the
    ray)

1. For each joint the least motion that turns the present covariance C into the wanted one C* is the
symmetric linear map
   T = C^-1/2 (C^1/2 C* C^1/2)^1/2 C^-1/2 (optimal transport between Gaussians: Olkin and
   Pukelsheim, 1982). It asks the joint at a deviation d from the best estimate to move by (T - I)
   d.
2. All joints of a body ask at once, and omega can only follow as far as bones allow. With J the
Jacobian of the joints at the
   best estimate and W the variances of omega among the hypotheses, the answer of ridge regression
   is

       omega += W J^T (J W J^T + RIDGE I)^-1 (T - I) d

   so coordinates that vary already move most.
3. Forward kinematics again. Joints move on arcs, bones keep their lengths, and the ridge holds
back; `BOLDNESS` makes up for
   it on average. A second round would halve the median error of 5 % and double the time; the
   largest errors are bodies that would need longer arms, and stay.

The distance along the ray, which is kept apart everywhere, is scaled by itself. Number 0 does not
move, weights stay, and `log_q` remains the density of the draw that a body was made from.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from engines.flow.sampler import FlowOutput
from engines.flow.statistics import entropy
from engines.kernels import JointPlan, Skeleton
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, NUM_JOINTS, Hypotheses, JointMoments
from engines.uncertainty import CovarianceCalibration

RIDGE = 3e-4
"""Square metres: the larger, the less a body is bent for what only one joint asks for."""
BOLDNESS = 1.2
"""By how much more is asked for than wanted."""
_MAX_CHANGE = 1.5
"""Of |T - I|: joints that hardly vary cannot be made to vary at will."""
_SMALLEST = 1e-6
"""(1 mm)^2, added to covariances: where the hypotheses agree there is nothing to stretch."""
_ROTATIONS = 3 * NUM_JOINTS
_UNTURNED = np.eye(3, dtype=np.float32)
_LEVI_CIVITA = np.zeros((3, 3, 3))
_LEVI_CIVITA[[0, 1, 2], [1, 2, 0], [2, 0, 1]] = 1.0
_LEVI_CIVITA[[0, 2, 1], [2, 1, 0], [1, 0, 2]] = -1.0


class Calibrated(NamedTuple):
    """What users get of the draws."""

    hypotheses: Hypotheses
    cov: Float[np.ndarray, "24 3 3"]
    """Of the joints, the common distance removed, camera frame, square metres."""
    distance_std: float
    """Of the person's distance along the ray, metres."""


class Recalibrator:
    """Overwrites the buffers of the plan that it is given; one thread at a time."""

    def __init__(self, skeleton: Skeleton, joints: JointPlan) -> None:
        """Prepare.

        Args:
            skeleton: of the body.
            joints: for this skeleton and the right number of hypotheses; afterwards it holds the
                moved bodies.
        """
        self._joints = joints
        self._parents = skeleton.parents
        self._above = _ancestors(skeleton.parents)
        shapedirs = skeleton.J_shapedirs.astype(np.float64)
        self._bone_shapedirs = shapedirs - shapedirs[np.maximum(skeleton.parents, 0)]

    def calibrated(
        self, samples: FlowOutput, moments: JointMoments, calibration: CovarianceCalibration | None
    ) -> Calibrated:
        """Covariances and hypotheses as they should have been drawn; unchanged without a
        calibration.
        """
        hypotheses, cov = samples.hypotheses, moments.cov.astype(float)
        if calibration is None:
            return Calibrated(hypotheses, cov, moments.distance_std)
        nats = entropy(hypotheses)
        cov = calibration.apply(cov, moments.ray.astype(float), samples.joint_visible, nats)
        distance_std = float(calibration.apply_to_distance(moments.distance_std, nats))
        return Calibrated(self(hypotheses, moments, cov, distance_std), cov, distance_std)

    def __call__(
        self,
        hypotheses: Hypotheses,
        moments: JointMoments,
        cov: Float[np.ndarray, "24 3 3"],
        distance_std: float,
    ) -> Hypotheses:
        """Move the bodies.

        Args:
            hypotheses: as many as the plan has.
            moments: theirs.
            cov: that the joints are to have, the common distance removed, camera frame, square
                metres.
            distance_std: that the pelvis' distance along the ray is to have, metres.
        """
        chart = _Chart(hypotheses, moments.ray.astype(np.float64))
        change = BOLDNESS * limited_change(least_motion(moments.cov.astype(np.float64), cov))
        wishes = _deviations(hypotheses.joints, chart.ray, change)
        omega = chart.omega + self._gain(hypotheses, chart) @ wishes
        distance = scaled_distances(chart.distance, hypotheses.weights, distance_std)
        bodies = chart.bodies(omega, distance)
        posed = self._joints(bodies.rotvec, _UNTURNED, bodies.betas, bodies.pelvis)
        moved = Hypotheses(
            bodies.rotvec,
            bodies.betas,
            posed.transl,
            posed.joints,
            hypotheses.log_q,
            hypotheses.weights,
        )
        for name in ("rotvec", "betas", "transl", "joints"):
            getattr(moved, name)[0] = getattr(hypotheses, name)[
                0
            ]  # which only rounding has touched
        return moved

    def _gain(self, hypotheses: Hypotheses, chart: "_Chart") -> Float[np.ndarray, "D 72"]:
        """How omega answers to wishes of the joints."""
        joints, rotvec = (
            hypotheses.joints[0].astype(np.float64),
            hypotheses.rotvec[0].astype(np.float64),
        )
        J, omega = self._jacobian(joints, rotvec, chart.across), chart.omega
        weights = hypotheses.weights.astype(np.float64)
        variance = (omega - (omega @ weights)[:, None]) ** 2 @ weights
        JW = J * variance
        return np.linalg.solve(JW @ J.T + RIDGE * np.eye(_ROTATIONS), JW).T

    def _jacobian(
        self,
        x: Float[np.ndarray, "24 3"],
        rotvec: Float[np.ndarray, "24 3"],
        across: Float[np.ndarray, "3 3"],
    ) -> Float[np.ndarray, "72 D"]:
        """Of the best estimate's joints (24 x 3) with respect to omega.

        A turn by e about the axes of joint a, R_a e, moves a joint x_j below it by R_a e x (x_j -
        x_a).
        """
        R = exp_so3(rotvec)
        for j, parent in enumerate(self._parents):
            if parent >= 0:
                R[j] = R[parent] @ R[j]
        lever = (x - x[:, None]) * self._above.T[..., None]  # (24 turned, 24 moved, 3)
        turn = np.tensordot(R, _LEVI_CIVITA, (1, 1))  # (24 turned, 3 axes, 3 moved, 3 of lever)
        turned = lever @ turn.reshape(NUM_JOINTS, 9, 3).swapaxes(1, 2)
        turned = (
            turned.reshape(NUM_JOINTS, NUM_JOINTS, 3, 3)
            .transpose(1, 3, 2, 0)
            .reshape(_ROTATIONS, _ROTATIONS)
        )
        bones = R[np.maximum(self._parents, 0)] @ self._bone_shapedirs  # zero for the root
        shape = np.tensordot(self._above + np.eye(NUM_JOINTS), bones, 1).reshape(
            _ROTATIONS, NUM_BETAS
        )
        return np.concatenate([turned, shape, np.tile(across, (NUM_JOINTS, 1))], 1)


def least_motion(
    cov: Float[np.ndarray, "*B 3 3"], wanted: Float[np.ndarray, "*B 3 3"]
) -> Float[np.ndarray, "*B 3 3"]:
    """The symmetric positive T with T cov T = wanted, both widened by a millimetre.

    With cov = L L^T and M = L^T wanted L it is L^-T M^1/2 L^-1.
    """
    widen = _SMALLEST * np.eye(3)
    L = np.linalg.cholesky(cov + widen)
    values, vectors = np.linalg.eigh(L.swapaxes(-1, -2) @ (wanted + widen) @ L)
    half = np.linalg.inv(L).swapaxes(-1, -2) @ vectors
    return (half * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ half.swapaxes(-1, -2)


def limited_change(T: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """T - I, shortened where it asks for too much at once."""
    change = T - np.eye(3)
    size = np.sqrt((change**2).sum((-2, -1), keepdims=True))
    return change * np.minimum(1.0, _MAX_CHANGE / np.maximum(size, 1e-9))


def scaled_distances(
    distance: Float[np.ndarray, "K"], weights: Float[np.ndarray, "K"], std: float
) -> Float[np.ndarray, "K"]:
    """Distances with another standard deviation: ratios to number 0, which stays, to a power, so
    none becomes negative.
    """
    log_ratio = np.log(distance / distance[0])
    power, scaled = 1.0, distance
    for _ in range(6):
        now = np.sqrt(weights @ (scaled - weights @ scaled) ** 2)
        if now < 1e-6:
            break
        power *= std / now
        scaled = distance[0] * np.exp(power * log_ratio)
    return scaled


def _deviations(
    joints: Float[np.ndarray, "K 24 3"],
    ray: Float[np.ndarray, "3"],
    maps: Float[np.ndarray, "24 3 3"],
) -> Float[np.ndarray, "72 K"]:
    """Each joint's deviation from the best estimate, the common distance removed, through its
    map.
    """
    away = np.ascontiguousarray((joints - joints[0]).transpose(1, 2, 0), np.float64)
    away -= ray[:, None] * (ray @ away[0])
    return (maps @ away).reshape(_ROTATIONS, -1)


def _ancestors(parents: tuple[int, ...]) -> Bool[np.ndarray, "24 24"]:
    """Entry (j, a): whether joint a is above joint j."""
    above = np.zeros((len(parents), len(parents)), bool)
    for j, parent in enumerate(parents):
        if parent >= 0:
            above[j] = above[parent]
            above[j, parent] = True
    return above


class _Bodies(NamedTuple):
    """What `JointPlan` takes."""

    rotvec: Float[np.ndarray, "K 24 3"]
    betas: Float[np.ndarray, "K 10"]
    pelvis: Float[np.ndarray, "K 3"]


class _Chart:
    """Bodies as coordinates relative to hypothesis 0: a column each, first 3 x 24 rotations, then
    shape, then place.
    """

    omega: Float[np.ndarray, "D K"]
    distance: Float[np.ndarray, "K"]

    def __init__(self, hypotheses: Hypotheses, ray: Float[np.ndarray, "3"]) -> None:
        pelvis = hypotheses.joints[:, 0].astype(np.float64)
        self.ray = ray
        self.across = np.eye(3) - np.outer(ray, ray)
        self.distance = pelvis @ ray
        self._betas, self._place = hypotheses.betas[0][:, None], (self.across @ pelvis[0])[:, None]
        w, v = _quaternion(np.ascontiguousarray(hypotheses.rotvec.T))
        self._w, self._v = w[:, :1].copy(), v[..., :1].copy()
        turned = _rotvec(*_product(self._w, -self._v, w, v)).reshape(_ROTATIONS, -1)
        self.omega = np.concatenate(
            [turned, hypotheses.betas.T - self._betas, self.across @ pelvis.T - self._place],
            dtype=np.float64,
        )

    def bodies(self, omega: Float[np.ndarray, "D K"], distance: Float[np.ndarray, "K"]) -> _Bodies:
        """Back, with other distances."""
        turned = omega[:_ROTATIONS].reshape(3, NUM_JOINTS, -1).astype(np.float32)
        rotvec = _rotvec(*_product(self._w, self._v, *_quaternion(turned)))
        betas = self._betas + omega[_ROTATIONS:-3]
        pelvis = self._place + self.across @ omega[-3:] + self.ray[:, None] * distance
        return _Bodies(
            *(np.ascontiguousarray(part.T, np.float32) for part in (rotvec, betas, pelvis))
        )


# Below the first axis holds x, y, z, so that every operation runs along memory.


def _quaternion(
    rotvec: Float[np.ndarray, "3 *B"],
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "3 *B"]]:
    """Scalar and vector part."""
    half = np.float32(0.5) * np.sqrt(_dot(rotvec, rotvec))
    sine_ratio = np.sin(half) / np.maximum(half, np.float32(1e-12))
    return np.cos(half), (np.float32(0.5) * sine_ratio) * rotvec


def _product(
    w: Float[np.ndarray, "*B"],
    v: Float[np.ndarray, "3 *B"],
    w2: Float[np.ndarray, "*B"],
    v2: Float[np.ndarray, "3 *B"],
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "3 *B"]]:
    """First turn by (w2, v2), then by (w, v)."""
    vector = w * v2 + w2 * v
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        vector[i] += v[j] * v2[k] - v[k] * v2[j]
    return w * w2 - _dot(v, v2), vector


def _rotvec(w: Float[np.ndarray, "*B"], v: Float[np.ndarray, "3 *B"]) -> Float[np.ndarray, "3 *B"]:
    """The shorter way round."""
    sine = np.sqrt(_dot(v, v))
    angle = np.float32(2.0) * np.arctan2(sine, np.abs(w))
    tiny = sine < 1e-7  # where angle / sine is 2
    ratio = np.where(tiny, np.float32(2.0), angle / np.where(tiny, np.float32(1.0), sine))
    return np.copysign(ratio, w) * v


def _dot(a: Float[np.ndarray, "3 *B"], b: Float[np.ndarray, "3 *B"]) -> Float[np.ndarray, "*B"]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
