"""Scores of tracks that are known to be right, or wrong in one way."""

import numpy as np

from engines.types import LIMB_LANDMARKS
from tests.engines.blazepose.people.bodies import landmarks
from trainer.evaluation.track_scores import score

T = 20
MARKS, JOINTS = list(LIMB_LANDMARKS), list(LIMB_LANDMARKS.values())


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Limb joints of two people who stand beside each other; no other joint is known."""
    joints, visible = np.full((T, 2, 24, 2), np.nan), np.zeros((T, 2, 24), bool)
    for who, x in enumerate((100.0, 300.0)):
        joints[:, who, JOINTS] = landmarks(x).points[MARKS]
        visible[:, who, JOINTS] = True
    return joints, visible


def mark(number: int, x: float) -> tuple[int, np.ndarray, np.ndarray]:
    return number, landmarks(x).points, np.ones(33)


def test_perfect_tracks() -> None:
    found = score([[mark(7, 100.0), mark(8, 300.0)]] * T, *scene())
    assert found.both_found == 1.0 and found.found == [1.0, 1.0] and found.switches == [0, 0]
    assert found.stretched == found.nobody == found.doubled == 0
    assert found.skeletons == [[0] * T, [1] * T]


def test_who_is_missing_or_changes_numbers_is_counted() -> None:
    tracked = [[mark(7, 100.0), mark(8, 300.0)]] * 10 + [[mark(9, 302.0)]] * 10
    found = score(tracked, *scene())
    assert found.found == [0.5, 1.0] and found.both_found == 0.5 and found.switches == [0, 1]
    assert found.skeletons[0] == [0] * 10 + [None] * 10


def test_who_cannot_be_seen_does_not_count() -> None:
    joints, visible = scene()
    visible[5:, 1] = False
    found = score([[mark(7, 100.0)]] * T, joints, visible)
    assert found.found == [1.0, 0.0] and found.both_found == 0.0
    visible[:, 1] = False
    assert np.isnan(score([[mark(7, 100.0)]] * T, joints, visible).both_found)


def test_a_skeleton_over_two_bodies_and_one_on_nobody() -> None:
    number, points, shown = mark(7, 100.0)
    half = points.copy()
    half[23:] = landmarks(300.0).points[23:]  # the legs are another's
    found = score([[(number, half, shown), mark(8, 700.0)]] * T, *scene())
    assert found.stretched == T and found.nobody == 2 * T


def test_a_skeleton_between_two_who_overlap_does_not_change_numbers() -> None:
    joints, visible = scene()
    joints[:, 1] = joints[:, 0] + (30.0, 0.0)
    tracked = [[mark(7, 100.0), mark(8, 130.0)]] * 8
    tracked += [[mark(8, 112.0)]] * 4  # a little nearer to the other one, who is occluded
    tracked += [[mark(7, 100.0), mark(8, 130.0)]] * 8
    assert score(tracked, joints, visible).switches == [0, 0]
    tracked[8:12] = [[mark(8, 100.0)]] * 4
    assert score(tracked, joints, visible).switches[0] == 2
    joints[:, 1] = joints[:, 0] + (12.0, 0.0)  # near enough to count for both
    tracked = [[mark(7, 100.0), mark(8, 112.0)]] * 8 + [[mark(8, 100.0), mark(7, 112.0)]] * 12
    assert score(tracked, joints, visible).switches == [1, 1]
