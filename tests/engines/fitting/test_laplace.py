"""The mixture of Laplace's approximations: its moments, samples and masses."""

from dataclasses import replace

import numpy as np
import pytest

from engines.coordinates import DIM, TURNS
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, hypotheses_of, take
from engines.fitting.charts import Turns
from engines.fitting.laplace import Posterior, posterior
from engines.fitting.observation import JOINTS
from engines.fitting.residuals import LandmarkResiduals
from engines.fitting.solver import solve
from engines.flow.statistics import joint_moments
from engines.kernels import Skeleton
from tests.support.fitting_problem import draws_around, random_bodies

SIGMA = 0.004
SCALE = np.r_[np.full(TURNS, 0.06), np.full(10, 0.3), np.full(2, 0.03), 0.15]


def fitted(
    skeleton: Skeleton, start: Bodies, target: np.ndarray, starts: int, iterations: int = 6
) -> Posterior:
    anchor = Anchor(np.diag(SCALE**2))
    landmarks = LandmarkResiduals(skeleton, JOINTS, target, np.full(12, SIGMA), 30.0)
    chart = Turns(skeleton, start)
    return posterior(skeleton, chart, anchor, solve(chart, anchor, [landmarks], iterations), starts)


def projected(bodies: Bodies) -> np.ndarray:
    points = bodies.joints[:, JOINTS]
    return points[..., :2] / points[..., 2:]


def test_the_covariance_is_that_of_many_repetitions(skeleton: Skeleton) -> None:
    """Bodies drawn from the prior, seen with noise, fitted: true minus fitted step has the
    covariance that each fit predicts of itself."""
    count, rng = 1500, np.random.default_rng(1)
    center = random_bodies(skeleton, 1, 2)
    anchor = Anchor(np.diag(SCALE**2))
    steps = rng.multivariate_normal(np.zeros(DIM), anchor.cov, count)
    start = take(center, np.zeros(count, int))
    target = projected(Turns(skeleton, start).bodies(steps))
    target = target + rng.normal(0, SIGMA, target.shape)
    found = fitted(skeleton, start, target, 1)
    white = np.linalg.solve(np.linalg.cholesky(found.cov), (steps - found.solution.step)[..., None])
    np.testing.assert_allclose((white**2).mean(), 1.0, atol=0.03)
    assert np.abs(white.mean(0)).max() < 0.3  # distance and size are not quite linear
    # And in metres, joint by joint, where the landmarks' share is large and where it is not.
    joints = Turns(skeleton, start).bodies(steps).joints
    error = joints - found.solution.bodies.joints
    predicted = found.by_step @ found.cov @ found.by_step.swapaxes(-1, -2)
    predicted = np.diagonal(predicted, axis1=1, axis2=2).reshape(error.shape)
    np.testing.assert_allclose(error.std(0), np.sqrt(predicted.mean(0)), rtol=0.12, atol=0.001)


def test_the_entropy_is_the_mean_of_what_samples_say(skeleton: Skeleton) -> None:
    start = take(random_bodies(skeleton, 1, 4), np.zeros(4, int))
    found = fitted(skeleton, start, projected(random_bodies(skeleton, 4, 5)), 2)
    found = replace(found, weights=np.array([[0.7, 0.3], [1.0, 0.0]]))
    for image in range(2):
        _, log_q = found.sample(image, 3000, np.random.default_rng(image))
        assert found.entropy(image) == pytest.approx(-log_q[1:].mean(), abs=0.6)  # of about -100


def test_moments_are_those_of_samples(skeleton: Skeleton) -> None:
    center = random_bodies(skeleton, 1, 3)
    start = draws_around(skeleton, center, Anchor(np.diag(SCALE**2)), 3, 4)
    found = fitted(skeleton, start, projected(center), 3, iterations=1)
    found = replace(found, weights=np.array([[0.5, 0.3, 0.2]]))  # of bodies that differ
    bodies, log_q = found.sample(0, 20_000, np.random.default_rng(5))
    weights = np.full(len(log_q), 1 / len(log_q))
    drawn = joint_moments(hypotheses_of(skeleton, bodies, log_q, weights))
    moments = found.moments(0)
    np.testing.assert_allclose(drawn.ray, moments.ray, atol=1e-6)
    np.testing.assert_allclose(drawn.mean, moments.mean, atol=0.004)
    std = np.sqrt(np.diagonal(moments.cov, axis1=1, axis2=2))
    sampled = np.sqrt(np.diagonal(drawn.cov, axis1=1, axis2=2))
    np.testing.assert_allclose(sampled, std, rtol=0.05, atol=0.001)
    np.testing.assert_allclose(drawn.distance_std, moments.distance_std, rtol=0.05)


