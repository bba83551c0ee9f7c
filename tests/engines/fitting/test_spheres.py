"""Spheres that stand for a body: where they are, when they meet, and what they do about it."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.coordinates import DIM, TURNS
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, moved, pose
from engines.fitting.charts import Turns
from engines.fitting.solver import solve
from engines.fitting.spheres import MOST, Spheres
from engines.kernels import Skeleton
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES


@pytest.fixture(scope="module")
def spheres(body: BodyModel) -> Spheres:
    return Spheres.of(body)


def body_with(skeleton: Skeleton, **turns: tuple[float, float, float]) -> Bodies:
    """A body in the T-pose but for some turns."""
    R = np.tile(np.eye(3), (1, 24, 1, 1))
    for name, rotvec in turns.items():
        R[0, JOINT_NAMES.index(name)] = exp_so3(np.array(rotvec))
    return pose(skeleton, R, np.full((1, 10), 0.3), np.array([[0.1, 0.2, 3.0]]))


FOREARM_IN_CHEST = {"left_shoulder": (0.0, -0.9, 0.0), "left_elbow": (0.0, -2.7, 0.0)}
SHINS_CROSSED = {"left_hip": (0.0, 0.0, -0.25), "right_hip": (0.0, 0.0, 0.25)}


def test_spheres_lie_inside_the_skin_and_fill_the_body(body: BodyModel, spheres: Spheres) -> None:
    centers = spheres.centers(body.J_template[None].astype(float))[0]
    skin = body.full.v_template
    away = np.linalg.norm(skin[:, None] - centers, axis=-1)
    assert (away.min(0) < 2.5 * spheres.radius).all()  # each is near some skin,
    assert (away - spheres.radius > -0.09).all()  # does not stick out far,
    assert np.median((away - spheres.radius).min(1)) < 0.04  # and together they reach it
    assert spheres.radius.min() > 0.02 and spheres.radius.max() < 0.15


def test_bodies_in_ordinary_poses_do_not_meet_themselves(
    skeleton: Skeleton, spheres: Spheres
) -> None:
    hanging = {"left_shoulder": (0.0, 0.0, -1.2), "right_shoulder": (0.0, 0.0, 1.2)}
    sitting = {"left_hip": (-1.5, 0.0, 0.0), "right_hip": (-1.5, 0.0, 0.0)}
    for turns in ({}, hanging, sitting, hanging | sitting):
        rows = spheres(body_with(skeleton, **turns))
        assert rows.cost == 0 and not rows.residual.any() and not rows.J.any()


def test_the_depth_is_that_of_the_deepest_spheres(skeleton: Skeleton, spheres: Spheres) -> None:
    posed = body_with(skeleton, **FOREARM_IN_CHEST)
    centers = spheres.centers(posed.joints)[0]
    part = np.searchsorted(spheres.first, np.arange(len(centers)), "right") - 1
    expected: dict[tuple[int, int], float] = {}
    for i in range(len(centers)):
        for j in range(i):
            pair = (part[j], part[i])
            depth = spheres.radius[i] + spheres.radius[j] - np.linalg.norm(centers[i] - centers[j])
            if spheres.apart[pair] and depth > 0:
                expected[pair] = max(depth, expected.get(pair, 0.0))
    rows = spheres(posed)
    found = -rows.residual[rows.residual < 0]
    assert 0 < len(expected) <= MOST
    np.testing.assert_allclose(np.sort(found), np.sort(list(expected.values())), atol=1e-9)
    np.testing.assert_allclose(rows.cost, 0.5 * (found**2).sum() / 0.01**2)


@pytest.mark.parametrize("turns", [FOREARM_IN_CHEST, SHINS_CROSSED])
def test_the_jacobian_is_the_derivative_but_for_the_shape(
    skeleton: Skeleton, spheres: Spheres, turns: dict[str, tuple[float, float, float]]
) -> None:
    start = body_with(skeleton, **turns)
    rows = spheres(start)
    deep = rows.residual != 0
    assert deep.any()
    for i in range(DIM):
        step = np.zeros((1, DIM))
        step[:, i] = 1e-6
        ahead, behind = (
            np.sort(spheres(moved(skeleton, start, s)).residual, 1) for s in (step, -step)
        )
        order = np.argsort(rows.residual, 1)
        expected = (behind - ahead) / 2e-6
        if TURNS <= i < DIM - 3:
            expected = 0 * expected
        column = np.take_along_axis(rows.J[..., i], order, 1)
        np.testing.assert_allclose(column, expected, atol=1e-6)


def test_the_solver_takes_limbs_apart(skeleton: Skeleton, spheres: Spheres) -> None:
    start = body_with(skeleton, **FOREARM_IN_CHEST)
    anchor = Anchor(np.diag(np.r_[np.full(TURNS, 0.3), np.full(13, 0.1)] ** 2))
    solution = solve(Turns(skeleton, start), anchor, [spheres], 8)
    before, after = (-spheres(one).residual.min() for one in (start, solution.bodies))
    assert before > 0.02 and after < 0.2 * before
    np.testing.assert_allclose(solution.step[:, TURNS:-3], 0, atol=1e-9)
