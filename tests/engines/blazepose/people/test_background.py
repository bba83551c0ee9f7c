"""Furniture that looks like a body is where it was; people have come."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from engines.blazepose.people.background import Background
from engines.blazepose.people.covering import body_mask
from engines.types import Landmarks
from tests.engines.blazepose.people.bodies import landmarks

SHAPE = (480, 640, 3)


@pytest.fixture
def room() -> UInt8[np.ndarray, "h w 3"]:
    return np.random.default_rng(0).integers(0, 200, SHAPE, np.uint8)


@pytest.fixture
def body() -> Landmarks:
    """Somebody who stands in the left half."""
    one = landmarks(0.0)
    points = one.points - one.points.min(0)
    return replace(one, points=points / np.ptp(points, axis=0).max() * 360 + 60)


def _seen(images: list[UInt8[np.ndarray, "h w 3"]]) -> Background:
    background = Background()
    for image in images:
        background.see(image, [])
    return background


def test_what_was_there_all_along_is_background(room: np.ndarray, body: Landmarks) -> None:
    noisy = np.clip(room + np.random.default_rng(1).normal(0, 4, SHAPE), 0, 255).astype(np.uint8)
    background = _seen([room] * 40)
    assert background.has(room, body, []) and background.has(noisy, body, [])


def test_who_has_come_is_not(room: np.ndarray, body: Landmarks) -> None:
    background = _seen([room] * 40)
    now = room.copy()
    now[60:420, 60:300] = 230
    assert not background.has(now, body, [])


def test_somebody_in_front_says_nothing_of_what_is_behind(
    room: np.ndarray, body: Landmarks
) -> None:
    """Only the lower half of the body's place has changed, and there somebody else stands."""
    background = _seen([room] * 40)
    other = replace(body, points=body.points + np.array([0.0, 200.0]))
    now = room.copy()
    now[300:, 40:320] = 230
    assert not background.has(now, body, [])
    assert background.has(now, body, [other])


def test_nothing_is_known_at_first_nor_after_another_size(
    room: np.ndarray, body: Landmarks
) -> None:
    assert not _seen([]).has(room, body, [])
    assert not _seen([room] * 20).has(room, body, [])
    assert not _seen([room[:, :320]] * 40).has(room, body, [])
    assert not _seen([room[:, :320]] * 40 + [room] * 10).has(room, body, [])


def test_who_stays_becomes_background_only_after_seconds(room: np.ndarray, body: Landmarks) -> None:
    now = room.copy()
    now[60:420, 60:300] = 230
    assert not _seen([room] * 60 + [now] * 30).has(now, body, [])
    assert _seen([room] * 60 + [now] * 90).has(now, body, [])


def test_what_is_remembered_later_counts_too(room: np.ndarray, body: Landmarks) -> None:
    now = room.copy()
    now[60:420, 60:300] = 230
    background = _seen([room] * 60)
    assert not background.has(now, body, [])
    for _ in range(90):
        background.see(now, [])
    assert background.has(now, body, [])


def test_behind_somebody_who_is_known_it_stays_as_it_was(room: np.ndarray, body: Landmarks) -> None:
    now = room.copy()
    now[60:420, 60:300] = 230
    background = _seen([room] * 60)
    for _ in range(200):
        background.see(now, [body])
    assert not background.has(now, body, [])
    assert background.has(room, body, [])


def test_what_has_come_is_found(room: np.ndarray) -> None:
    background = _seen([room] * 40)
    now = room.copy()
    now[100:400, 400:520] = 230
    square = background.newcomer(now, [])
    assert square is not None
    np.testing.assert_allclose(square.center, (460, 250), atol=10)
    assert square.size == pytest.approx(300, abs=15)


def test_nobody_has_come(room: np.ndarray, body: Landmarks) -> None:
    """An image as before, a person who is known, a wire, another light, the first images."""
    background = _seen([room] * 40)
    assert background.newcomer(room, []) is None
    now = room.copy()
    now[body_mask((640, 480), [body]) > 0] = 230
    assert background.newcomer(now, [body]) is None and background.newcomer(now, []) is not None
    wire = room.copy()
    wire[:, 300:306] = 250
    assert background.newcomer(wire, []) is None
    assert background.newcomer(255 - room, []) is None
    assert _seen([room] * 20).newcomer(now, []) is None
