"""The solver against closed forms where there are some, against SciPy where there are none."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import least_squares

from engines.camera import look_at
from engines.coordinates import DIM, PELVIS, TURNS
from engines.fitting.anchor import Anchor, anchor_of, conditioned
from engines.fitting.bodies import Bodies, moved, pose, take
from engines.fitting.charts import Turns
from engines.fitting.limits import HingeLimits
from engines.fitting.observation import JOINTS
from engines.fitting.residuals import LandmarkResiduals, Rows, stacked
from engines.fitting.solver import (
    MAX_DAMPING,
    damped_step,
    information_update,
    kalman_update,
    solve,
)
from engines.kernels import Skeleton
from engines.rotations import exp_so3
from tests.support.fitting_problem import draws_around, random_anchor, random_bodies


@dataclass(frozen=True)
class LinearRows:
    """A measurement of betas and pelvis, in which bodies are linear: z = A (b, p) + noise."""

    A: np.ndarray
    z: np.ndarray
    variance: np.ndarray

    def __call__(self, bodies: Bodies) -> Rows:
        x = np.concatenate([bodies.betas, bodies.pelvis], 1)
        residual = self.z - x @ self.A.T
        J = np.zeros((*residual.shape, DIM))
        J[:, :, TURNS:] = self.A
        cost = 0.5 * (residual**2 / self.variance).sum(-1)
        return Rows(residual, J, np.broadcast_to(self.variance, residual.shape), cost)


def problem(seed: int, rows: int = 5, count: int = 2) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    J, ahead = rng.standard_normal((count, rows, DIM)), rng.standard_normal((count, rows))
    A = rng.standard_normal((DIM, DIM))
    return J, A @ A.T / DIM + np.eye(DIM), rng.uniform(0.5, 2, (count, rows)), ahead


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_both_forms_of_the_update_are_the_textbooks(rows: int) -> None:
    J, cov, variance, ahead = problem(rows, rows)
    by_rows = kalman_update(J, cov, variance, ahead)
    by_coordinates = information_update(J, np.linalg.inv(cov), variance, ahead)
    np.testing.assert_allclose(by_rows, by_coordinates, atol=1e-9)
    for k in range(2):
        precision = np.linalg.inv(cov) + J[k].T @ np.diag(1 / variance[k]) @ J[k]
        expected = np.linalg.solve(precision, J[k].T @ (ahead[k] / variance[k]))
        np.testing.assert_allclose(by_rows[k], expected, atol=1e-9)


@pytest.mark.parametrize("damping", [0.0, 0.3, 10.0])
def test_the_damped_step_minimises_the_damped_objective(damping: float) -> None:
    """Its gradient vanishes: J^T N^-1 (J d - r) + C^-1 (a + d) + damping C^-1 d, d = a' - a."""
    J, cov, variance, residual = problem(7)
    a = 0.1 * np.random.default_rng(8).standard_normal((2, DIM))
    a[:, :TURNS] = 0  # no turn yet, so that the start sees J as it is
    rows = Rows(residual, J, variance, np.zeros(2))
    d = damped_step(rows, Anchor(cov), a, np.full(2, damping)) - a
    precision = np.linalg.inv(cov)
    for k in range(2):
        gradient = J[k].T @ ((J[k] @ d[k] - residual[k]) / variance[k])
        gradient += precision @ (a[k] + d[k]) + damping * precision @ d[k]
        np.testing.assert_allclose(gradient, 0, atol=1e-8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [5, 100])
def test_the_largest_damping_keeps_a_step_where_it_is(rows: int, dtype: type) -> None:
    """In single precision, too, where 1 - s would be 0."""
    parts = (part.astype(dtype) for part in problem(9, rows))
    J, cov, variance, residual = parts
    a = np.full((2, DIM), 0.1, dtype)
    compared = Rows(residual, J, variance, np.zeros(2, dtype))
    step = damped_step(compared, Anchor(cov), a, np.full(2, MAX_DAMPING, dtype))
    assert step.dtype == dtype
    np.testing.assert_allclose(step, a, atol=1e-4)


