"""The T-pose of the default body."""

import numpy as np

from engines.body import BodyModel
from engines.rotations import exp_so3
from engines.types import PARENTS
from trainer.body.rest_pose import REST_DIRECTIONS, skinned, to_t_pose


def test_bones_of_a_bent_body_point_where_they_should() -> None:
    body = BodyModel.load()
    bent = np.zeros((3, 24, 3))
    bent[:, 1:] = 0.2 * np.random.default_rng(0).standard_normal((3, 23, 3))
    posed = body.shaped(np.zeros((3, 10))).posed(bent, np.zeros((3, 3)))
    joints = posed.joints.astype(np.float64)
    vertices = posed.vertices("decimated").astype(np.float64)
    _, straight = to_t_pose(vertices, joints, body.decimated.weights)
    np.testing.assert_allclose(straight[:, 0], 0.0, atol=1e-9)
    for joint, child, direction in REST_DIRECTIONS:
        bone = straight[:, child] - straight[:, joint]
        along = np.asarray(direction) / np.linalg.norm(direction)
        length = np.linalg.norm(joints[:, child] - joints[:, joint], axis=-1)
        np.testing.assert_allclose(bone, length[:, None] * along, atol=1e-6)


def test_rotations_of_all_joints_skin_as_the_body_does() -> None:
    body = BodyModel.load()
    rotvec = 0.3 * np.random.default_rng(1).standard_normal((1, 24, 3))
    posed = body.shaped(np.zeros((1, 10))).posed(rotvec, np.zeros((1, 3)))
    turns = exp_so3(rotvec)
    world = np.empty_like(turns)
    for joint in range(24):
        above = PARENTS[joint]
        world[:, joint] = turns[:, joint] if above < 0 else world[:, above] @ turns[:, joint]
    mesh = body.decimated
    result = skinned(
        mesh.v_template[None].astype(np.float64),
        mesh.weights,
        world,
        body.J_template[None].astype(np.float64),
        posed.joints.astype(np.float64),
    )
    np.testing.assert_allclose(result, posed.vertices("decimated"), atol=2e-5)
