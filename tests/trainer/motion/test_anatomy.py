"""Mirrored poses, and poses that no body takes."""

import numpy as np

from engines.body import BodyModel
from engines.rotations import exp_so3
from engines.types import NUM_BETAS, PARENTS
from trainer.motion.anatomy import MIRRORED_JOINTS, mirror_pose, plausible


def test_mirroring_twice_is_the_identity() -> None:
    rotvec = np.random.default_rng(0).normal(0, 0.7, (5, 24, 3))
    np.testing.assert_array_equal(mirror_pose(mirror_pose(rotvec)), rotvec)


def test_mirrored_joints_are_reflected_joints(body: BodyModel) -> None:
    rotvec = np.random.default_rng(1).normal(0, 0.7, (5, 24, 3)).astype(np.float32)
    rest = body.rest_joints(np.zeros(NUM_BETAS))
    rest = 0.5 * (rest + rest[list(MIRRORED_JOINTS)] * (-1, 1, 1))  # the body's own asymmetry aside
    expected = kinematics(rotvec, rest)[:, list(MIRRORED_JOINTS)] * (-1, 1, 1)
    np.testing.assert_allclose(kinematics(mirror_pose(rotvec), rest), expected, atol=1e-5)


def kinematics(rotvec: np.ndarray, rest: np.ndarray) -> np.ndarray:
    world = exp_so3(rotvec)
    joints = np.zeros_like(rotvec)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            joints[:, joint] = joints[:, parent] + world[:, parent] @ (rest[joint] - rest[parent])
            world[:, joint] = world[:, parent] @ world[:, joint]
    return joints


def test_implausible_poses_are_recognised() -> None:
    pose = np.zeros((6, 24, 3))
    pose[1, 18, 1] = -2.0  # left elbow bent
    pose[2, 18, 1] = 1.0  # left elbow bent backwards
    pose[3, 5, 0] = -1.0  # right knee bent backwards
    pose[4, 15, 1] = 3.0  # head turned round
    pose[5, 7, 2] = 2.5  # foot turned round
    assert plausible(pose).tolist() == [True, True, False, False, False, False]
