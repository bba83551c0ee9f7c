"""The fit to what is seen: its Jacobian against differences, its update against the textbook, and
what it leaves alone.
"""

from dataclasses import replace

import numpy as np
import pytest

from engines import fitting
from engines.body import BodyModel
from engines.rotations import exp_so3
from engines.types import Hypotheses

K = 6


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture
def start(body: BodyModel) -> fitting.Posed:
    rng = np.random.default_rng(0)
    turns = 0.4 * rng.standard_normal((1, 24, 3)) + 0.1 * rng.standard_normal((K, 24, 3))
    betas, pelvis = (
        0.5 * rng.standard_normal((K, 10)),
        np.array([0.1, 0.2, 3.0]) + 0.05 * rng.standard_normal((K, 3)),
    )
    return fitting.pose(body, exp_so3(turns), betas, pelvis)


def _flat(posed: fitting.Posed) -> np.ndarray:
    points = posed.joints[:, list(fitting.JOINTS)]
    return points[..., :2] / points[..., 2:]


def test_jacobian_is_the_derivative(body: BodyModel, start: fitting.Posed) -> None:
    use = np.array([0, 3, 4, 6, 9, 11])
    J = fitting.jacobian(body, start, _flat(start)[:, use], use)
    h = 1e-3
    for i in range(fitting.DIM):
        step = np.zeros((K, fitting.DIM))
        step[:, i] = h
        ahead, behind = (_flat(fitting.moved(body, start, s))[:, use] for s in (step, -step))
        np.testing.assert_allclose(J[..., i], (ahead - behind) / (2 * h), atol=2e-3)


def test_update_is_that_of_a_linear_gaussian() -> None:
    rng = np.random.default_rng(1)
    J, t = rng.standard_normal((2, 5, fitting.DIM)), rng.standard_normal((2, 5))
    A = rng.standard_normal((fitting.DIM, fitting.DIM))
    C, noise = A @ A.T / fitting.DIM + np.eye(fitting.DIM), rng.uniform(0.5, 2, (2, 5))
    step = fitting._update(J, C, noise, t)
    for k in range(2):
        precision = np.linalg.inv(C) + J[k].T @ np.diag(1 / noise[k]) @ J[k]
        np.testing.assert_allclose(
            step[k], np.linalg.solve(precision, J[k].T @ (t[k] / noise[k])), rtol=1e-6
        )


def test_hypotheses_come_to_the_landmarks_and_depth_stays_open(
    body: BodyModel, start: fitting.Posed
) -> None:
    config = replace(fitting.FitConfig(), dither=0.0, iterations=3)
    cov = np.diag(np.r_[np.full(72, 0.1**2), np.full(10, 0.5**2), 0.05**2, 0.05**2, 0.3**2]).astype(
        np.float32
    )
    truth = _flat(start)[0]
    fit = fitting.fit(body, start, cov, fitting.Seen(truth, np.full(12, 0.003)), config)
    before, after = (np.linalg.norm(_flat(p)[1:] - truth, axis=-1).mean() for p in (start, fit))
    assert after < 0.15 * before
    assert fit.joints[:, 0, 2].std() > 0.6 * start.joints[:, 0, 2].std()


def test_unseen_landmarks_move_nothing(body: BodyModel, start: fitting.Posed) -> None:
    cov = 0.01 * np.eye(fitting.DIM, dtype=np.float32)
    fit = fitting.fit(
        body, start, cov, fitting.Seen(np.zeros((12, 2)), np.full(12, np.inf)), fitting.FitConfig()
    )
    assert fit is start


def test_a_contradiction_hardly_moves_anything(body: BodyModel, start: fitting.Posed) -> None:
    """Left and right swapped is many sigmas away: the robust weights take it for what it is."""
    cov = (0.02**2 * np.eye(fitting.DIM)).astype(np.float32)
    swapped = _flat(start)[0].reshape(6, 2, 2)[:, ::-1].reshape(12, 2)
    config = replace(fitting.FitConfig(), dither=0.0)
    gentle = fitting.fit(body, start, cov, fitting.Seen(swapped, np.full(12, 0.002)), config)
    firm = fitting.fit(
        body, start, cov, fitting.Seen(swapped, np.full(12, 0.002)), replace(config, cauchy=1e6)
    )
    away = [np.linalg.norm(p.joints[0] - start.joints[0], axis=-1).mean() for p in (gentle, firm)]
    assert away[0] < 0.2 * away[1]


def test_fitted_keeps_the_contract(body: BodyModel, start: fitting.Posed) -> None:
    from engines.rotations import log_so3

    transl = start.pelvis - body.rest_joints(start.betas)[:, 0]
    weights = np.full(K, 1 / K, np.float32)
    drawn = Hypotheses(log_so3(start.R), start.betas, transl, start.joints, np.zeros(K), weights)
    said = fitting.Seen(_flat(start)[0] + 0.005, np.full(12, 0.01))
    out = fitting.fitted(body, drawn, said)
    again = body.shaped(out.betas).posed(out.rotvec, out.transl)
    np.testing.assert_allclose(again.joints, out.joints, atol=1e-4)
    assert out.joints.flags.c_contiguous and out.rotvec.dtype == np.float32
