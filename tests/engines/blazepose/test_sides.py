"""Left and right through time: exchanged labels are put back, real movements are left alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from engines.blazepose.sides import SideConfig, SideContinuity
from engines.blazepose.tracker import open_tracker
from engines.types import MIRRORED_LANDMARKS, Landmarks, Roi
from tests.support.paths import SHARED
from trainer.data.video_reader import read_frames

BALANCING = SHARED / "data" / "multiview" / "balancing"
ARMS, LEGS, HIPS, FACE = slice(11, 23), slice(23, 33), slice(23, 25), slice(0, 11)


def person(angle: float, shift: float = 0.0) -> Landmarks:
    """A stiff person who has turned by `angle` about the vertical; 0 faces the camera."""
    rng = np.random.default_rng(1)
    body = np.zeros((33, 3))
    body[:, 1] = np.concatenate([np.full(11, -60.0), np.repeat([-40, -15, 10, 15, 15, 15], 2),
                                 np.repeat([20, 50, 80, 82, 85], 2)])  # fmt: skip
    side = np.concatenate([[0.0, 3, 5, 7, -3, -5, -7, 9, -9, 3, -3], np.tile([20.0, -20.0], 11)])
    body[:, 0] = side
    body[:, 2] = rng.normal(0, 3, 33)
    points = np.column_stack(
        [body[:, 0] * math.cos(angle) + body[:, 2] * math.sin(angle) + 300 + shift, body[:, 1]]
    )
    numbers = np.arange(33, dtype=np.float64)
    roi = Roi(np.array([300.0, 0.0]), 300.0, 0.0)
    world = np.repeat(numbers[:, None], 3, 1)
    return Landmarks(
        points, numbers.copy(), numbers / 33, numbers / 40, world, 1.0, roi, peak=numbers / 50
    )


def exchange(landmarks: Landmarks, *parts: slice) -> Landmarks:
    """The same with left and right exchanged in some parts."""
    order = np.arange(33)
    for part in parts:
        order[part] = np.array(MIRRORED_LANDMARKS)[part]
    names = ("points", "depth", "visibility", "presence", "world", "peak")
    return replace(landmarks, **{name: getattr(landmarks, name)[order] for name in names})


def same(a: Landmarks, b: Landmarks) -> bool:
    names = ("points", "depth", "visibility", "presence", "world", "peak")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("parts", [(ARMS, LEGS, FACE), (LEGS,), (ARMS, FACE)])
def test_an_exchange_is_undone_in_all_fields(parts: tuple[slice, ...]) -> None:
    sides = SideContinuity()
    for t in range(60):
        true = person(0.2, shift=2.0 * t)
        wrong = 20 <= t < 32 or t in (40, 43)
        assert same(sides(exchange(true, *parts) if wrong else true), true), t


def test_one_side_found_twice_for_an_image_says_nothing_of_the_labels_after_it() -> None:
    sides = SideContinuity()
    for t in range(40):
        true = person(0.2, shift=2.0 * t)
        found = exchange(true, ARMS, LEGS, FACE) if t > 20 else true
        if t == 20:
            points = true.points.copy()
            points[24::2] = points[23:-1:2] + 1.0
            assert np.abs(sides(replace(true, points=points)).points - points).max() == 0
            continue
        assert same(sides(found), true), t


def test_legs_that_cross_while_the_network_exchanges_the_body_follow_the_arms() -> None:
    """Where the legs coincide, continuity says nothing of them; of the arms it still does."""
    sides = SideContinuity()
    for t in range(95):
        true = person(0.2)
        points = true.points.copy()
        apart = math.cos(math.pi * min(max(t - 50, 0), 20) / 20)  # the legs change places
        middle = points[LEGS, 0].mean()
        points[LEGS, 0] = middle + apart * (points[LEGS, 0] - middle)
        points[HIPS, 0] = middle + max(apart, 0.3) * (true.points[HIPS, 0] - middle)
        true = replace(true, points=points)
        found = exchange(true, ARMS, LEGS, FACE) if t >= 55 else true
        assert same(sides(found), true), t


def test_hips_do_not_face_away_from_shoulders() -> None:
    """The legs jump, so continuity loses them, and the network has exchanged them since."""
    sides = SideContinuity()
    for t in range(80):
        true = person(0.2)
        points = true.points.copy()
        points[LEGS, 0] += 70.0 if t >= 30 else 0.0
        true = replace(true, points=points)
        labelled = sides(exchange(true, LEGS) if t >= 30 else true)
        if t > 30 + SideConfig().patience:
            assert same(labelled, true), t


def test_a_person_who_turns_round_keeps_the_labels_of_the_network() -> None:
    sides = SideContinuity()
    for t in range(120):
        true = person(2 * math.pi * t / 60)
        assert same(sides(true), true), t


def test_a_network_that_was_wrong_at_first_is_believed_soon() -> None:
    sides = SideContinuity()
    results = []
    for t in range(30):
        true = person(0.2)
        results.append(same(sides(exchange(true, ARMS, LEGS, FACE) if t < 5 else true), true))
    assert results.index(True) <= 11 and all(results[12:])


def test_a_long_exchange_ends_after_the_memory() -> None:
    """A contradiction that outlasts the longest memory is taken for the truth."""
    config = SideConfig(memory=10)
    sides = SideContinuity(config)
    for _ in range(50):
        sides(person(0.2))
    kept = 0
    while same(sides(exchange(person(0.2), ARMS, LEGS, FACE)), person(0.2)):
        kept += 1
    assert kept == 10 and not sides.exchanged.any()


def test_a_jump_to_another_place_is_no_exchange() -> None:
    sides = SideContinuity()
    sides(person(0.2))
    for _ in range(12):
        moved = person(0.2, shift=180.0)
        assert same(sides(moved), moved)


def test_exchanged_labels_are_reset_with_the_person() -> None:
    sides = SideContinuity()
    sides(person(0.2))
    sides.reset()
    wrong = exchange(person(0.2), ARMS, LEGS, FACE)
    assert same(sides(wrong), wrong)


@pytest.mark.skipif(not BALANCING.is_dir(), reason=f"no recording {BALANCING}")
def test_the_balancing_man_keeps_his_sides() -> None:
    """The full network alone exchanges his arms in 26 of these 100 images."""
    with np.load(BALANCING / "reference.npz", allow_pickle=False) as stored:
        arms = stored["cam02_uv"][:, :6]  # shoulders, elbows, wrists, left before right
    tracker, wrong = open_tracker(), []
    for image, target in zip(read_frames(BALANCING / "cam02.mp4", "video"), arms, strict=True):
        found = tracker(image)
        assert found is not None
        points = found.points[11:17]
        exchanged = points[[1, 0, 3, 2, 5, 4]]
        wrong.append(np.linalg.norm(exchanged - target) < np.linalg.norm(points - target))
    assert sum(wrong) <= 2
