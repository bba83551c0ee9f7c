"""SMPLify and SMPLify-X: synthetic people are found again from their landmarks alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from engines.body import BodyModel
from engines.coordinates import DIM, TURNS
from engines.fitting.bodies import Bodies, pose, take
from engines.fitting.initial import STARTS, hypothesis_starts, torso_starts
from engines.fitting.laplace import Posterior
from engines.fitting.observation import JOINTS, UNSEEN, Limbs
from engines.fitting.residuals import Rows
from engines.fitting.smplify import SmplifyConfig, Stage, smplify, smplify_x
from engines.fitting.spheres import Spheres
from engines.kernels import Skeleton
from engines.rotations import exp_so3, geodesic_angle, inverse_right_jacobian, log_so3
from tests.engines.fitting.test_charts import CurvedDecoder
from tests.engines.fitting.test_residuals import K, differences
from tests.support.random_hypotheses import FACING

ELBOWS_AND_KNEES = {4: (0, 0.5), 5: (0, 0.5), 18: (1, -0.7), 19: (1, 0.7)}
SIDES = (0.0, 0.5, np.pi, -2.8)
"""Turns of people about their own axis."""


def mean_pose() -> np.ndarray:
    rotvec = np.zeros((24, 3))
    rotvec[16, 2], rotvec[17, 2] = -0.9, 0.9
    for joint, (axis, angle) in ELBOWS_AND_KNEES.items():
        rotvec[joint, axis] = angle
    return exp_so3(rotvec)


@dataclass(frozen=True)
class NearMean:
    """A normal prior of each turn around the mean pose."""

    std: float = 0.25

    def __call__(self, bodies: Bodies) -> Rows:
        away = log_so3(np.swapaxes(mean_pose()[1:], -1, -2) @ bodies.R[:, 1:])
        J = np.zeros((bodies.count, 23, 3, DIM))
        by_turn = inverse_right_jacobian(away)
        for joint in range(23):
            J[:, joint, :, 3 + 3 * joint : 6 + 3 * joint] = by_turn[:, joint]
        residual = -away.reshape(bodies.count, -1) / self.std
        J = J.reshape(bodies.count, 69, DIM) / self.std
        return Rows(residual, J, np.ones_like(residual), 0.5 * (residual**2).sum(-1))


def people(skeleton: Skeleton, spread: float = 0.25) -> Bodies:
    rng = np.random.default_rng(1)
    R = mean_pose() @ exp_so3(rng.normal(0, spread, (len(SIDES), 24, 3)))
    R[:, 0] = FACING @ exp_so3(np.array([[0.0, side, 0.1] for side in SIDES]))
    pelvis = np.array([0.2, 0.1, 3.0]) + rng.normal(0, 0.3, (len(SIDES), 3))
    return pose(skeleton, R, rng.normal(0, 0.5, (len(SIDES), 10)), pelvis)


def limbs(bodies: Bodies, sigma: float = 0.003) -> Limbs:
    points = bodies.joints[:, JOINTS]
    return Limbs(points[..., :2] / points[..., 2:], np.full((bodies.count, 12), sigma))


def best(found: Posterior) -> np.ndarray:
    return found.solution.bodies.joints[found.best()]


def error(joints: np.ndarray, target: Bodies) -> np.ndarray:
    """Mean over limb joints, the pelvises together and both of the same size, metres."""
    x, y = (part[:, JOINTS] - part[:, :1] for part in (joints, target.joints))
    scale = np.linalg.norm(y, axis=(1, 2)) / np.linalg.norm(x, axis=(1, 2))
    return np.linalg.norm(scale[:, None, None] * x - y, axis=-1).mean(-1)


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return geodesic_angle(a, np.broadcast_to(b, a.shape))


def test_one_of_the_starts_faces_as_the_person_and_stands_where_it_stands(
    skeleton: Skeleton,
) -> None:
    target = people(skeleton, spread=0.1)
    starts = torso_starts(skeleton, mean_pose(), limbs(target).rays)
    assert starts.count == STARTS * target.count
    roots = starts.R[:, 0].reshape(-1, STARTS, 3, 3)
    turned = angles(roots, target.R[:, :1]).min(1)
    assert (turned < 0.5).all()
    flip = geodesic_angle(roots[:, 0], roots[:, 1])
    np.testing.assert_allclose(flip, np.pi, atol=1e-6)
    pelvis = starts.pelvis.reshape(-1, STARTS, 3)[:, 0]
    np.testing.assert_allclose(pelvis[:, 2], target.pelvis[:, 2], rtol=0.25)
    away = pelvis[:, :2] / pelvis[:, 2:] - target.pelvis[:, :2] / target.pelvis[:, 2:]
    assert np.abs(away).max() < 0.03


def test_a_torso_that_is_a_point_has_upright_starts(skeleton: Skeleton) -> None:
    rays = np.full((1, 12, 2), 0.1)
    R = torso_starts(skeleton, mean_pose(), rays).R
    np.testing.assert_allclose(np.linalg.det(R), 1.0, atol=1e-6)


def test_smplify_recovers_people_from_exact_landmarks(body: BodyModel, skeleton: Skeleton) -> None:
    target = people(skeleton)
    found = smplify(body, NearMean(), mean_pose())(limbs(target))
    assert error(best(found), target).mean() < 0.06  # from 2D alone
    shown = found.solution.bodies.joints[found.best()][:, JOINTS]
    away = np.linalg.norm(shown[..., :2] / shown[..., 2:] - limbs(target).rays, axis=-1)
    assert away.mean() < 0.004  # of the distance
    begin = torso_starts(skeleton, mean_pose(), limbs(target).rays).joints[::STARTS]
    assert error(best(found), target).mean() < 0.7 * error(begin, target).mean()


def test_smplify_x_recovers_people_whose_poses_the_decoder_makes(
    body: BodyModel, skeleton: Skeleton
) -> None:
    rng = np.random.default_rng(2)
    decoder = CenteredDecoder(rng.normal(0, 0.25, (21, 3, 6)))
    z = rng.standard_normal((len(SIDES), 6))
    R, _ = decoder.decode_with_jacobian(z)
    R[:, 0] = people(skeleton).R[:, 0]
    target = pose(skeleton, R, np.zeros((len(z), 10)), people(skeleton).pelvis)
    found = smplify_x(body, decoder)(limbs(target))
    code = found.solution.step[found.best(), 3:9]
    assert np.median(np.abs(code - z)) < 0.1
    assert np.median(error(best(found), target)) < 0.01  # one of four is taken for its mirror image


class CenteredDecoder(CurvedDecoder):
    """Decodes the mean pose for 0."""

    def decode_with_jacobian(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        R, J = super().decode_with_jacobian(z)
        return mean_pose() @ R, J

    def encode(self, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(R), self.dim)), np.ones((len(R), self.dim))


def test_starts_near_the_person_are_only_refined(body: BodyModel, skeleton: Skeleton) -> None:
    target = people(skeleton)
    config = SmplifyConfig(stages=(Stage(1e6, 30), Stage(1.0, 8)))  # the first would forget it all
    fit = smplify(body, NearMean(), mean_pose(), config)
    found = fit(limbs(target), target)
    assert found.weights.shape == (target.count, 1)
    assert (found.solution.cost <= found.solution.cost_before).all()
    assert error(best(found), target).mean() < 0.05


def test_hypotheses_begin_with_the_best_one_and_its_flip(skeleton: Skeleton) -> None:
    drawn = people(skeleton)
    starts = hypothesis_starts(skeleton, drawn, 4)
    assert starts.count == 4
    for start, number in ((0, 0), (2, 1), (3, 2)):
        np.testing.assert_allclose(starts.joints[start], drawn.joints[number], atol=1e-6)
    np.testing.assert_allclose(starts.joints[1, 0], drawn.joints[0, 0], atol=1e-6)
    np.testing.assert_allclose(starts.R[1, 1:], drawn.R[0, 1:])
    assert geodesic_angle(starts.R[1, 0], drawn.R[0, 0]) == pytest.approx(np.pi, abs=1e-6)
    up = starts.R[:2, 0, :, 1]  # the axis of the turn is the body's own
    np.testing.assert_allclose(up[0], up[1], atol=1e-6)


def test_without_collision_limbs_may_meet(body: BodyModel, skeleton: Skeleton) -> None:
    """Both wrists are seen in the middle of the trunk, and the hands are held at its depth."""
    seen = limbs(people(skeleton, spread=0.0))
    rays = seen.rays.copy()
    rays[:, [4, 5]] = rays[:, [0, 1, 6, 7]].mean(1, keepdims=True)
    costs = []
    for collision in (True, False):
        config = SmplifyConfig(collision=collision)
        found = smplify(body, NearMean(), mean_pose(), config)(Limbs(rays, seen.sigma))
        bodies = take(found.solution.bodies, found.best())
        costs.append(Spheres.of(body)(bodies).cost.sum())
    assert costs[0] < 0.5 * costs[1]


def test_images_do_not_know_of_each_other(body: BodyModel, skeleton: Skeleton) -> None:
    seen = limbs(people(skeleton))
    fit = smplify(body, NearMean(), mean_pose())
    together = fit(seen)
    alone = fit(Limbs(seen.rays[2:3], seen.sigma[2:3]))
    np.testing.assert_allclose(best(together)[2], best(alone)[0], atol=1e-6)
    np.testing.assert_allclose(together.moments(2).cov, alone.moments(0).cov, atol=1e-7)


def test_an_unseen_arm_is_uncertain_and_as_the_prior_has_it(
    body: BodyModel, skeleton: Skeleton
) -> None:
    seen = limbs(people(skeleton))
    sigma = seen.sigma.copy()
    sigma[:, [2, 4]] = UNSEEN  # left elbow and wrist
    fit = smplify(body, NearMean(), mean_pose())
    both, blind = fit(seen), fit(Limbs(seen.rays, sigma))
    for image in range(len(SIDES)):
        std, std_blind = (
            np.sqrt(np.trace(one.moments(image).cov, axis1=1, axis2=2)) for one in (both, blind)
        )
        assert std_blind[20] > 1.3 * std[20] and std_blind[20] > 1.3 * std_blind[21]
    arm = blind.solution.bodies.R[blind.best(), 18]
    assert angles(arm, mean_pose()[18]).max() < 0.25


@pytest.mark.parametrize("outlier", [0, 0.4])
def test_one_wrong_landmark_hardly_matters(
    body: BodyModel, skeleton: Skeleton, outlier: float
) -> None:
    target = people(skeleton)
    seen = limbs(target)
    rays = seen.rays.copy()
    rays[:, 10] += outlier  # an ankle, the joints of its leg being seen
    found = smplify(body, NearMean(), mean_pose())(Limbs(rays, seen.sigma))
    joints = best(found)
    others = [i for i in range(12) if i != 10]
    points = joints[:, JOINTS][:, others]
    away = np.linalg.norm(points[..., :2] / points[..., 2:] - seen.rays[:, others], axis=-1)
    assert away.mean() < 0.01


def test_turns_are_the_only_coordinates_of_a_pose(skeleton: Skeleton) -> None:
    """The test's own prior: its Jacobian is right, or the rest says nothing."""
    start = people(skeleton)
    some = Bodies(*(part[:K] for part in vars(start).values()))
    rows = NearMean()(some)
    np.testing.assert_allclose(rows.J, differences(skeleton, some, NearMean()), atol=1e-7)
    assert not rows.J[..., TURNS:].any()
