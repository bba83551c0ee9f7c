"""Bodies that stand, sink and touch; the points that stand for their surface."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.evidence.contact import (
    BodyJoints,
    BodySurface,
    Contact,
    Grasp,
    NonPenetration,
    chamfer,
    joint_ids,
)
from engines.evidence.evidence import best, reweight
from engines.evidence.surfaces import Plane, Solid
from engines.rotations import log_so3
from engines.types import Hypotheses
from tests.support.cube import cube
from tests.support.random_hypotheses import FACING, around, hypotheses_of_poses

SOLES = ("left_foot", "left_ankle", "right_foot", "right_ankle")


def standing(body: BodyModel, heights: list[float]) -> Hypotheses:
    """T-poses that face the camera three metres away, the pelvis this high (m) above the optical
    axis.
    """
    rotvec = np.zeros((len(heights), 24, 3))
    rotvec[:, 0] = log_so3(FACING)
    return hypotheses_of_poses(body, rotvec, np.array([[0.0, -height, 3.0] for height in heights]))


def lowest(body: BodyModel, hypotheses: Hypotheses) -> float:
    """The camera's y (down) of the lowest vertex of the full mesh of hypothesis 0."""
    posed = body.shaped(hypotheses.betas[:1]).posed(hypotheses.rotvec[:1], hypotheses.transl[:1])
    return float(posed.vertices("full")[..., 1].max())


def test_a_floor_kills_those_below_it(body: BodyModel) -> None:
    people = standing(body, [0.0, -0.005, -0.1, 0.1])
    floor = Plane.through(np.array([0.0, lowest(body, people), 3.0]), np.array([0.0, -1.0, 0.0]))
    free = reweight(people, NonPenetration(floor, BodySurface.of(body)))
    assert free.weights[2] < 1e-4  # 10 cm under the floor
    assert free.weights[1] > 0.9 * free.weights[0]  # half a centimetre is within the tolerance
    # In the air is not in the floor.
    assert free.weights[3] == pytest.approx(free.weights[0], rel=0.02)
    stand = reweight(people, Contact(floor, BodySurface.of(body, SOLES), tolerance_m=0.03))
    assert stand.weights[3] < 1e-3 and stand.weights[2] < 1e-3
    assert stand.weights[:2].sum() > 0.998


def test_a_floor_tells_the_distance(body: BodyModel) -> None:
    """Camera at chest height: of bodies on the same rays only the one at the true distance reaches
    the floor.
    """
    true = standing(body, [0.2])
    ground = lowest(body, true)
    factors = np.array([0.8, 0.9, 1.0, 1.1, 1.2])[:, None]
    pelvis = factors * true.joints[0, 0]
    people = hypotheses_of_poses(
        body, np.repeat(true.rotvec, 5, 0), pelvis + np.array([0.0, 0.15, 0.0]) * (factors - 1)
    )
    floor = Plane.through(np.array([0.0, ground, 3.0]), np.array([0.0, -1.0, 0.0]))
    assert best(reweight(people, Contact(floor, BodySurface.of(body, SOLES)))).joints[
        0, 2
    ] == pytest.approx(3.0)


@pytest.mark.parametrize("seed", range(2))
def test_the_thinned_surface_finds_the_deepest_point(body: BodyModel, seed: int) -> None:
    """Against all 12,488 vertices, planes from all sides: the deepest point differs by
    millimetres.
    """
    samples, _ = around(body, 6, seed, pose_std=0.4)
    full = body.shaped(samples.betas).posed(samples.rotvec, samples.transl).vertices("full")
    thin = BodySurface.of(body, count=500).points(samples)
    normals = np.random.default_rng(seed).normal(size=(40, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    missed = (thin @ normals.T).min(1) - (full @ normals.T).min(1)  # (K, 40), metres
    assert missed.min() > -0.006  # the decimated mesh leaves the full one by no more
    assert np.median(missed) < 0.006 and missed.max() < 0.03


def test_parts_are_where_their_joints_are(body: BodyModel) -> None:
    samples, _ = around(body, 3, seed=3)
    surface = BodySurface.of(body, ("left_hand", "right_foot"), count=60)
    assert set(surface.part) == {22, 11}
    points = surface.points(samples)
    for joint in (22, 11):
        away = np.linalg.norm(
            points[:, surface.part == joint] - samples.joints[:, None, joint], axis=-1
        )
        assert away.max() < 0.25
    np.testing.assert_array_equal(
        BodyJoints.of(("head",)).points(samples)[:, 0], samples.joints[:, 15]
    )
    np.testing.assert_array_equal(joint_ids(("pelvis", "head")), [0, 15])


def test_the_object_chooses_who_touches_it(body: BodyModel) -> None:
    """A box where the left hand of number 2 ends: the others reach past it or into it."""
    arms = [(0.0, 0.0, 0.0), (0.0, 0.0, -1.2), (0.0, 0.0, -0.6), (0.0, -0.7, 0.0)]
    rotvec = np.zeros((4, 24, 3))
    rotvec[:, 0], rotvec[:, 16] = log_so3(FACING), arms
    people = hypotheses_of_poses(body, rotvec, np.tile([0.0, 0.0, 3.0], (4, 1)))
    hand = BodySurface.of(body, ("left_hand",))
    tips = hand.points(people)[2]
    tip = tips[tips[:, 0].argmax()]  # a T-pose that faces the camera has its left hand at large x
    vertices, faces = cube((float(tip[0]) + 0.1, float(tip[1]), float(tip[2])), 0.2)
    cup = Solid.from_mesh(vertices, faces)
    touching = reweight(people, Contact(cup, hand), NonPenetration(cup, BodySurface.of(body)))
    assert touching.weights[2] > 0.99
    held = reweight(people, Grasp(tips, BodyJoints.of(("left_hand", "left_wrist"))))
    assert held.weights.argmax() == 2


def test_chamfer_against_all_pairs() -> None:
    rng = np.random.default_rng(2)
    bodies, patch = rng.normal(size=(3, 20, 3)), rng.normal(size=(31, 3))
    expected = [cdist(one, patch).min(1).mean() + cdist(one, patch).min(0).mean() for one in bodies]
    np.testing.assert_allclose(chamfer(bodies, patch), expected)


def test_wrong_arguments_are_named(body: BodyModel) -> None:
    floor, joints = Plane(np.array([0.0, -1.0, 0.0]), -1.0), BodyJoints.of()
    for build in (lambda: NonPenetration(floor, joints, 0.0), lambda: Contact(floor, joints, -1.0)):
        with pytest.raises(PenumbraError, match="tolerance_m"):
            build()
    with pytest.raises(PenumbraError, match="left_thumb"):
        BodySurface.of(body, ("left_thumb",))
    with pytest.raises(PenumbraError, match="count"):
        BodySurface.of(body, count=0)
    with pytest.raises(PenumbraError, match="patch"):
        Grasp(np.zeros((0, 3)), joints)
