"""A second camera determines depth; landmarks that it cannot see have no effect."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.evidence.evidence import effective_sample_size, posterior_moments, reweight
from engines.evidence.second_view import SecondView
from engines.types import LIMB_JOINTS, LIMB_LANDMARKS, Hypotheses
from tests.support.random_hypotheses import around
from trainer.data.augment import JOINT_OF_LANDMARK

CAMERA = Intrinsics(900, 905, 640, 350, (1280, 720), (-0.2, 0.05, 0.001, -0.002, 0.01), "test")
LANDMARKS, JOINTS = list(LIMB_LANDMARKS), list(LIMB_LANDMARKS.values())


def from_the_side(angle: float = 1.2) -> np.ndarray:
    """A camera that looks at the point three metres in front of the first, from the side."""
    T, center = np.eye(4), np.array([0.3, 0.0, 3.0])
    T[:3, :3] = Rotation.from_euler("y", angle).as_matrix()
    T[:3, 3] = np.array([0.0, 0.0, 3.5]) - T[:3, :3] @ center
    return T


def second_view(
    joints: np.ndarray, T: np.ndarray, noise_px: float = 0.0, visibility: float = 0.95
) -> SecondView:
    """The second camera's view of true joints (24, 3)."""
    points = np.full((33, 2), -1e3)
    in_second = joints[JOINTS] @ T[:3, :3].T + T[:3, 3]
    points[LANDMARKS] = CAMERA.project(in_second) + np.random.default_rng(0).normal(
        0, noise_px, (12, 2)
    )
    return SecondView(points, np.full(33, visibility), CAMERA, T)


def two_bodies(joints: np.ndarray) -> Hypotheses:
    """Of which only the joints (2, 24, 3) count."""
    zeros = np.zeros((2, 24, 3)), np.zeros((2, 10)), np.zeros((2, 3))
    return Hypotheses(*zeros, joints, np.zeros(2), np.ones(2) / 2)


def test_landmarks_and_joints_agree_with_the_trainer() -> None:
    assert all(JOINT_OF_LANDMARK[landmark] == joint for landmark, joint in LIMB_LANDMARKS.items())
    assert set(LIMB_LANDMARKS.values()) == set(LIMB_JOINTS)


def test_the_likelihood_by_hand() -> None:
    """One landmark counts, 30 px off; b = 10 px, visibility 0.8, 1280 x 720 px."""
    camera = Intrinsics(1000, 1000, 640, 360, (1280, 720))
    points = np.full((33, 2), -1.0)
    points[15] = (670, 360)
    view = SecondView(points, np.full(33, 0.8), camera, np.eye(4))
    limbs = points[LANDMARKS]
    view = replace(view, scale=10 / np.linalg.norm(np.ptp(limbs, axis=0)))
    joints = np.zeros((2, 24, 3))
    joints[..., 2] = 2
    joints[1, 20, 2] = -2  # behind the camera
    found = view.log_likelihood(two_bodies(joints)) - np.log(1280 * 720)
    expected = [
        np.log(0.8 * np.exp(-3) / (2 * np.pi * 100) + 0.2 / (1280 * 720)),
        np.log(0.2 / (1280 * 720)),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_landmark_that_is_surely_visible_may_still_be_anywhere() -> None:
    """Of two bodies the second is behind the camera, and all landmarks are said to be visible."""
    ahead = np.tile([0.0, 0.0, 2.0], (24, 1))
    view = second_view(ahead, np.eye(4), visibility=1.0)
    front, behind = view.log_likelihood(two_bodies(np.stack([ahead, -ahead])))
    assert front > behind == pytest.approx(12 * np.log(0.01))


def test_the_true_body_is_likeliest_through_a_distorting_lens(body: BodyModel) -> None:
    samples, true_joints = around(body, 200, seed=0)
    joints = samples.joints.copy()
    joints[77] = true_joints
    values = second_view(true_joints, from_the_side()).log_likelihood(
        replace(samples, joints=joints)
    )
    assert values.argmax() == 77


def test_a_second_view_improves_depth_and_pose(body: BodyModel) -> None:
    """Weighted against plain mean over twelve people, in depth and relative to the pelvis."""
    depth, pose = np.zeros((12, 2)), np.zeros((12, 2))
    for seed in range(12):
        samples, true_joints = around(body, 400, seed)
        posterior = reweight(
            samples, second_view(true_joints, from_the_side(), noise_px=3), min_effective=4
        )
        for column, hypotheses in enumerate((samples, posterior)):
            mean = posterior_moments(hypotheses).mean
            depth[seed, column] = np.abs(mean - true_joints)[:, 2].mean()
            pose[seed, column] = np.linalg.norm(
                (mean - mean[0]) - (true_joints - true_joints[0]), axis=1
            ).mean()
    assert depth[:, 1].mean() < 0.4 * depth[:, 0].mean()
    assert pose[:, 1].mean() < pose[:, 0].mean()


def test_occluded_landmarks_and_those_outside_have_no_effect(body: BodyModel) -> None:
    samples, true_joints = around(body, 20, seed=1)
    view = second_view(true_joints, from_the_side())
    occluded = view.visibility.copy()
    occluded[16] = 0.0
    elsewhere = view.points.copy()
    elsewhere[16] = (300, 300)
    a = replace(view, visibility=occluded)
    b = replace(
        a, points=elsewhere, scale=a.scale_px / replace(a, points=elsewhere).scale_px * a.scale
    )
    np.testing.assert_allclose(a.log_likelihood(samples), b.log_likelihood(samples))
    nothing = replace(view, points=np.full((33, 2), -5.0))
    assert effective_sample_size(reweight(samples, nothing)) == pytest.approx(20)


def test_one_wrong_landmark_does_not_decide(body: BodyModel) -> None:
    """The true body keeps beating a body that is bent towards a landmark which is far off."""
    samples, true_joints = around(body, 2, seed=2)
    view = second_view(true_joints, from_the_side())
    points = view.points.copy()
    points[16] = (5, 5)
    near = np.stack([true_joints, true_joints + np.array([0.0, 0.0, 0.15])])
    values = replace(view, points=points, scale=0.01).log_likelihood(replace(samples, joints=near))
    assert values[0] > values[1] + 5


def test_wrong_arguments_are_named() -> None:
    points, ones = np.zeros((33, 2)), np.ones(33)
    for T in (np.eye(3), 2 * np.eye(4), np.diag([1.0, 1, -1, 1]), np.full((4, 4), np.nan)):
        with pytest.raises(PenumbraError, match="T_cam2_cam1"):
            SecondView(points, ones, CAMERA, T)
    with pytest.raises(PenumbraError, match="scale"):
        SecondView(points, ones, CAMERA, np.eye(4), scale=0)
    with pytest.raises(PenumbraError, match=r"visibility: .*33"):
        SecondView(points, ones[:17], CAMERA, np.eye(4))
    with pytest.raises(PenumbraError, match=r"points: .*33"):
        SecondView(points[:17], ones, CAMERA, np.eye(4))
