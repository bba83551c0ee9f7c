"""Whom single-person consumers follow."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import Person, Roi
from realtime.following import PATIENCE_S, Follower
from tests.support.example_estimate import make_estimate

SIZE = (640, 480)


def person(number: int, distance: float, x: float = 320.0, side: float = 200.0) -> Person:
    (one,) = make_estimate().people
    joints = np.tile([0.0, 0.0, distance], (24, 1))
    roi = Roi(np.array([x, 240.0]), side, 0.0)
    return replace(
        one,
        track_id=number,
        best=replace(one.best, joints=joints),
        landmarks=replace(one.landmarks, roi=roi),
    )


def first(follower: Follower, people: list[Person], t_s: float) -> int:
    order = follower(people, SIZE, t_s)
    assert sorted(order) == list(range(len(people)))
    rest = [people[i].track_id for i in order[1:]]
    assert rest == sorted(rest)
    return people[order[0]].track_id


@pytest.mark.parametrize(
    ("choice", "expected"), [("nearest", 3), ("largest", 1), ("centre", 2), ("1", 1)]
)
def test_each_criterion(choice: str, expected: int) -> None:
    people = [person(1, 4.0, 100.0, 300.0), person(2, 3.0, 310.0), person(3, 2.0, 500.0)]
    assert first(Follower(choice), people, 0.0) == expected


def test_nobody_has_no_order() -> None:
    assert Follower("nearest")([], SIZE, 0.0) == ()


def test_two_side_by_side_do_not_take_turns() -> None:
    follower = Follower("nearest")
    chosen = []
    for i in range(60):
        wobble = 0.1 * (-1) ** i
        chosen.append(first(follower, [person(1, 3.0 + wobble), person(2, 3.0 - wobble)], i / 30))
    assert set(chosen) == {2}


def test_somebody_clearly_nearer_is_followed_after_a_while() -> None:
    follower = Follower("nearest")
    assert first(follower, [person(1, 3.0), person(2, 4.0)], 0.0) == 1
    chosen = [first(follower, [person(1, 3.0), person(2, 1.0)], 0.1 * i) for i in range(1, 12)]
    assert chosen[: int(10 * PATIENCE_S)] == [1] * int(10 * PATIENCE_S)
    assert chosen[-1] == 2 and sorted(chosen) == chosen


def test_who_is_out_of_sight_is_waited_for() -> None:
    follower, both = Follower("nearest"), [person(1, 2.0), person(2, 3.0)]
    assert first(follower, both, 0.0) == 1
    assert first(follower, both[1:], 0.1) == 2  # a consumer of one person gets somebody
    assert first(follower, both, 0.2) == 1
    for i in range(10):
        first(follower, both[1:], 0.3 + 0.1 * i)
    later = [person(1, 2.9), person(2, 3.0)]
    assert first(follower, later, 1.4) == 2  # by now the other one is followed


def test_a_person_is_followed_from_another_thread_until_told_otherwise() -> None:
    follower, people = Follower("nearest"), [person(1, 1.0), person(2, 5.0)]
    assert first(follower, people, 0.0) == 1
    thread = threading.Thread(target=follower.follow, args=(2,))
    thread.start()
    thread.join()
    assert [first(follower, people, 0.1 * i) for i in range(20)] == [2] * 20
    assert first(follower, people[:1], 2.1) == 1  # while that one is out of sight
    assert first(follower, people, 2.2) == 2
    follower.follow(None)
    assert first(follower, people, 2.3) == 1


@pytest.mark.parametrize("choice", ["", "tallest", "-1", "1.5", "٣"])
def test_anything_else_is_refused(choice: str) -> None:
    with pytest.raises(PenumbraError, match=r"^person: .*give nearest"):
        Follower(choice)
