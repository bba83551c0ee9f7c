"""The tracker's policy on scripted people: arriving, crossing, leaving, coming back, too many."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from engines.blazepose.detector import Detection
from engines.blazepose.people import tracker as people
from engines.blazepose.people import views
from engines.blazepose.people.one_person import OnePersonTracker
from engines.blazepose.people.places import CONFIRM
from engines.blazepose.people.tracker import PeopleTracker
from engines.blazepose.tracker import PoseTracker
from engines.types import Landmarks, Roi
from tests.engines.blazepose.people.bodies import Stage

IMAGE = np.full((480, 480, 3), 90, np.uint8)


def play(
    stage: Stage, tracker: PeopleTracker, scenes: Iterable[list[tuple[float, float]]]
) -> list[dict[int, float]]:
    """Where each number was in each frame."""
    places = []
    for scene in scenes:
        stage.people = scene
        found = tracker(stage.drawn(IMAGE))
        places.append({p.track_id: float(p.landmarks.roi.center[0]) for p in found})
    return places


def opened(max_people: int = 4) -> tuple[Stage, PeopleTracker]:
    stage = Stage()
    return stage, PeopleTracker(stage.detect, stage.landmark_each, max_people)


def test_nobody() -> None:
    stage, tracker = opened()
    assert play(stage, tracker, [[]] * 5) == [{}] * 5
    assert tracker.known == frozenset()


def test_all_of_the_first_image_count_at_once() -> None:
    stage, tracker = opened()
    (places,) = play(stage, tracker, [[(80.0, 100.0), (240.0, 100.0), (400.0, 100.0)]])
    assert sorted(places.values()) == [80.0, 240.0, 400.0]
    assert set(places) == tracker.known == {1, 2, 3}


def test_who_joins_counts_after_some_frames_and_within_a_bounded_time() -> None:
    stage, tracker = opened()
    places = play(stage, tracker, [[(80.0, 100.0)]] * 5 + [[(80.0, 100.0), (380.0, 100.0)]] * 15)
    counts = [len(place) for place in places]
    first = counts.index(2)
    assert 5 + CONFIRM - 1 <= first <= 5 + views.LOOK_EVERY + CONFIRM
    assert counts[first:] == [2] * (20 - first)


def test_furniture_that_the_network_takes_for_a_body_is_nobody_until_it_moves() -> None:
    stage, tracker = opened()
    person, chair = (80.0, 100.0), (380.0, 100.0)
    stage.people = [person, chair]
    room = stage.drawn(IMAGE)
    for t in range(90):
        stage.people = [person] if t < 40 else [person, chair]
        assert {one.track_id for one in tracker(room)} == {1}
    moving = [[person, (380.0 - 4 * t, 100.0)] for t in range(20)]
    assert set(play(stage, tracker, moving)[-1]) == {1, 2}


def test_a_flash_is_nobody() -> None:
    stage, tracker = opened()
    alone, flash = [(80.0, 100.0)], [(80.0, 100.0), (380.0, 100.0)]
    places = play(stage, tracker, [alone] * 5 + ([flash] + [alone] * 7) * 4)
    assert {number for place in places for number in place} == {1}


def test_who_moves_is_found_though_the_detector_overlooks_them() -> None:
    stage, tracker = opened()
    stage.overlooked = {380.0}
    play(stage, tracker, [[(80.0, 100.0)]] * 5)
    stage.people = [(80.0, 100.0), (380.0, 100.0)]
    for t in range(10):
        image = IMAGE.copy()
        image[150:330, 350:410] += np.uint8(60 * (t % 2))
        found = tracker(image)
    assert {round(p.landmarks.roi.center[0]) for p in found} == {80, 380}


def test_who_stands_beside_somebody_is_found_when_that_one_is_covered() -> None:
    stage, tracker = opened()
    stage.people = [(120.0, 100.0)]
    image = IMAGE.copy()
    image[:, 60:180] = (20, 20, 200)
    first = tracker(image)[0].landmarks

    def detect(shown: np.ndarray, view: Roi | None) -> list[Detection]:
        beside_somebody = (shown == image).all()
        stage.overlooked = {240.0} if beside_somebody else {120.0}
        return stage.detect(shown, view)

    tracker._detector = detect
    stage.people = [(120.0, 100.0), (240.0, 100.0)]
    waited = 2 * views.LOOK_EVERY + CONFIRM
    found = [tracker(image) for _ in range(waited)][-1]
    assert [round(p.landmarks.roi.center[0]) for p in found] == [120, 240]
    assert np.array_equal(found[0].landmarks.points, first.points)


def test_who_joins_must_be_sure() -> None:
    stage, tracker = opened()
    play(stage, tracker, [[(80.0, 100.0)]])
    stage.score = people.SURE - 0.01
    places = play(stage, tracker, [[(80.0, 100.0), (380.0, 100.0)]] * 20)
    assert {number for place in places for number in place} == {1}


def test_the_detector_looks_again_at_a_bounded_cost() -> None:
    stage, tracker = opened()
    play(stage, tracker, [[(240.0, 100.0)]])
    first, runs = stage.looks, stage.runs
    play(stage, tracker, [[(240.0, 100.0)]] * 80)
    assert stage.looks - first <= 80 / views.LOOK_EVERY
    assert stage.runs - runs == 80  # the landmark network runs once for one person


def crossing(meet: Callable[[float, float], list[tuple[float, float]]]) -> list:
    scenes = []
    for t in range(41):
        a, b = 100.0 + 7 * t, 380.0 - 7 * t
        scenes.append(meet(a, b))
    return scenes


def test_two_who_cross_keep_their_numbers() -> None:
    def meet(a: float, b: float) -> list[tuple[float, float]]:
        """Who walks to the right is in front; the other is hidden while they overlap."""
        return [(a, 100.0)] if abs(a - b) < 40 else [(a, 100.0), (b, 100.0)]

    stage, tracker = opened()
    places = play(stage, tracker, crossing(meet))
    assert places[0] == {1: 100.0, 2: 380.0}
    assert places[-1] == pytest.approx({1: 380.0, 2: 100.0}, abs=15)
    assert set().union(*places) == {1, 2}
    assert min(len(place) for place in places) == 1  # one skeleton while one body is to be seen


def test_who_comes_back_soon_has_the_same_number_and_later_another() -> None:
    for gone, expected in ((30, {1}), (people.FORGET_AFTER + 5, {1, 2})):
        stage, tracker = opened()
        here = [[(240.0, 100.0)]]
        places = play(stage, tracker, here * 10 + [[]] * gone + here * 10)
        assert places[-1] and set().union(*places) == expected
        assert tracker.known == {max(expected)}


def test_who_comes_back_elsewhere_or_larger_is_another() -> None:
    for place in ((430.0, 60.0), (240.0, 240.0)):
        stage, tracker = opened()
        places = play(stage, tracker, [[(100.0, 100.0)]] * 10 + [[]] * 10 + [[place]] * 10)
        assert set(places[-1]) == {2}


def test_more_than_n_are_not_tracked_and_a_much_larger_one_takes_a_place() -> None:
    stage, tracker = opened(2)
    three = [(80.0, 60.0), (240.0, 70.0), (400.0, 65.0)]
    places = play(stage, tracker, [three] * 20)
    assert all(len(place) == 2 for place in places) and set().union(*places) == {1, 2}
    large = [(80.0, 60.0), (240.0, 70.0), (400.0, 180.0)]
    places = play(stage, tracker, [large] * 30)
    assert {round(x) for x in places[-1].values()} == {240, 400}
    assert len(set().union(*places) - {1, 2}) == 1


def test_small_people_in_the_background_are_not_tracked() -> None:
    stage, tracker = opened()
    places = play(stage, tracker, [[(240.0, 100.0), (60.0, 15.0), (400.0, 12.0)]] * 20)
    assert all(len(place) == 1 for place in places)


def test_numbers_are_never_given_twice_even_after_a_reset() -> None:
    stage, tracker = opened()
    play(stage, tracker, [[(100.0, 100.0), (300.0, 100.0)]] * 3)
    tracker.reset()
    assert tracker.known == frozenset()
    (places,) = play(stage, tracker, [[(100.0, 100.0), (300.0, 100.0)]])
    assert set(places) == {3, 4}


def test_one_person_at_most_is_the_tracker_of_one_person() -> None:
    stage = Stage()
    stage.people = [(200.0, 100.0), (380.0, 100.0)]

    def detect(image: np.ndarray) -> Roi | None:
        found = stage.detect(image, None)
        return found[0].roi if found else None

    both = (
        PoseTracker(detect, stage.landmark),
        OnePersonTracker(PoseTracker(detect, stage.landmark)),
    )
    for scene in [stage.people] * 5 + [[]] * 3 + [[(100.0, 100.0)]] * 3:
        stage.people = scene
        plain: Landmarks | None = both[0](IMAGE)
        found = both[1](IMAGE)
        assert len(found) == (plain is not None) == len(both[1].known)
        if plain is not None:
            assert found[0].track_id == both[0].track_id
            np.testing.assert_array_equal(found[0].landmarks.points, plain.points)
    both[1].reset()
    assert both[1].known == frozenset()


WIDE = np.full((600, 900, 3), 90, np.uint8)


def test_something_large_that_is_no_person_takes_nobody_s_place() -> None:
    stage, tracker = opened(2)
    adult, child, chair = (120.0, 110.0), (400.0, 50.0), (720.0, 130.0)
    numbers = set()
    for t in range(60):
        x = child[0] + 3 * min(t % 40, 40 - t % 40)
        stage.people = [adult, (x, child[1]), *([chair] if t == 48 else [])]
        numbers.add(tuple(sorted(p.track_id for p in tracker(stage.drawn(WIDE)))))
    assert numbers == {(1, 2)}


def test_somebody_large_who_comes_takes_the_place_of_the_smallest() -> None:
    stage, tracker = opened(2)
    adult, child = (120.0, 110.0), (400.0, 50.0)
    for t in range(60):
        stage.people = [adult, child] + ([(720.0, 130.0)] if t >= 20 else [])
        found = tracker(stage.drawn(WIDE))
    assert sorted(p.track_id for p in found) == [1, 3]


def test_who_was_forgotten_where_they_still_sit_is_found_again() -> None:
    """The background was learned with the sitter in it."""
    stage, tracker = opened()
    both = [(150.0, 110.0), (650.0, 110.0)]
    stage.people = both
    room = stage.drawn(WIDE)
    for t in range(220):
        stage.people = both[:1] if 60 <= t < 155 else both
        found = tracker(room.copy())
    assert sorted(p.track_id for p in found) == [1, 3]
