"""When the detector looks, and at what."""

import numpy as np
from jaxtyping import UInt8

from engines.blazepose.people.background import Background
from engines.blazepose.people.views import (
    LOOK_AT_CHANGE_EVERY,
    LOOK_EVERY,
    Look,
    Lookout,
    near,
    squares,
    views_of,
)
from tests.engines.blazepose.people.bodies import region, seen, tracked


def test_squares_cover_an_image_and_overlap() -> None:
    image = np.zeros((300, 1000, 3), np.uint8)
    covers = np.zeros(1000, int)
    for view in squares(image, 300.0):
        x = view.center[0]
        assert 150 <= x <= 850 and view.center[1] == 150
        covers[int(x) - 150 : int(x) + 150] += 1
    assert covers.min() >= 1 and (covers >= 2).sum() > 150
    assert len(views_of(np.zeros((400, 400, 3), np.uint8))) == 1
    assert views_of(image)[0].size == 1000 and near(region(5.0)).size > region(5.0).size


def test_the_detector_sees_the_image_plain_and_covered_in_turn() -> None:
    lookout, found = Lookout(Background()), [seen(60.0, track := tracked(60.0))]
    image = np.full((480, 480, 3), 90, np.uint8)
    looks = [lookout(image, [track], found) for _ in range(4 * LOOK_EVERY + 1)]
    views = [view for look in looks for view in look.views]
    assert [view.covered for view in views] == [False, False, True, False, True]


def looks(blocks: list[slice]) -> list:
    """Where is looked, everybody in sight, while a block of the image changes its brightness."""
    lookout, found = Lookout(Background()), [seen(60.0, track := tracked(60.0))]
    results = []
    for t in range(2 * LOOK_AT_CHANGE_EVERY):
        image = np.full((480, 640, 3), 90, np.uint8)
        image[tuple(blocks)] += np.uint8(60 * (t % 2))
        results.append(lookout(image, [track], found))
    return results


def test_what_moves_and_is_nobody_is_shown_to_both_networks() -> None:
    moving = looks([slice(100, 300), slice(400, 480)])
    shown = [look for look in moving if look.body is not None]
    assert len(shown) == 1  # bounded, and not in the first image, which is looked at as a whole
    body, square = shown[0].body, shown[0].views[-1].square
    np.testing.assert_allclose(body.center, (440, 200), atol=12)
    assert 200 < body.size < 300 and square.size >= body.size


def test_a_small_movement_or_that_of_a_camera_is_not_taken_for_a_body() -> None:
    for blocks in ([slice(100, 140), slice(400, 430)], [slice(None), slice(None)]):
        assert all(look.body is None for look in looks(blocks))


def looked(images: list[UInt8[np.ndarray, "h w 3"]]) -> list[Look]:
    """Where is looked in images of which the tracker knows one person."""
    background, found = Background(), [seen(60.0, track := tracked(60.0))]
    lookout, results = Lookout(background), []
    for image in images:
        results.append(lookout(image, [track], found))
        background.see(image, [found[0].landmarks])
    return results


def test_what_has_come_and_stands_still_is_shown_to_both_networks() -> None:
    before = np.full((480, 640, 3), 90, np.uint8)
    now = before.copy()
    now[100:300, 400:480] = 200
    later = looked([before] * 40 + [now] * (4 * LOOK_EVERY))[42:]
    shown = [look for look in later if look.body is not None]
    assert len(shown) >= 3
    for look in shown:
        assert look.body is not None
        np.testing.assert_allclose(look.body.center, (440, 200), atol=8)
        assert 200 < look.body.size < 300


def test_what_has_come_and_is_nobody_is_looked_at_less_and_less_often() -> None:
    before = np.full((480, 640, 3), 90, np.uint8)
    now = before.copy()
    now[100:300, 400:480] = 200
    shown = [look.body is not None for look in looked([before] * 100 + [now] * 50)[102:]]
    waits = np.diff(np.flatnonzero(shown))
    assert waits[0] <= 2 * LOOK_AT_CHANGE_EVERY < LOOK_EVERY < waits[-1]


def test_a_screen_that_always_moves_does_not_keep_the_detector_from_the_rest() -> None:
    images = []
    for t in range(6 * LOOK_EVERY):
        image = np.full((480, 480, 3), 90, np.uint8)
        image[100:200, 380:460] += np.uint8(60 * (t % 2))
        images.append(image)
    squares_seen = [view.square.size for look in looked(images)[1:] for view in look.views]
    assert squares_seen.count(480.0) >= 5  # the whole image
    assert len(squares_seen) - squares_seen.count(480.0) >= 5  # the screen
