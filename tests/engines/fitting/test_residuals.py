"""Jacobians of everything that a fit is made of, against central differences in float64."""

import numpy as np

from engines.coordinates import DIM
from engines.fitting.bodies import Bodies, moved, pose, steps_from_first
from engines.fitting.limits import HINGES, Bending, HingeLimits
from engines.fitting.observation import JOINTS
from engines.fitting.residuals import LandmarkResiduals, Residuals, stacked
from engines.kernels import Skeleton
from engines.rotations import exp_so3
from tests.support.fitting_problem import random_bodies

K = 3
STEP = 1e-6


def differences(skeleton: Skeleton, start: Bodies, predicted: Residuals) -> np.ndarray:
    """Derivative of what is predicted, (K, r, D): minus that of the residual."""
    columns = []
    for i in range(DIM):
        step = np.zeros((start.count, DIM))
        step[:, i] = STEP
        ahead, behind = (predicted(moved(skeleton, start, s)).residual for s in (step, -step))
        columns.append((behind - ahead) / (2 * STEP))
    return np.stack(columns, -1)


def landmarks_of(skeleton: Skeleton, start: Bodies, cauchy: float = 3.0) -> LandmarkResiduals:
    rng = np.random.default_rng(1)
    target = rng.normal(0, 0.1, (K, 12, 2))
    return LandmarkResiduals(skeleton, JOINTS, target, rng.uniform(0.01, 0.03, 12), cauchy)


def test_the_jacobian_of_landmarks_is_their_derivative(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, K, seed=0)
    residuals = landmarks_of(skeleton, start)
    J = residuals(start).J
    np.testing.assert_allclose(J, differences(skeleton, start, residuals), atol=1e-8)


def test_the_jacobian_of_a_joint_that_is_too_near_is_that_of_where_it_counts(
    skeleton: Skeleton,
) -> None:
    start = random_bodies(skeleton, K, seed=0)
    depth = start.joints[:, JOINTS[0], 2] - 0.05
    near = pose(skeleton, start.R, start.betas, start.pelvis - depth[:, None] * [0, 0, 1])
    residuals = landmarks_of(skeleton, near)
    J = residuals(near).J
    np.testing.assert_array_equal(J[:, :2, -1], 0)
    np.testing.assert_allclose(J, differences(skeleton, near, residuals), atol=1e-5)


def test_limits_count_beyond_them_and_there_their_jacobian_is_their_derivative(
    skeleton: Skeleton,
) -> None:
    start = random_bodies(skeleton, K, seed=2)
    R = start.R.copy()
    for k, angle in enumerate((-0.6, 0.5, 2.9)):
        for hinge in HINGES:
            rotvec = np.array([0.2, -0.1, 0.15])
            rotvec[hinge.axis] = angle
            R[k, hinge.joint] = exp_so3(rotvec)
    start = pose(skeleton, R, start.betas, start.pelvis)
    limits = HingeLimits()
    rows = limits(start)
    beyond = np.array([[True, True, False, True], [False, False, True, False], [True] * 4])
    np.testing.assert_array_equal(rows.residual != 0, beyond)
    np.testing.assert_array_equal(rows.variance, np.where(beyond, 0.05**2, 1e6))
    expected = differences(skeleton, start, limits)
    np.testing.assert_allclose(rows.J[beyond], expected[beyond], atol=1e-7)
    np.testing.assert_array_equal(expected[~beyond], 0)
    np.testing.assert_allclose(rows.residual[0, 0], 0.6 - 0.12)
    np.testing.assert_allclose(rows.residual[2, 2], -0.08 - 2.9)


def test_bending_is_cheap_one_way_and_its_jacobian_is_its_derivative(skeleton: Skeleton) -> None:
    """The cost of SMPLify, w^2 exp(2 s angle) with w = 3.17 against its prior in nats."""
    R = np.tile(np.eye(3), (K, 24, 1, 1))
    for k, angle in enumerate((-0.5, 0.0, 1.2)):  # of flexion
        for hinge in HINGES:
            rotvec = np.zeros(3)
            rotvec[hinge.axis] = angle * np.sign(hinge.low + hinge.high)
            R[k, hinge.joint] = exp_so3(rotvec)
    start = pose(skeleton, R, np.zeros((K, 10)), np.tile([0.0, 0.0, 3.0], (K, 1)))
    rows = Bending()(start)
    expected = 4 * 3.17**2 * np.exp(-2 * np.array([-0.5, 0.0, 1.2]))
    np.testing.assert_allclose(rows.cost, expected)
    np.testing.assert_allclose(0.5 * (rows.residual**2 / rows.variance).sum(-1), rows.cost)
    unlike = random_bodies(skeleton, K, seed=8)
    derivative = differences(skeleton, unlike, Bending())
    np.testing.assert_allclose(Bending()(unlike).J, derivative, atol=1e-8)


def test_reweighting_has_the_gradient_of_the_robust_cost(skeleton: Skeleton) -> None:
    """J^T (r / variance) of iteratively reweighted least squares is minus the cost's gradient."""
    start = random_bodies(skeleton, K, seed=3)
    residuals = landmarks_of(skeleton, start)
    rows = residuals(start)
    by_rows = np.einsum("krd,kr->kd", rows.J, rows.residual / rows.variance)
    for i in range(0, DIM, 7):
        step = np.zeros((K, DIM))
        step[:, i] = STEP
        ahead, behind = (residuals(moved(skeleton, start, s)).cost for s in (step, -step))
        np.testing.assert_allclose(
            by_rows[:, i], (behind - ahead) / (2 * STEP), rtol=1e-4, atol=1e-3
        )


def test_an_outlier_costs_little_more_and_weighs_nothing(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, K, seed=4)
    _, predicted = landmarks_of(skeleton, start).projected(start)
    sigma = np.full(12, 0.01)
    exact = LandmarkResiduals(skeleton, JOINTS, predicted, sigma, 3.0)(start)
    np.testing.assert_allclose(exact.cost, 0)
    np.testing.assert_allclose(exact.variance, 0.01**2)
    target = predicted.copy()
    target[:, 0, 0] += 0.03  # three sigmas: half the weight
    target[:, 1, 0] += 3.0  # three hundred
    rows = LandmarkResiduals(skeleton, JOINTS, target, sigma, 3.0)(start)
    np.testing.assert_allclose(rows.variance[:, 0], 2 * 0.01**2)
    assert (rows.variance[:, 2] > 1e4 * 0.01**2).all()
    assert (rows.cost < 50).all()


def test_rows_of_several_residuals_lie_below_each_other(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, K, seed=5)
    a, b = landmarks_of(skeleton, start)(start), HingeLimits()(start)
    both = stacked([a, b])
    assert both.J.shape == (K, 24 + 4, DIM)
    np.testing.assert_array_equal(both.residual[:, 24:], b.residual)
    np.testing.assert_array_equal(both.cost, a.cost + b.cost)


def test_steps_from_the_first_body_lead_to_each(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, K, seed=6)
    steps = steps_from_first(start)
    first = Bodies(*(np.repeat(getattr(start, name)[:1], K, 0) for name in vars(start)))
    np.testing.assert_allclose(moved(skeleton, first, steps).joints, start.joints, atol=1e-12)
    np.testing.assert_array_equal(steps[0], 0)
