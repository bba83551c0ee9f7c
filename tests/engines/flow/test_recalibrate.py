"""Moving hypotheses: they stay bodies, the best estimate stays, and their covariance becomes what
is asked for.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from engines.body import BodyModel, joints_only
from engines.covariance import std_from_cov
from engines.flow.recalibrate import (
    MAX_BETA,
    Recalibrator,
    limited_change,
    scaled_distances,
    transport_map,
)
from engines.flow.sampler import PosedHypotheses, skeleton_of
from engines.flow.statistics import joint_moments
from engines.priors.load import load_prior
from engines.rotations import exp_so3, geodesic_angle, log_so3
from engines.types import Hypotheses
from tests.support.random_hypotheses import FACING, around

K = 100


@pytest.fixture(scope="module")
def recalibrate(body: BodyModel) -> Recalibrator:
    return Recalibrator(skeleton_of(body), K)


def draws(body: BodyModel, seed: int, pose_std: float = 0.15) -> Hypotheses:
    """As the sampler gives them; number 0 in their middle, shapes that differ."""
    drawn, _ = around(body, K, seed, pose_std)
    rng = np.random.default_rng(seed)
    rotvec, betas, transl = drawn.rotvec, rng.normal(0, 0.5, (K, 10)), drawn.transl
    rotvec[0, 1:] = rotvec[:, 1:].mean(0)
    rotvec[0, 0] = log_so3(FACING @ exp_so3(np.array([0.0, 0.4, 0.0])))
    joints = joints_only(body, rotvec, betas, transl)
    single = [
        np.ascontiguousarray(part, np.float32)
        for part in (rotvec, betas, transl, joints, drawn.log_q, drawn.weights)
    ]
    return Hypotheses(*single)


def asked(seed: int, low: float, high: float) -> np.ndarray:
    """Factors on standard deviations that differ from joint to joint and axis to axis."""
    rng = np.random.default_rng(seed)
    axes = exp_so3(rng.normal(0, 1, (24, 3)))
    smooth = rng.uniform(low, high) * np.exp(rng.normal(0, 0.05, (24, 1, 3)))
    return (axes * smooth) @ axes.swapaxes(1, 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_covariance_becomes_what_is_asked_for(
    recalibrate: Recalibrator, body: BodyModel, seed: int
) -> None:
    before = draws(body, seed)
    moments = joint_moments(before)
    D = asked(seed, 0.7, 1.5)
    cov = D @ moments.cov @ D
    moved = recalibrate(before, moments, cov, 1.3 * moments.distance_std).hypotheses
    after = joint_moments(moved)
    error = np.abs(std_from_cov(after.cov) / std_from_cov(cov) - 1)[1:]
    assert np.median(error) < 0.06 and error.max() < 0.2
    whole = np.linalg.norm(after.cov - cov, axis=(1, 2)) / np.linalg.norm(cov, axis=(1, 2))
    assert np.median(whole) < 0.2
    assert after.distance_std == pytest.approx(1.3 * moments.distance_std, rel=0.01)


def test_what_is_right_already_stays(recalibrate: Recalibrator, body: BodyModel) -> None:
    before = draws(body, 1)
    moments = joint_moments(before)
    posed = recalibrate(before, moments, moments.cov.astype(float), moments.distance_std)
    after = posed.hypotheses
    np.testing.assert_allclose(after.joints, before.joints, atol=1e-4)
    assert geodesic_angle(exp_so3(after.rotvec), exp_so3(before.rotvec)).max() < 2e-3
    np.testing.assert_allclose(after.betas, before.betas, atol=1e-4)


def test_hypotheses_remain_bodies_and_the_best_estimate_remains(
    recalibrate: Recalibrator, body: BodyModel
) -> None:
    before = draws(body, 2, pose_std=0.2)
    weights = np.random.default_rng(0).dirichlet(np.ones(K)).astype(np.float32)
    before = replace(before, weights=weights)
    moments = joint_moments(before)
    after = recalibrate(before, moments, 2.0 * moments.cov, 0.5).hypotheses
    np.testing.assert_allclose(
        joints_only(body, after.rotvec, after.betas, after.transl), after.joints, atol=1e-4
    )
    for name in ("rotvec", "betas", "transl", "joints"):
        np.testing.assert_array_equal(getattr(after, name)[0], getattr(before, name)[0])
        assert getattr(after, name).dtype == np.float32
    np.testing.assert_array_equal(after.weights, weights)
    np.testing.assert_array_equal(after.log_q, before.log_q)
    scale = std_from_cov(joint_moments(after).cov) / std_from_cov(moments.cov)
    assert 1.25 < np.median(scale) < 1.55  # sqrt(2), where arcs allow it


def test_wider_poses_remain_plausible(recalibrate: Recalibrator, body: BodyModel) -> None:
    prior = load_prior("gmm")
    poses = prior.sample(K, np.random.default_rng(5))
    for seed in range(3):
        before = draws(body, seed)
        near = before.rotvec[:1, 1:] + 0.3 * (poses - poses.mean(0))
        near[0] = before.rotvec[0, 1:]
        rotvec = np.concatenate([before.rotvec[:, :1], near], 1).astype(np.float32)
        joints = joints_only(body, rotvec, before.betas, before.transl)
        joints = np.ascontiguousarray(joints, np.float32)
        before = replace(before, rotvec=rotvec, joints=joints)
        moments = joint_moments(before)
        after = recalibrate(before, moments, 1.5**2 * moments.cov, 1.0).hypotheses
        lost = prior.energy(exp_so3(after.rotvec[1:])) - prior.energy(exp_so3(rotvec[1:]))
        wider = rotvec[0, 1:] + 1.5 * (rotvec[1:, 1:] - rotvec[0, 1:])
        scaled = exp_so3(np.concatenate([rotvec[1:, :1], wider], 1))
        every_angle = prior.energy(scaled) - prior.energy(exp_so3(rotvec[1:]))
        assert np.median(lost) < 0.15 * np.median(every_angle)


def test_a_body_turns_as_a_whole_rather_than_bends(
    recalibrate: Recalibrator, body: BodyModel
) -> None:
    """Its orientation is drawn within 3 degrees, and is asked to be open by 9 more."""
    before = draws(body, 0)
    turns = exp_so3(np.random.default_rng(0).normal(0, 0.05, (K, 3)))
    rotvec = before.rotvec.copy()
    rotvec[1:, 0] = log_so3(exp_so3(rotvec[0, 0].astype(float)) @ turns[1:])
    joints = joints_only(body, rotvec, before.betas, before.transl)
    before = replace(before, rotvec=rotvec, joints=np.ascontiguousarray(joints, np.float32))
    moments = joint_moments(before)
    lever = moments.mean - moments.mean[0]
    squared = (lever**2).sum(-1)[:, None, None] * np.eye(3)
    by_turn = 0.15**2 * (squared - lever[:, :, None] * lever[:, None])
    after = recalibrate(before, moments, moments.cov + by_turn, moments.distance_std).hypotheses
    angles = geodesic_angle(exp_so3(after.rotvec), exp_so3(rotvec))[1:]
    whole, bent = (np.sqrt((some**2).mean()) for some in (angles[:, 0], angles[:, 1:]))
    assert whole > 3 * bent


def test_the_least_motion_is_the_symmetric_map_between_the_covariances() -> None:
    rng = np.random.default_rng(4)
    A, B = (r @ r.swapaxes(1, 2) + 1e-3 * np.eye(3) for r in rng.normal(0, 0.1, (2, 6, 3, 3)))
    T = transport_map(A, B)
    widen = 1e-6 * np.eye(3)
    np.testing.assert_allclose(T @ (A + widen) @ T, B + widen, atol=1e-9)
    np.testing.assert_allclose(T, T.swapaxes(1, 2), atol=1e-9)
    root = linalg.sqrtm(A[0] + widen)
    inverse = np.linalg.inv(root)
    np.testing.assert_allclose(
        T[0], inverse @ linalg.sqrtm(root @ (B[0] + widen) @ root) @ inverse, atol=1e-7
    )


def test_a_joint_without_spread_is_not_thrown_about() -> None:
    T = transport_map(np.zeros((1, 3, 3)), 0.04 * np.eye(3)[None])
    assert np.linalg.norm(T[0]) > 100
    assert np.linalg.norm(limited_change(T)[0]) == pytest.approx(1.5)
    gentle = np.diag([1.1, 0.9, 1.0])[None]
    np.testing.assert_allclose(limited_change(gentle), gentle - np.eye(3))


def test_distances_get_their_spread_and_stay_in_front() -> None:
    rng = np.random.default_rng(5)
    distance, weights = 3 * np.exp(rng.normal(0, 0.2, K)), rng.dirichlet(np.ones(K))
    wide = scaled_distances(distance, weights, 0.9)
    assert wide[0] == distance[0] and wide.min() > 0
    assert np.sqrt(weights @ (wide - weights @ wide) ** 2) == pytest.approx(0.9, rel=0.02)
    np.testing.assert_array_equal(scaled_distances(np.full(K, 3.0), weights, 1.0), 3.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("relative", "factor"), [(0.1, 0.5), (0.4, 0.3), (0.4, 1.75), (0.8, 2.5)])
def test_broad_distances_with_tails_get_their_spread(
    seed: int, relative: float, factor: float
) -> None:
    """A few bodies far behind the others make the deviation grow fast with the power."""
    rng = np.random.default_rng(seed)
    distance = 3 * np.exp(relative * np.append(0.0, rng.standard_t(5, K - 1)))
    weights = np.full(K, 1 / K)
    std = factor * np.sqrt(weights @ (distance - weights @ distance) ** 2)
    wide = scaled_distances(distance, weights, std)
    assert wide.min() > 0
    assert np.sqrt(weights @ (wide - weights @ wide) ** 2) == pytest.approx(std, rel=1e-3)


def test_bodies_behind_the_camera_are_brought_in_front() -> None:
    """A fit may move the pelvis of a person at a desk there."""
    distance, weights = np.linspace(0.5, 0.7, K), np.full(K, 1 / K)
    distance[5:8] = (-0.2, 0.0, 1e-9)
    moved = scaled_distances(distance, weights, 0.15)
    assert np.isfinite(moved).all() and moved.min() > 0 and moved[0] == distance[0]


def test_one_hypothesis_is_left_alone(body: BodyModel) -> None:
    many = draws(body, 6)
    alone = Hypotheses(*(part[:1] for part in vars(many).values()))
    alone = replace(alone, weights=np.ones(1, np.float32))
    moments = joint_moments(alone)
    after = Recalibrator(skeleton_of(body), 1)(
        alone, moments, np.tile(0.01 * np.eye(3), (24, 1, 1)), 0.3
    )
    np.testing.assert_array_equal(after.hypotheses.joints, alone.joints)


def test_what_was_recalibrated_before_leaves_no_trace(
    recalibrate: Recalibrator, body: BodyModel
) -> None:
    def moved(recalibrator: Recalibrator, one: Hypotheses) -> PosedHypotheses:
        moments = joint_moments(one)
        return recalibrator(one, moments, 1.5 * moments.cov, 2.0 * moments.distance_std)

    someone, another = draws(body, 7), draws(body, 8)
    before = moved(recalibrate, someone)
    kept = before.T_cam_rest.copy(), before.hypotheses.joints.copy()
    after = moved(recalibrate, another)
    alone = moved(Recalibrator(skeleton_of(body), K), another)
    for name in ("rotvec", "betas", "transl", "joints"):
        np.testing.assert_array_equal(
            getattr(after.hypotheses, name), getattr(alone.hypotheses, name)
        )
    np.testing.assert_array_equal(after.T_cam_rest, alone.T_cam_rest)
    np.testing.assert_array_equal(before.T_cam_rest, kept[0])
    np.testing.assert_array_equal(before.hypotheses.joints, kept[1])


def test_shapes_stay_those_of_people(recalibrate: Recalibrator, body: BodyModel) -> None:
    before = draws(body, 5)
    before.betas[7, 3] = 4.5  # drawn like that
    moments = joint_moments(before)
    after = recalibrate(before, moments, moments.cov.astype(float) * 6.0**2, 0.3).hypotheses
    size = np.abs(after.betas)
    assert size[7, 3] <= 4.5 and (size <= np.maximum(MAX_BETA, np.abs(before.betas)) + 1e-5).all()
    assert size.max() > np.abs(before.betas[:7]).max()  # they did move
