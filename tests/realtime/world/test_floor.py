"""The floor, from simulated people: who stand, walk, sit, jump, stand on chairs or are cut off."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from engines.body import BodyModel, joints_only
from engines.gravity.direction import Direction, tangent_basis
from engines.rotations import exp_so3, log_so3
from engines.types import JOINT_NAMES, Body, Person
from realtime.world.floor import Floor, FloorConfig, FloorFilter
from tests.support.example_estimate import make_estimate

HEIGHT_M = 1.3
DOWN = math.radians(20)
R_WORLD_CAM = np.array(
    [[1, 0, 0], [0, -math.sin(DOWN), math.cos(DOWN)], [0, -math.cos(DOWN), -math.sin(DOWN)]]
)
"""A camera that looks along y and down."""
UP = Direction(R_WORLD_CAM.T @ np.array([0.0, 0, 1]), np.zeros((3, 3)))
ANKLES = [JOINT_NAMES.index(name) for name in ("left_ankle", "right_ankle")]


def sole_m(body: BodyModel) -> float:
    return float(-body.full.v_template[:, 1].min())


def person_at(
    body: BodyModel,
    where: tuple[float, float, float],
    *,
    pose: np.ndarray | None = None,
    std: float = 0.02,
    ray_std: float = 0.0,
    axis_std: float = 0.0,
    visible: float = 1.0,
    track_id: int = 0,
) -> Person:
    """A person of mean shape whose soles are at `where` in the world when they stand."""
    rotvec = np.zeros((24, 3)) if pose is None else pose.copy()
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # body y up to world z up
    rotvec[0] = log_so3(R_WORLD_CAM.T @ upright @ exp_so3(rotvec[0]))
    pelvis = np.array(where) + np.array([0, 0, sole_m(body) - HEIGHT_M])
    rest = body.rest_joints(np.zeros(10))[0]
    transl = R_WORLD_CAM.T @ (pelvis + upright @ rest) - rest
    joints = joints_only(body, rotvec, np.zeros(10), transl).astype(float)
    base = make_estimate().person
    assert base is not None
    best = Body(rotvec[0], rotvec[1:].ravel(), np.zeros(10), transl, joints)
    return replace(
        base,
        best=best,
        joint_cov=np.broadcast_to(std**2 * np.eye(3), (24, 3, 3)),
        ray_std=ray_std,
        axis_std=axis_std,
        ray=joints[0] / np.linalg.norm(joints[0]),
        joint_visible=np.full(24, visible),
        track_id=track_id,
    )


def seated(body: BodyModel) -> np.ndarray:
    pose = np.zeros((24, 3))
    pose[[1, 2], 0] = -1.5
    pose[[4, 5], 0] = 1.5
    return pose


def after(floor: FloorFilter, people: list[list[Person]], dt: float = 0.1) -> Floor:
    found = None
    for i, frame in enumerate(people):
        found = floor(tuple(frame), UP, i * dt, 0.0)
    assert found is not None
    return found


@pytest.fixture
def floor(body: BodyModel) -> FloorFilter:
    return FloorFilter(body)


def test_a_standing_person_tells_where_the_floor_is(body: BodyModel, floor: FloorFilter) -> None:
    found = after(floor, [[person_at(body, (0.3, 3, 0))]] * 30)
    assert found.height == pytest.approx(HEIGHT_M, abs=0.01)
    assert 0 < found.std < 0.05


def test_before_a_foot_has_rested_it_is_a_guess(body: BodyModel, floor: FloorFilter) -> None:
    found = after(floor, [[person_at(body, (0.3, 3, 0))]] * 2)
    assert found.std == math.inf
    assert found.height == pytest.approx(HEIGHT_M, abs=0.02)
    assert FloorFilter(body)((), UP, 0.0, 0.0).std == math.inf


def test_a_walker_rests_on_one_foot_after_the_other(body: BodyModel, floor: FloorFilter) -> None:
    frames = []
    for i in range(120):
        pose = np.zeros((24, 3))
        phase = (i / 30) % 1.0
        swing = [max(math.sin(2 * math.pi * (phase + half)), 0.0) for half in (0.0, 0.5)]
        pose[[1, 2], 0] = [-0.6 * s for s in swing]
        pose[[4, 5], 0] = [1.0 * s for s in swing]
        frames.append([person_at(body, (0.0, 3.0, 0), pose=pose)])
    found = after(floor, frames, dt=1 / 30)
    assert found.height == pytest.approx(HEIGHT_M, abs=0.02)
    assert found.std < 0.1


def test_a_jump_and_an_occluded_person_tell_nothing(body: BodyModel, floor: FloorFilter) -> None:
    times = np.arange(40) / 30
    heights = [max(0.0, 4 * t - 4.9 * t * t) for t in times % 0.8]
    jump = [[person_at(body, (0.3, 3, h))] for h in heights]
    assert after(floor, jump, dt=1 / 30).std == math.inf
    hidden = [[person_at(body, (0.3, 3, 0), visible=0.2)]] * 40
    assert after(FloorFilter(body), hidden).std == math.inf


def test_who_sits_puts_the_feet_on_the_floor(body: BodyModel, floor: FloorFilter) -> None:
    pose = seated(body)
    low = float((person_at(body, (0, 3, 0), pose=pose).best.joints @ UP.vector).min())
    standing = float((person_at(body, (0, 3, 0)).best.joints @ UP.vector).min())
    found = after(floor, [[person_at(body, (0.3, 3, standing - low), pose=pose)]] * 30)
    assert found.height == pytest.approx(HEIGHT_M, abs=0.05)


def test_a_person_on_a_chair_does_not_raise_it(body: BodyModel, floor: FloorFilter) -> None:
    below, above = person_at(body, (0.3, 3, 0)), person_at(body, (0.3, 3, 0.5))
    assert after(floor, [[below]] * 30 + [[above]] * 60).height == pytest.approx(HEIGHT_M, abs=0.04)
    first_above = after(FloorFilter(body), [[above]] * 30 + [[below]] * 60)
    assert first_above.height == pytest.approx(HEIGHT_M, abs=0.05)
    both = [[above, replace(below, track_id=1)]] * 40
    assert after(FloorFilter(body), both).height == pytest.approx(HEIGHT_M, abs=0.03)


def test_who_returns_after_a_gap_is_remembered(body: BodyModel, floor: FloorFilter) -> None:
    """Ten minutes without feet at rest, then a frame of the same person on a low step."""
    below, above = person_at(body, (0.3, 3, 0), std=0.1), person_at(body, (0.3, 3, 0.15), std=0.1)
    known = after(floor, [[below]] * 600)
    floor((above,), UP, 660.0, 0.0)
    found = floor((above,), UP, 660.4, 0.0)
    assert found.height == pytest.approx(known.height, abs=0.03)
    assert found.std == pytest.approx(known.std, rel=0.05)


def test_its_uncertainty_holds_for_errors_as_published(body: BodyModel) -> None:
    """Monte Carlo: people at a wrong distance, feet with noise; the squared error over the
    predicted variance has mean 1.
    """
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        floor, off = FloorFilter(body), 0.3 * rng.normal()
        ray = person_at(body, (0, 3, 0)).ray
        for i in range(12):
            one = person_at(body, (0, 3, 0), std=0.03, ray_std=0.3)
            noise = off * ray + 0.003 * rng.normal(size=(24, 3))
            best = replace(one.best, joints=one.best.joints + noise)
            found = floor((replace(one, best=best),), UP, i * 0.5, 0.0)
        ratios.append(((found.height - HEIGHT_M) / found.std) ** 2)
    assert 0.4 < np.mean(ratios) < 1.8


@pytest.mark.parametrize("samples", [2, 5, 20])
def test_half_the_variance_stays_with_a_person(body: BodyModel, samples: int) -> None:
    """And the other half is divided by the number of samples, here long after one another."""
    person = person_at(body, (0.3, 3, 0), std=0.03)
    floor = FloorFilter(body, FloorConfig(memory_s=1e9))
    found = after(floor, [[person]] * (samples + 1), dt=20.0)  # the first does not rest yet
    variance = 0.03**2 + 0.02**2
    assert found.std**2 == pytest.approx(variance * (0.5 + 0.5 / samples), rel=1e-3)


def test_gravity_and_an_assumed_focal_length_widen_it(body: BodyModel) -> None:
    person = person_at(body, (0.0, 3, 0))
    said = replace(person, axis_std=0.12 * float(person.best.joints[0, 2]))  # counts once
    B = tangent_basis(UP.vector)
    tilted = Direction(UP.vector, math.radians(5) ** 2 * B @ B.T)
    plain, wider, assumed = (FloorFilter(body) for _ in range(3))
    for i in range(20):
        known = plain((person,), UP, i * 0.1, 0.0)
        unsure = wider((person,), tilted, i * 0.1, 0.0)
        scaled = assumed((said,), UP, i * 0.1, 0.12)
    assert math.sqrt(unsure.std**2 - known.std**2) == pytest.approx(3 * math.radians(5), rel=0.05)
    sole = R_WORLD_CAM.T @ np.array([0, 3, -HEIGHT_M])
    farther = sole * (1, 1, 1.12)  # the same image by a focal length that is 12 % longer
    assert math.sqrt(scaled.std**2 - known.std**2) == pytest.approx(
        abs(UP.vector @ (farther - sole)), rel=0.02
    )


def test_a_level_camera_knows_its_height_whatever_its_focal_length_is(body: BodyModel) -> None:
    person = person_at(body, (0.0, 3, 0))
    level = Direction(np.array([0.0, -1, 0]), np.zeros((3, 3)))
    known, assumed = FloorFilter(body), FloorFilter(body)
    for i in range(20):
        one = known((person,), level, i * 0.1, 0.0)
        other = assumed((person,), level, i * 0.1, 0.12)
    assert np.isfinite(one.std) and one == other


def test_it_remembers_a_bounded_number_of_people(body: BodyModel, floor: FloorFilter) -> None:
    tracemalloc.start()
    person = person_at(body, (0.3, 3, 0))
    sizes = []
    for crowd in range(3):
        for i in range(100):
            one = replace(person, track_id=100 * crowd + i)
            floor((one,), UP, 10.0 * crowd + 0.1 * i, 0.0)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[2] - sizes[1] < 20_000


def test_who_is_near_counts_more_while_gravity_is_unsure(body: BodyModel) -> None:
    """A wrong gravity moves the floor below somebody far away by metres, and hardly the near one's:
    the error of the fused height is the one that is predicted.
    """
    rng = np.random.default_rng(5)
    tilt = math.radians(6)
    B = tangent_basis(UP.vector)
    near, far = person_at(body, (0.5, 2, 0)), person_at(body, (-1, 12, 0), track_id=1)
    ratios, heights = [], []
    for _ in range(40):
        wrong = UP.vector + B @ (tilt * rng.normal(size=2))
        wrong /= np.linalg.norm(wrong)
        C = tangent_basis(wrong)
        up, floor = Direction(wrong, tilt**2 * C @ C.T), FloorFilter(body)
        for i in range(8):
            found = floor((near, far), up, 0.5 * i, 0.0)
        assert math.isfinite(found.std)
        heights.append(found.height)
        ratios.append(((found.height - HEIGHT_M) / found.std) ** 2)
    assert np.std(heights) < 0.4
    assert 0.4 < np.mean(ratios) < 1.8