def test_the_first_sample_is_the_heaviest_solution(skeleton: Skeleton) -> None:
    start = random_bodies(skeleton, 4, 6)
    found = fitted(skeleton, start, projected(start), 2)
    best = found.best()
    for image in range(2):
        assert best[image] == 2 * image + found.weights[image].argmax()
        bodies, log_q = found.sample(image, 50, np.random.default_rng(7))
        np.testing.assert_allclose(
            bodies.joints[0], found.solution.bodies.joints[best[image]], atol=1e-12
        )
        assert log_q.argmax() == 0


def test_masses_of_unequal_cost_are_those_of_normal_distributions(skeleton: Skeleton) -> None:
    """Without landmarks the objective is the anchor's, exactly normal, and equally curved
    everywhere: solutions weigh as their costs say."""
    start = random_bodies(skeleton, 2, 8)
    unseen = LandmarkResiduals(skeleton, JOINTS, np.zeros((2, 12, 2)), np.full(12, 1e6), 3.0)
    chart = Turns(skeleton, start)
    anchor = Anchor(np.diag(SCALE**2))
    step = np.zeros((2, DIM))
    step[1, 5] = 1.3 * SCALE[5]
    found = posterior(skeleton, chart, anchor, solve(chart, anchor, [unseen], 0, step=step), 2)
    ratio = found.weights[0, 1] / found.weights[0, 0]
    assert ratio == pytest.approx(np.exp(-0.5 * 1.3**2), rel=1e-3)


def test_of_solutions_of_equal_cost_the_broader_weighs_more(skeleton: Skeleton) -> None:
    """One landmark, exactly where each body's wrist is, but blurred in the second's image: the
    masses are to each other as the roots of the determinants of the covariances."""
    start = random_bodies(skeleton, 2, 8)
    sigma = np.full((2, 12), 1e6)
    sigma[:, 4] = 0.004, 0.04
    landmarks = LandmarkResiduals(skeleton, JOINTS, projected(start), sigma, 3.0)
    chart, anchor = Turns(skeleton, start), Anchor(np.diag(SCALE**2))
    found = posterior(skeleton, chart, anchor, solve(chart, anchor, [landmarks], 0), 2)
    np.testing.assert_allclose(found.solution.cost, 0.0, atol=1e-20)
    # |A^-1| = |C| / |I + J C J^T / sigma^2|, of two rows, with J by finite differences.
    h = 1e-6
    columns = [
        projected(chart.bodies(np.tile(d, (2, 1)))) - projected(chart.bodies(np.tile(-d, (2, 1))))
        for d in h * np.eye(DIM)
    ]
    J = np.stack(columns, -1)[:, 4] / (2 * h)
    shrunk = np.linalg.det(
        np.eye(2) + (J * SCALE**2) @ J.swapaxes(1, 2) / sigma[:, 4, None, None] ** 2
    )
    assert found.weights[0, 1] / found.weights[0, 0] == pytest.approx(
        np.sqrt(shrunk[0] / shrunk[1]), rel=1e-4
    )
    assert found.weights[0, 1] > 0.9


def test_a_solution_that_was_found_twice_counts_once(skeleton: Skeleton) -> None:
    one = random_bodies(skeleton, 2, 9)
    start = take(one, np.array([0, 0, 1]))
    found = fitted(skeleton, start, np.repeat(projected(one)[:1], 3, 0), 3)
    assert found.weights[0, 1] == 0.0
    np.testing.assert_allclose(found.weights.sum(), 1)
