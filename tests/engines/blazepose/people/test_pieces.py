"""Matching, merging, splitting, views, colours: each function on its own."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from engines.blazepose.people.appearance import colours_of, difference, followed
from engines.blazepose.people.continuity import UNMATCHED, cost, has_slipped, jump
from engines.blazepose.people.duplicates import merged
from engines.blazepose.people.matching import FORBIDDEN, assign
from engines.blazepose.people.motion import MotionFinder
from engines.blazepose.people.similarity import oks, overlap, same_region, share_on
from engines.blazepose.people.stretching import is_stretched, split
from engines.blazepose.people.track import Candidate, Track
from engines.types import MIRRORED_LANDMARKS, Landmarks, Roi
from tests.engines.blazepose.people.bodies import NO_COLOURS, landmarks, region, seen, tracked

RED = np.array([[50.0, 60.0, 40.0]] * 3)
BLUE = np.array([[50.0, 20.0, -60.0]] * 3)


# Similarity


def test_oks_is_one_for_the_same_and_falls_with_the_distance() -> None:
    values = [oks(landmarks(0.0), landmarks(x)) for x in (0.0, 3.0, 10.0, 30.0, 100.0)]
    assert values[0] == pytest.approx(1.0)
    assert all(a > b for a, b in itertools.pairwise(values)) and values[-1] < 0.05


def test_oks_does_not_depend_on_the_names_of_the_sides() -> None:
    one = landmarks(0.0)
    other = replace(one, points=one.points[list(MIRRORED_LANDMARKS)])
    assert oks(one, other) == pytest.approx(1.0)


def test_bodies_overlap_that_are_two() -> None:
    one = landmarks(0.0)
    assert overlap(one, landmarks(20.0)) and not overlap(one, landmarks(60.0))
    assert not overlap(one, landmarks(1.0))  # the same body, seen twice


def test_an_upside_down_skeleton_is_on_the_body_that_it_does_not_agree_with() -> None:
    one = landmarks(0.0)
    upside_down = replace(one, points=(one.points - (0, 240)) * (1, -0.6) + (0, 220))
    assert oks(one, upside_down) < 0.5
    assert share_on(upside_down, one) > 0.6
    assert share_on(landmarks(80.0), one) < 0.2


def test_regions_of_one_body_and_of_two() -> None:
    assert same_region(region(0.0), region(10.0))
    assert not same_region(region(0.0), region(60.0))
    assert not same_region(region(0.0), region(0.0, scale=200.0))


# Matching


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_cheapest_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.uniform(0, 3, rng.integers(1, 5, 2))
    costs[rng.random(costs.shape) < 0.2] = FORBIDDEN
    pairs = assign(costs, 2.0)
    rows, columns = costs.shape

    def price(chosen: list[tuple[int, int]]) -> float:
        return sum(float(costs[p]) for p in chosen) + 2.0 * (rows - len(chosen))

    everything = (
        list(zip(r, c, strict=True))
        for n in range(min(rows, columns) + 1)
        for r in itertools.combinations(range(rows), n)
        for c in itertools.permutations(range(columns), n)
    )
    assert price(pairs) == pytest.approx(min(price(chosen) for chosen in everything))
    assert len({c for _, c in pairs}) == len(pairs) == len({r for r, _ in pairs})


def test_nobody_is_matched_at_a_price_above_the_limit() -> None:
    assert assign(np.array([[5.0]]), 4.0) == []
    assert assign(np.zeros((0, 3)), 4.0) == [] and assign(np.zeros((3, 0)), 4.0) == []


# Continuity


def test_the_motion_goes_on_out_of_sight_and_prefers_who_walks_on() -> None:
    track = tracked(100.0)
    for x in range(110, 200, 10):
        track.see(seen(float(x), track), alone=True)
    assert track.velocity == pytest.approx([10.0, 0.0])
    for _ in range(6):
        track.miss()
    assert track.expected.center[0] == pytest.approx(260.0, abs=1.0)
    assert cost(track, seen(260.0)) < 1.0 < UNMATCHED < cost(track, seen(60.0))


def test_other_colours_cost_and_say_that_landmarks_have_slipped() -> None:
    track = replace_colours(tracked(100.0), RED)
    own, other = (replace(seen(101.0), colours=colours) for colours in (RED, BLUE))
    assert cost(track, own) + 2.0 < cost(track, other)
    assert has_slipped(track, other) and not has_slipped(track, own)
    assert not has_slipped(track, seen(101.0))  # nothing is known of the colours


def replace_colours(track: Track, colours: np.ndarray) -> Track:
    track.colours = colours
    return track


def test_landmarks_jump_by_how_far_they_are_from_where_they_should_be() -> None:
    track = tracked(200.0)
    for t in range(1, 4):
        track.see(seen(200.0 + 5 * t, track), alone=True)
    assert jump(track, landmarks(220.0)) == pytest.approx(0.0, abs=1e-9)
    assert jump(track, landmarks(228.0)) == pytest.approx(8.0 / 250.0)
    assert jump(track, landmarks(900.0)) == jump(track, landmarks(9000.0))


# Merging


def test_two_sets_of_landmarks_on_one_body_are_merged() -> None:
    mine, other = tracked(100.0, 1), tracked(160.0, 2)
    found = [seen(102.0, other), seen(101.0, mine)]
    (kept,) = merged(found)
    assert kept.track is mine  # the other one has jumped there
    assert len(merged([seen(101.0, mine), seen(200.0, other)])) == 2


def test_a_detection_on_a_tracked_body_is_none() -> None:
    mine = tracked(100.0)
    new = seen(103.0, score=1.0)
    assert merged([new, seen(100.0, mine)])[0].track is mine
    assert len(merged([new, seen(100.0, mine)])) == 1


def lying(x: float, visible: float) -> Landmarks:
    """What the network says of a standing person in a region that was turned by a quarter."""
    one = landmarks(x, visible=visible)
    middle = one.points.mean(0)
    points = (one.points - middle)[:, ::-1] * (0.2, 0.3) + middle
    roi = Roi(one.roi.center, 0.4 * one.roi.size, np.pi / 2)
    return replace(one, points=points, roi=roi)


def test_a_detection_corrects_a_track_that_is_turned_and_shows_less() -> None:
    mine = tracked(100.0)
    for visible, corrected in ((0.5, True), (0.95, False)):
        one = lying(100.0, visible)
        wrong = Candidate(one, one.roi, NO_COLOURS, mine)
        (kept,) = merged([wrong, seen(100.0)])
        assert kept.track is mine
        assert (kept.roi.rotation == 0.0) is corrected


# Splitting


def over_two(a: float, b: float) -> Landmarks:
    """A skeleton with its arms on one person and its legs on another."""
    upper, lower = landmarks(a), landmarks(b)
    points = upper.points.copy()
    points[23:] = lower.points[23:]
    return replace(upper, points=points)


def test_bones_that_are_suddenly_longer_are_noticed() -> None:
    before = [landmarks(100.0 + i) for i in range(5)]
    assert not is_stretched(landmarks(106.0), before)
    assert is_stretched(over_two(106.0, 190.0), before)
    assert not is_stretched(over_two(106.0, 190.0), [])


def test_a_skeleton_over_two_detected_bodies_makes_way_for_them() -> None:
    track = tracked(100.0)
    stretched = replace(seen(100.0, track), landmarks=over_two(100.0, 220.0))
    found = split([stretched, seen(100.0), seen(220.0)])
    assert [one.track for one in found] == [None, None]
    assert len(split([seen(100.0, track), seen(100.0), seen(220.0)])) == 3
    assert len(split([stretched, seen(100.0)])) == 2  # one detection alone says nothing


# Motion


def test_motion_is_found_where_nobody_is_known() -> None:
    finder, image = MotionFinder(), np.zeros((480, 640, 3), np.uint8)
    assert finder(image, []) is None
    image = image.copy()
    image[100:300, 450:550] = 200
    view = finder(image, [])
    assert view is not None and abs(view.center[0] - 500) < 20 and 180 < view.size < 240
    moved = np.zeros_like(image)
    assert finder(moved, [region(500.0, 200.0, 200.0)]) is None  # that person's own motion
    assert finder(np.zeros((100, 100, 3), np.uint8), []) is None  # another size


# Colours, covers


def test_colours_are_those_of_the_clothes_and_follow_slowly() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:] = (0, 0, 255)
    red, blue = colours_of(image, landmarks(300.0)), None
    image[:] = (255, 0, 0)
    blue = colours_of(image, landmarks(300.0))
    assert difference(red, red) == 0 and difference(red, blue) > 3
    mixed = followed(red, blue)
    assert 0 < difference(red, mixed) < difference(mixed, blue)
    unseen = colours_of(image, landmarks(300.0, visible=0.1))
    assert np.isnan(unseen).all() and np.isnan(difference(red, unseen))
    assert (followed(red, unseen) == red).all()
    hidden = colours_of(image, landmarks(300.0), np.ones((480, 640), np.uint8))
    assert np.isnan(hidden).all()


def test_who_is_out_of_sight_is_expected_to_walk_on_though_missed_in_between() -> None:
    track = tracked(200.0)
    for t in range(1, 9):
        if t == 4:
            track.miss()
        else:
            track.see(seen(200.0 + 5 * t, track), alone=True)
    np.testing.assert_allclose(track.velocity, (5, 0))
    assert track.expected.center[0] == pytest.approx(245.0)
    for _ in range(3):
        track.miss()
    assert track.expected.center[0] == pytest.approx(260.0)


@pytest.mark.parametrize(("frames", "kept"), [(5, True), (40, False)])
def test_left_and_right_are_remembered_for_a_while_out_of_sight(frames: int, kept: bool) -> None:
    track = tracked(200.0)
    first = landmarks(200.0)
    for _ in range(12):
        track.sides(first)
        track.see(seen(200.0, track), alone=True)
    for _ in range(frames):
        track.miss()
    track.see(seen(200.0, track), alone=True)
    order = list(MIRRORED_LANDMARKS)
    exchanged = replace(first, points=first.points[order])
    right_again = np.array_equal(track.sides(exchanged).points[11:], first.points[11:])
    assert right_again == kept


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_who_walks_on_unseen_is_expected_in_the_same_pose(hidden: int) -> None:
    track = tracked(100.0)
    for x in (112.0, 124.0, 136.0):
        track.see(seen(x), alone=True)
    for _ in range(hidden):
        track.miss()
    assert cost(track, seen(136.0 + 12.0 * (hidden + 1))) == pytest.approx(0.0, abs=1e-6)
