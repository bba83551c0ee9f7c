"""Scores on real footage: what was heard comes back, and a perfect estimate scores zero."""

from pathlib import Path

import numpy as np

from calib.camera import Intrinsics
from engines.types import Hypotheses, Landmarks, Roi
from trainer.heard import load, store
from trainer.real_score import Picture, score_one, summary

RNG = np.random.default_rng(0)


def _landmarks() -> Landmarks:
    roi = Roi(np.array([300.0, 200.0]), 400.0, 0.1)
    points = RNG.uniform(0, 480, (33, 2))
    return Landmarks(
        points, np.zeros(33), np.full(33, 0.9), np.full(33, 0.9), RNG.normal(size=(33, 3)), 0.9, roi
    )


def test_what_was_heard_comes_back(tmp_path: Path) -> None:
    one = _landmarks()
    store([one, None], tmp_path / "heard.npz")
    back, nobody = load(tmp_path / "heard.npz")
    assert nobody is None and back is not None
    np.testing.assert_allclose(back.points, one.points, rtol=1e-6)
    np.testing.assert_allclose(back.world, one.world, rtol=1e-6)
    assert abs(back.roi.rotation - 0.1) < 1e-6


def _hypotheses(joints: np.ndarray) -> Hypotheses:
    count = len(joints)
    zeros = (
        np.zeros((count, 24, 3), np.float32),
        np.zeros((count, 10), np.float32),
        np.zeros((count, 3), np.float32),
    )
    weights = np.full(count, 1 / count, np.float32)
    return Hypotheses(*zeros, joints.astype(np.float32), np.zeros(count, np.float32), weights)


def test_the_truth_scores_zero_and_lies_inside() -> None:
    truth = RNG.normal(size=(24, 3)) * 0.4 + [0, 0, 3.0]
    drawn = truth + 0.05 * RNG.normal(size=(60, 24, 3))
    drawn[0] = truth
    joints = np.array([16, 17, 18, 19, 1, 2, 4, 5])
    picture = Picture(
        _landmarks(), Intrinsics(500, 500, 320, 240, (640, 480), (), "test"), joints, truth[joints]
    )
    row = score_one(picture, _hypotheses(drawn))
    assert row.best_estimate < 1e-2 and row.best_hypothesis <= row.best_estimate + 1e-9
    assert row.inside.all() and row.error.max() < 1e-2


def test_summary_counts_pictures() -> None:
    truth = RNG.normal(size=(24, 3)) * 0.4 + [0, 0, 3.0]
    joints = np.arange(12)
    picture = Picture(
        _landmarks(), Intrinsics(500, 500, 320, 240, (640, 480), (), "test"), joints, truth[joints]
    )
    rows = [
        score_one(picture, _hypotheses(truth + 0.05 * RNG.normal(size=(20, 24, 3))))
        for _ in range(12)
    ]
    said = summary(rows)
    assert said["pictures"] == 12 and said["of100"] <= said["best"] and 0 <= said["in90"] <= 100
