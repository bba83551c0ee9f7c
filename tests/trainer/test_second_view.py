"""Scoring a second view on a rig: evidence and reference come from different cameras, and a perfect
rig shows the gain.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from tests.support.random_hypotheses import around
from tests.trainer.test_footage import looks, project, ring
from trainer.footage import Look, View
from trainer.second_view import SecondViewConfig, between, errors, score_instant

CONFIG = SecondViewConfig((), min_effective=5)


def drawn(body: BodyModel, views: list[View]) -> list[Look]:
    """True landmarks in every view, and in each camera's frame hypotheses that hardly know the
    distance.
    """
    bodies, truth = around(body, 200, seed=5)
    found = []
    for one, view in zip(looks(views, truth), views, strict=True):
        joints = bodies.joints @ view.R.T + view.t
        joints += np.random.default_rng(6).normal(0, 0.2, (200, 1, 1)) * joints[:1, :1] / 3
        found.append(
            Look(one.landmarks, replace(bodies, joints=joints), np.zeros((24, 3, 3)), np.ones(24))
        )
    return found


def test_between_two_cameras() -> None:
    first, second = ring()[1], ring()[3]
    world = np.random.default_rng(0).normal((0, 0, 3), 0.3, (5, 3))
    T = between(first, second)
    in_second = (world @ first.R.T + first.t) @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(in_second, world @ second.R.T + second.t, atol=1e-12)


def test_what_each_error_forgives() -> None:
    truth = np.random.default_rng(1).normal(0, 0.3, (6, 3))
    moved = truth + np.array([0.03, 0.0, 0.04])
    assert errors(moved, truth) == pytest.approx(
        {"absolute": 50, "relative": 0, "aligned": 0}, abs=1e-3
    )
    turned = 1.2 * moved @ Rotation.from_euler("x", 0.5).as_matrix()
    found = errors(turned, truth)
    assert found["relative"] > 50 and found["aligned"] < 1e-3


def test_a_second_view_helps_on_a_perfect_rig(body: BodyModel) -> None:
    views = ring()
    rows = score_instant(drawn(body, views), views, CONFIG)
    assert len(rows) == 12
    mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
    assert mean["two views, mean: absolute"] < 0.7 * mean["one view, mean: absolute"]
    assert mean["two views, top: absolute"] < mean["one view, centre: absolute"]
    assert mean["best possible: absolute"] <= mean["two views, top: absolute"]
    assert min(row["effective"] for row in rows) > 4.99


def test_the_reference_does_not_use_the_two_cameras_in_question(body: BodyModel) -> None:
    """Where only two cameras see, only the pairs of the two others have a reference."""
    views = ring()
    seen = drawn(body, views)
    for one in seen[:2]:
        one.landmarks.visibility[:] = 0.1
    rows = score_instant(seen, views, CONFIG)
    assert len(rows) == 2  # (0, 1) and (1, 0), judged by cameras 2 and 3
    for one, view in zip(seen[:2], views[:2], strict=True):
        wrong = project(view, np.array([[0.5, 0.5, 4.0]]))[0]
        one.landmarks.points[:] = wrong
    again = score_instant(seen, views, CONFIG)
    assert again[0]["one view, mean: absolute"] == rows[0]["one view, mean: absolute"]
