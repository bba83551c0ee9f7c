"""The objective `humor` of `trainer.fit`: who is fitted together, and what comes out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.flow.statistics import joint_moments
from engines.types import LIMB_LANDMARKS, FrameInfo, Landmarks, Roi
from tests.support.random_hypotheses import FACING
from tests.support.rigs import perfect_estimates, ring
from trainer.estimation.motion_objective import (
    WIDENING,
    Moment,
    MotionFitter,
    check_rate,
    fit_track,
    is_motion,
)
from trainer.estimation.prediction import ViewEstimate
from trainer.fit import Found, runs_of

CAMERA = Intrinsics(900.0, 900.0, 480.0, 360.0, (960, 720), source="given")
LIMBS = list(LIMB_LANDMARKS.values())
FRAMES = 5


def waving(body: BodyModel, frame: int) -> tuple[Landmarks, np.ndarray]:
    """Somebody before the camera who lowers an arm, and their joints."""
    from engines.rotations import log_so3

    rotvec = np.zeros((24, 3), np.float32)
    rotvec[0] = log_so3(FACING)
    rotvec[16, 2] = -0.9 - 0.03 * frame
    rotvec[17, 2] = 1.0
    posed = body.shaped(np.zeros(10, np.float32)).posed(rotvec, np.array([0.0, 0.1, 3.5]))
    points = np.full((33, 2), 480.0)
    points[list(LIMB_LANDMARKS)] = CAMERA.project(posed.joints[LIMBS])
    ones = np.ones(33)
    roi = Roi(np.array([480.0, 360.0]), 600.0, 0.0)
    found = Landmarks(points, 0 * ones, ones, ones, np.zeros((33, 3)), 1.0, roi)
    return found, posed.joints.astype(float)


def test_a_motion_is_fitted_and_keeps_the_spread(body: BodyModel) -> None:
    fit = MotionFitter(body, FlowModel.load(), 9)
    people = [waving(body, frame) for frame in range(FRAMES)]
    moments: list[Moment] = [
        (frame / 30.0, landmarks, CAMERA, None) for frame, (landmarks, _) in enumerate(people)
    ]
    alone, together = fit(moments[:2]), fit(moments)
    assert len(alone) == 2 and len(together) == FRAMES
    for estimate, (_, joints) in zip(together, people, strict=True):
        found = CAMERA.project(estimate.joints[LIMBS])
        assert np.abs(found - CAMERA.project(joints[LIMBS])).mean() < 12.0  # px of 500
        assert estimate.hypotheses.rotvec.shape == (9, 24, 3)
        assert (np.linalg.eigvalsh(estimate.cov) > 0).all() and 0.02 < estimate.distance_std < 2
    turns = np.stack([estimate.joints - estimate.joints[0] for estimate in together])
    assert np.linalg.norm(np.diff(turns, 2, axis=0), axis=-1).mean() < 0.005  # hardly shakes


def test_covariances_are_those_of_the_motion(body: BodyModel) -> None:
    """Hypotheses have them, up to what moving whole bodies leaves; more frames know more."""
    model = FlowModel.load()
    people = [waving(body, frame) for frame in range(12)]
    moments: list[Moment] = [
        (frame / 30.0, landmarks, CAMERA, None) for frame, (landmarks, _) in enumerate(people)
    ]
    fit = MotionFitter(body, model, 60)
    raw = MotionFitter(body, model, 60, calibrate=False)
    short, long, unwidened = fit(moments[:3]), fit(moments), raw(moments)
    mean_std = [np.sqrt(np.trace(one[1].cov.sum(0)) / 72) for one in (short, long)]
    assert mean_std[1] < 0.95 * mean_std[0]
    for a, b in zip(unwidened, long, strict=True):
        floor = 0.004**2 * np.eye(3)
        np.testing.assert_allclose(b.cov, WIDENING**2 * (a.cov + floor), rtol=1e-6, atol=1e-12)
        assert b.distance_std == pytest.approx(WIDENING * a.distance_std)
        spread = joint_moments(b.hypotheses).cov
        limbs = [np.trace(cov[LIMBS].sum(0)) for cov in (spread, b.cov)]
        assert np.sqrt(limbs[0] / limbs[1]) == pytest.approx(1.0, abs=0.35)
    assert raw.calibration is None and fit.calibration is not None


def test_a_faster_video_is_several_motions_and_gaps_part_them() -> None:
    """At 60 frames a second every second frame is a motion; who is missing ends one."""
    body = np.random.default_rng(1).normal((0, 0, 3), 0.3, (24, 3))
    (one,) = perfect_estimates(ring(1), body)
    asked: list[list[int]] = []

    def fit(moments: Sequence[Moment]) -> list[ViewEstimate]:
        asked.append([round(60 * time) for time, *_ in moments])
        return [replace(one, distance_std=60 * time) for time, *_ in moments]

    found: list[Landmarks | None] = [one.landmarks] * 9
    found[4] = None
    estimates = fit_track(fit, found, CAMERA, 60.0)
    assert asked == [[0, 2], [6, 8], [1, 3, 5, 7]]
    assert [None if e is None else round(e.distance_std) for e in estimates] == [
        *(0, 1, 2, 3, None, 5, 6, 7, 8)
    ]
    assert [is_motion(rate) for rate in (6.0, 25.0, 30.0, 50.0, 60.0, 120.0)] == [
        *(False, False, True, False, True, True)
    ]


def test_motion_at_another_rate_is_refused() -> None:
    check_rate(np.arange(5) / 30.0)
    check_rate(np.arange(2) / 10.0)  # no motion
    with pytest.raises(PenumbraError, match="60 frames a second"):
        check_rate(np.arange(5) / 60.0)


def test_successive_frames_of_one_person_are_fitted_together(body: BodyModel) -> None:
    landmarks, _ = waving(body, 0)
    frames = [FrameInfo(i, 0, i / 30.0, shot=int(i > 7)) for i in (1, 2, 4, 7, 8)]
    found = [Found(info, ((3, landmarks), (5, landmarks)), CAMERA) for info in frames]
    seen = [(one, track, landmarks) for one in found for track, _ in one.people]
    assert runs_of(seen) == [[0, 2], [1, 3], [4], [5], [6], [7], [8], [9]]