def test_an_ensemble_with_moved_measurements_has_the_posteriors_moments(
    skeleton: Skeleton,
) -> None:
    """Randomised maximum likelihood, exact where bodies are linear: mean and covariance."""
    K, rng = 3000, np.random.default_rng(1)
    anchor = random_anchor(2)
    start = draws_around(skeleton, random_bodies(skeleton, 1, 3), anchor, K, 4)
    A, variance = rng.standard_normal((6, 13)), np.full(6, 0.02)
    x = np.concatenate([start.betas, start.pelvis], 1)
    z = A @ x[0] + rng.normal(0, 0.3, 6)
    moved_z = z + np.sqrt(variance) * rng.standard_normal((K, 6))
    solution = solve(Turns(skeleton, start), anchor, [LinearRows(A, moved_z, variance)], 1)
    after = np.concatenate([solution.bodies.betas, solution.bodies.pelvis], 1)[1:]
    C = anchor.cov[TURNS:, TURNS:]
    gain = C @ A.T @ np.linalg.inv(A @ C @ A.T + np.diag(variance))
    mean, cov = x[0] + gain @ (z - A @ x[0]), C - gain @ A @ C
    error = 5 * np.sqrt(np.diag(cov) / K)
    assert (np.abs(after.mean(0) - mean) < error).all()
    spread = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    np.testing.assert_allclose(np.cov(after.T) / spread, cov / spread, atol=5 * np.sqrt(2 / K))
    assert np.trace(cov) < 0.6 * np.trace(C)  # the measurement does say something


def test_scipy_finds_no_better_minimum(skeleton: Skeleton) -> None:
    anchor = random_anchor(5)
    draws = draws_around(skeleton, random_bodies(skeleton, 1, 6), anchor, 2, 7)
    landmarks, limits = landmarks_near(skeleton, draws, 8, noise=0.01), HingeLimits()
    start = take(draws, slice(1, 2))
    solution = solve(Turns(skeleton, start), anchor, [landmarks, limits], 15)
    root = np.linalg.inv(np.linalg.cholesky(anchor.cov))

    def residuals(step: np.ndarray) -> np.ndarray:
        rotations = exp_so3(step[:TURNS].reshape(1, 24, 3))
        R = start.R @ rotations
        body = pose(skeleton, R, start.betas + step[TURNS:-3], start.pelvis + step[-3:])
        points = body.joints[0, JOINTS]
        away = landmarks.target[0] - points[:, :2] / points[:, 2:]
        squared = (away**2).sum(-1) / (landmarks.sigma * landmarks.cauchy) ** 2
        robust = landmarks.cauchy * np.sqrt(np.log1p(squared))
        beyond = limits(body).residual[0] / limits.sigma
        return np.concatenate([robust, beyond, root @ step])

    ours = 0.5 * (residuals(solution.step[0]) ** 2).sum()
    assert solution.cost[0] == pytest.approx(ours, rel=1e-6) and ours < 0.5 * solution.cost_before
    found = least_squares(residuals, solution.step[0], max_nfev=6)
    assert ours < found.cost * (1 + 1e-3)
    np.testing.assert_allclose(solution.step[0], found.x, atol=3e-3)


def test_steps_never_make_it_worse(skeleton: Skeleton) -> None:
    anchor = random_anchor(9, std=0.5)
    start = draws_around(skeleton, random_bodies(skeleton, 1, 10), anchor, 40, 11)
    terms = [landmarks_near(skeleton, start, 12, noise=0.3), HingeLimits()]
    costs = []
    for iterations in range(5):
        solution = solve(Turns(skeleton, start), anchor, terms, iterations)
        rows = stacked([term(solution.bodies) for term in terms])
        np.testing.assert_allclose(solution.cost, rows.cost + anchor.cost(solution.step))
        np.testing.assert_allclose(
            moved(skeleton, start, solution.step).joints, solution.bodies.joints, atol=1e-9
        )
        costs.append(solution.cost)
    assert (np.diff(costs, axis=0) <= 0).all() and (costs[4] < 0.9 * costs[0]).any()
    np.testing.assert_array_equal(solution.cost_before, costs[0])


