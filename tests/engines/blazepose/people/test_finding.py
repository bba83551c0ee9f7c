"""What of the landmark network's answers is on a person near others."""

from collections.abc import Sequence

import numpy as np
import pytest

from engines.blazepose.people.covering import Cover
from engines.blazepose.people.finding import Finder
from engines.types import Landmarks, Roi
from tests.engines.blazepose.people.bodies import landmarks, region, seen, tracked


def finder(shown: dict[bool, float], score: float = 0.9) -> Finder:
    """The network finds somebody at one place in a plain image (about 9), elsewhere in others."""

    def find(image: np.ndarray, rois: Sequence[Roi]) -> list[tuple[Landmarks, Roi]]:
        x = shown[bool((np.abs(image.astype(int) - 9) <= 3).all())]
        return [(landmarks(x, score=score), region(x)) for _ in rois]

    return Finder(find, 0.5, lambda track: False)


def test_of_two_who_overlap_what_jumps_less_is_on_the_person() -> None:
    image = np.full((480, 640, 3), 9, np.uint8)
    track = tracked(300.0)
    for right, plain in ((303.0, 325.0), (285.0, 309.0)):
        find = finder({True: plain, False: right})
        cover = Cover(image, [landmarks(340.0)])
        own = find.own(track, region(300.0), seen(plain, track), cover, 0.7)
        assert own is not None
        nearer = min(right, plain, key=lambda x: abs(x - 300.0))
        assert own.landmarks.points[0, 0] == pytest.approx(nearer)
    unsure = finder({True: 325.0, False: 303.0}, score=0.6)
    own = unsure.own(track, region(300.0), seen(325.0, track), cover, 0.7)
    assert own is not None and own.landmarks.points[0, 0] == pytest.approx(325.0)


def test_what_hardly_jumps_is_not_asked_about_again() -> None:
    track, image = tracked(300.0), np.full((480, 640, 3), 9, np.uint8)
    find = finder({})  # fails if it is asked
    plain = seen(305.0, track)
    cover = Cover(image, [landmarks(340.0)])
    assert find.own(track, region(300.0), plain, cover, 0.7) is plain


def test_newcomers_are_looked_for_without_noise() -> None:
    image = np.full((480, 640, 3), 9, np.uint8)
    find = finder({True: 500.0, False: 300.0})  # filled in, this image is as plain as before
    one = find.newcomer(Cover(image, [landmarks(100.0)]), region(500.0), 0.7)
    assert one is not None and one.landmarks.points[0, 0] == 500.0
    assert find.newcomer(Cover(image, []), region(500.0), 0.95) is None


def test_the_network_is_not_asked_about_a_cover_over_nobody() -> None:
    track, image = tracked(300.0), np.full((480, 640, 3), 9, np.uint8)
    find = finder({})  # fails if it is asked
    plain = seen(302.0, track)
    assert find.own(track, region(300.0), plain, Cover(image, []), 0.7) is plain


def test_behind_others_nobody_is_found_on_them() -> None:
    image = np.full((480, 640, 3), 9, np.uint8)
    track = tracked(300.0)
    track.miss()
    front = landmarks(340.0)
    on_front, beside = finder({False: 345.0}), finder({False: 305.0})
    assert on_front.behind(track, Cover(image, [front]), 0.7) is None
    found = beside.behind(track, Cover(image, [front]), 0.7)
    assert found is not None and (found.landmarks.visibility < 0.5).any()
