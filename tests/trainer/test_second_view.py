"""Scoring a second view on a rig: evidence and reference come from different cameras."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.random_hypotheses import around
from tests.support.rigs import perfect_estimates, project, ring
from trainer import second_view
from trainer.datasets.recordings import Recording
from trainer.estimation.prediction import ViewEstimate
from trainer.multiview.rig import RigCamera
from trainer.second_view import SecondViewConfig, errors, score_instant

CONFIG = SecondViewConfig((), min_effective=5)


def uncertain_estimates(body: BodyModel, cameras: list[RigCamera]) -> list[ViewEstimate]:
    """True landmarks in every camera, and hypotheses that hardly know the distance."""
    bodies, joints_world = around(body, 200, seed=5)
    estimates = []
    for one, camera in zip(perfect_estimates(cameras, joints_world), cameras, strict=True):
        joints = camera.to_camera(bodies.joints)
        joints += np.random.default_rng(6).normal(0, 0.2, (200, 1, 1)) * joints[:1, :1] / 3
        hypotheses = replace(bodies, joints=joints)
        estimates.append(ViewEstimate(one.landmarks, hypotheses, np.zeros((24, 3, 3)), np.ones(24)))
    return estimates


def test_what_each_error_ignores() -> None:
    target = np.random.default_rng(1).normal(0, 0.3, (6, 3))
    moved = target + np.array([0.03, 0.0, 0.04])
    expected = {"absolute": 50, "relative": 0, "aligned": 0}
    assert errors(moved, target) == pytest.approx(expected, abs=1e-3)
    turned = 1.2 * moved @ Rotation.from_euler("x", 0.5).as_matrix()
    found = errors(turned, target)
    assert found["relative"] > 50 and found["aligned"] < 1e-3


def test_a_second_view_helps_on_a_perfect_rig(body: BodyModel) -> None:
    cameras = ring()
    rows = score_instant(uncertain_estimates(body, cameras), cameras, CONFIG)
    assert len(rows) == 12
    mean = {key: np.mean([row[key] for row in rows]) for key in rows[0]}
    assert mean["two views, mean: absolute"] < 0.7 * mean["one view, mean: absolute"]
    assert mean["two views, top: absolute"] < mean["one view, best estimate: absolute"]
    assert mean["best possible: absolute"] <= mean["two views, top: absolute"]
    assert min(row["effective"] for row in rows) > 4.99


def test_the_reference_does_not_use_the_two_cameras_in_question(body: BodyModel) -> None:
    """Where only two cameras see, only the pairs of the two others have a reference."""
    cameras = ring()
    estimates = uncertain_estimates(body, cameras)
    for one in estimates[:2]:
        one.landmarks.visibility[:] = 0.1
    rows = score_instant(estimates, cameras, CONFIG)
    assert len(rows) == 2  # (0, 1) and (1, 0), whose reference comes from cameras 2 and 3
    for one, camera in zip(estimates[:2], cameras[:2], strict=True):
        one.landmarks.points[:] = project(camera, np.array([[0.5, 0.5, 4.0]]))[0]
    again = score_instant(estimates, cameras, CONFIG)
    key = "one view, mean: absolute"
    assert again[0][key] == rows[0][key]


def test_two_cameras_leave_none_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Recording("walk", tuple(ring()[:3]), ((0, 0, 0),))
    monkeypatch.setattr("trainer.second_view.read_recordings", lambda _: [three])
    with pytest.raises(PenumbraError, match="walk has fewer than 4 cameras"):
        second_view.main(CONFIG)
