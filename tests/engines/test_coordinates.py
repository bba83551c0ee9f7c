"""The Jacobian of joints is the derivative of forward kinematics, written here a second time."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.coordinates import ANCESTORS, DIM, TURNS, depth_jacobian, joint_jacobian
from engines.rotations import exp_so3
from engines.types import PARENTS

STEP = 1e-5


def posed(
    body: BodyModel, rotvec: np.ndarray, betas: np.ndarray, pelvis: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A body after a step: the rotations of its bones to the camera, and its joints."""
    turned = exp_so3(rotvec) @ exp_so3(d[:TURNS].reshape(24, 3))
    rest = body.J_template + body.J_shapedirs @ (betas + d[TURNS:-3])
    world, found = [turned[0]], [pelvis + d[-3:]]
    for j, parent in list(enumerate(PARENTS))[1:]:
        found.append(found[parent] + world[parent] @ (rest[j] - rest[parent]))
        world.append(world[parent] @ turned[j])
    return np.stack(world), np.stack(found)


@pytest.mark.parametrize("joints", [range(24), (20, 0, 15)])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-8), (np.float32, 1e-4)])
def test_the_jacobian_is_that_of_forward_kinematics(
    body: BodyModel, joints: range | tuple[int, ...], dtype: type, atol: float
) -> None:
    rng = np.random.default_rng(0)
    people = [
        (rng.normal(0, 0.4, (24, 3)), rng.normal(0, 0.5, 10), np.array([0.2, -0.1, 3.0]))
        for _ in range(2)
    ]
    still, d = np.zeros(DIM), rng.normal(size=DIM)
    before = [posed(body, *p, still) for p in people]
    R_cam, x = (np.stack(part) for part in zip(*before, strict=True))
    some = np.array(joints)
    J = joint_jacobian(body.J_shapedirs, R_cam.astype(dtype), x.astype(dtype), some)
    ahead, behind = (
        np.stack([posed(body, *p, step)[1][some] for p in people]) for step in (STEP * d, -STEP * d)
    )
    assert J.shape == (2, len(some), 3, DIM) and J.dtype == dtype
    np.testing.assert_allclose(J @ d, (ahead - behind) / (2 * STEP), atol=atol)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-8), (np.float32, 1e-5)])
def test_depth_relative_to_the_pelvis_follows_turns_and_shape(
    body: BodyModel, dtype: type, atol: float
) -> None:
    rng = np.random.default_rng(1)
    person = rng.normal(0, 0.4, (24, 3)), rng.normal(0, 0.5, 10), np.array([0.9, -0.4, 2.0])
    d, some = rng.normal(size=DIM), np.array([1, 8, 21, 0])
    R_cam, x = posed(body, *person, np.zeros(DIM))
    ray = person[2] / np.linalg.norm(person[2])
    J = depth_jacobian(body.J_shapedirs.astype(dtype), R_cam.astype(dtype), x.astype(dtype), some)
    ahead, behind = (
        (moved[some] - moved[0]) @ ray
        for step in (STEP * d, -STEP * d)
        for _, moved in [posed(body, *person, step)]
    )
    assert J.shape == (len(some), DIM) and J.dtype == dtype
    np.testing.assert_allclose(J @ d, (ahead - behind) / (2 * STEP), atol=atol)


@pytest.mark.parametrize("joint", range(24))
def test_ancestors_are_all_joints_on_the_way_to_the_root(joint: int) -> None:
    chain = ANCESTORS[joint]
    assert joint not in chain and (joint == 0 or chain[-1] == 0)