def test_what_landmarks_do_not_determine_stays(skeleton: Skeleton) -> None:
    """A person twice as far and twice as tall looks the same: distance stays uncertain."""
    scale = np.r_[np.full(TURNS, 0.05), np.full(10, 0.5), 0.05, 0.05, 0.3]
    anchor = Anchor(np.diag(scale**2))
    start = draws_around(skeleton, random_bodies(skeleton, 1, 13), anchor, 60, 14)
    landmarks = landmarks_near(skeleton, start, 15, noise=0.003)
    fitted = solve(Turns(skeleton, start), anchor, [landmarks], 3).bodies
    before, after = (
        np.linalg.norm(landmarks.projected(one)[1] - landmarks.target, axis=-1).mean()
        for one in (start, fitted)
    )
    assert after < 0.3 * before
    assert fitted.pelvis[:, 2].std() > 4 * fitted.pelvis[:, 0].std()


def test_the_anchor_is_the_weighted_covariance_with_shrunk_correlations(
    skeleton: Skeleton,
) -> None:
    true = random_anchor(16, std=0.02)
    drawn = draws_around(skeleton, random_bodies(skeleton, 1, 17), true, 3000, 18)
    weights = np.full(3000, 1 / 3000)
    full, shrunk = (anchor_of(drawn, weights, share).cov for share in (0.0, 0.25))
    deviation = np.sqrt(np.diag(true.cov))
    np.testing.assert_allclose(
        full / np.outer(deviation, deviation), true.cov / np.outer(deviation, deviation), atol=0.1
    )
    along = np.eye(DIM)  # the pelvis along and across its ray
    along[PELVIS, PELVIS] = look_at(drawn.pelvis[0, :2] / drawn.pelvis[0, 2])
    full, shrunk = (along.T @ cov @ along for cov in (full, shrunk))
    np.testing.assert_allclose(np.diag(shrunk), np.diag(full), rtol=1e-6)
    off = ~np.eye(DIM, dtype=bool)
    np.testing.assert_allclose(shrunk[off], 0.75 * full[off], atol=1e-12)
    assert np.linalg.eigvalsh(shrunk).min() > 0


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_conditioned_samples_are_samples_of_the_product(share: float) -> None:
    """A normal distribution times the share-th power of a normal likelihood, in closed form."""
    rng = np.random.default_rng(20)
    anchor, count = random_anchor(21), 4000
    J, residual = rng.standard_normal((1, 9, DIM)), rng.standard_normal((1, 9))
    rows = Rows(residual, J, rng.uniform(0.2, 2, (1, 9)), np.zeros(1))
    steps = rng.multivariate_normal(np.zeros(DIM), anchor.cov, count)
    steps[0] = 0
    noise = rng.standard_normal((count, 9))
    noise[0] = 0
    after, moves = conditioned(anchor, steps, rows, share, noise)
    inverse = J[0].T * (share / rows.variance[0])
    precision = np.linalg.inv(anchor.cov) + inverse @ J[0]
    np.testing.assert_allclose(after.cov @ precision, np.eye(DIM), atol=1e-8)
    mean = np.linalg.solve(precision, inverse @ residual[0])
    np.testing.assert_allclose(moves[0], mean, atol=1e-10)
    white = (steps + moves - mean) @ np.linalg.inv(np.linalg.cholesky(after.cov)).T
    np.testing.assert_allclose(white.mean(0), 0, atol=5 / np.sqrt(count))
    np.testing.assert_allclose((white**2).mean(), 1, atol=0.02)


def landmarks_near(
    skeleton: Skeleton, start: Bodies, seed: int, noise: float = 0.02
) -> LandmarkResiduals:
    """Landmarks of body 0, not quite."""
    points = start.joints[:1, JOINTS]
    target = points[..., :2] / points[..., 2:]
    target = target + np.random.default_rng(seed).normal(0, noise, target.shape)
    return LandmarkResiduals(skeleton, JOINTS, target, np.full(12, 0.01), 3.0)
