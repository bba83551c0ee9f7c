"""The one-euro filter on bodies: calm at rest, prompt in motion, and blind to the frame rate."""

import numpy as np
import pytest

from engines.body import BodyModel, joints_only
from engines.rotations import exp_so3, geodesic_angle
from engines.types import Body
from realtime.smoothing import Smoother, SmoothingConfig


@pytest.fixture
def smoother(body: BodyModel) -> Smoother:
    return Smoother(body)


def a_body(
    body: BodyModel, elbow: float = 0.0, x: float = 0.0, root: float = 0.0, beta: float = 0.0
) -> Body:
    """A body with one bent elbow."""
    rotvec = np.zeros((24, 3))
    rotvec[0] = root, 0, 0
    rotvec[18] = 0, elbow, 0
    transl, betas = np.array([x, 0.0, 3.0]), np.full(10, beta)
    return Body(
        rotvec[0], rotvec[1:].ravel(), betas, transl, joints_only(body, rotvec, betas, transl)
    )


def elbow(b: Body) -> float:
    return float(b.body_pose.reshape(23, 3)[17, 1])


def test_a_body_at_rest_stays(smoother: Smoother, body: BodyModel) -> None:
    still = a_body(body, 0.7, 0.2, 1.0, 0.5)
    for i in range(10):
        out = smoother(still, i / 30)
        np.testing.assert_allclose(out.joints, still.joints, atol=1e-5)
        np.testing.assert_allclose(out.body_pose, still.body_pose, atol=1e-6)


def test_a_step_is_reached(smoother: Smoother, body: BodyModel) -> None:
    smoother(a_body(body), 0.0)
    goal = a_body(body, 1.0, 0.5, 0.4, 1.0)
    outs = [smoother(goal, i / 30) for i in range(1, 600)]
    errors = np.array([np.linalg.norm(out.joints - goal.joints, axis=-1).mean() for out in outs])
    assert (np.diff(errors) < 1e-6).all()
    assert elbow(outs[30]) == pytest.approx(1.0, abs=0.02)  # pose and place within a second
    assert outs[30].transl[0] == pytest.approx(0.5, abs=0.02)
    assert outs[-1].betas == pytest.approx(1.0, abs=0.01)  # the shape takes its time
    assert outs[30].betas[0] < 0.4


def test_joints_belong_to_the_filtered_parameters(smoother: Smoother, body: BodyModel) -> None:
    smoother(a_body(body), 0.0)
    out = smoother(a_body(body, 1.0, 0.5, 0.4, 1.0), 0.03)
    rotvec = np.concatenate([out.global_orient[None], out.body_pose.reshape(23, 3)])
    np.testing.assert_allclose(
        out.joints, joints_only(body, rotvec, out.betas, out.transl), atol=1e-6
    )


def motion(t: float) -> tuple[float, float]:
    """Elbow angle and x: half a swing a second."""
    return 0.6 * np.sin(np.pi * t), 0.3 * np.sin(np.pi * t)


def run(body: BodyModel, fps: float, seconds: float = 3.0) -> np.ndarray:
    smoother = Smoother(body)
    times = np.arange(round(seconds * fps) + 1) / fps
    outs = [smoother(a_body(body, *motion(t)), t) for t in times]
    return np.array([(elbow(out), out.transl[0]) for out in outs])


def test_the_frame_rate_hardly_matters(body: BodyModel) -> None:
    slow, fast = run(body, 15), run(body, 60)[::4]
    # 7 % of the amplitude: half a frame of 15 fps at the swing's top speed is 10 %.
    assert np.abs(slow - fast)[15:].max() / 0.6 < 0.07
    faster = run(body, 120)[::2]
    assert np.abs(faster - run(body, 60)).max() / 0.6 < 0.03


def test_a_dropped_frame_changes_little(body: BodyModel) -> None:
    every, some = Smoother(body), Smoother(body)
    rng = np.random.default_rng(0)
    for i in range(90):
        full = every(a_body(body, *motion(i / 30)), i / 30)
        if rng.random() < 0.7 or i in (0, 89):
            gappy = some(a_body(body, *motion(i / 30)), i / 30)
    assert elbow(gappy) == pytest.approx(elbow(full), abs=0.04)


def test_fast_motion_lags_little(body: BodyModel, smoother: Smoother) -> None:
    # An arm that swings at 4 rad/s; the cut-off is then above 6 Hz, so the lag is below 1/(2 pi 6)
    # s plus a frame.
    speed, fps = 4.0, 30.0
    for i in range(20):
        out = smoother(a_body(body, speed * i / fps), i / fps)
    lag = (speed * 19 / fps - elbow(out)) / speed
    assert 0 <= lag < 0.045


def test_jitter_at_rest_shrinks(body: BodyModel, smoother: Smoother) -> None:
    rng = np.random.default_rng(1)
    noise = 0.02 * rng.standard_normal((300, 2))
    outs = [smoother(a_body(body, *row), i / 30) for i, row in enumerate(noise)]
    filtered = np.array([(elbow(out), out.transl[0]) for out in outs])
    assert (filtered[30:].std(0) < 0.6 * noise[30:].std(0)).all()
    assert (np.diff(filtered[30:], axis=0).std(0) < 0.4 * np.diff(noise[30:], axis=0).std(0)).all()


def test_a_gap_or_a_reset_or_time_running_back_starts_afresh(body: BodyModel) -> None:
    goal = a_body(body, 1.0, 0.5)
    for t in (1.51, 0.9):
        smoother = Smoother(body)
        smoother(a_body(body), 1.0)
        assert smoother(goal, t) is goal
    smoother = Smoother(body)
    smoother(a_body(body), 1.0)
    assert smoother(goal, 1.49) is not goal
    smoother.reset()
    assert smoother(goal, 1.5) is goal


def test_orientation_near_half_a_turn_takes_the_short_way(
    body: BodyModel, smoother: Smoother
) -> None:
    # A person who faces the camera is turned by pi; the rotation vector jumps between +pi and -pi
    # there.
    for i in range(60):
        angle = np.pi + 0.05 * np.sin(i)
        raw = a_body(body, root=(angle + np.pi) % (2 * np.pi) - np.pi)
        out = smoother(raw, i / 30)
        middle = exp_so3(np.array([np.pi, 0, 0]))
        assert geodesic_angle(exp_so3(out.global_orient), middle) < 0.06
        assert np.isfinite(out.joints).all()


def test_two_frames_of_the_same_instant_are_survived(body: BodyModel, smoother: Smoother) -> None:
    smoother(a_body(body), 1.0)
    out = smoother(a_body(body, 1.0), 1.0)
    assert np.isfinite(out.joints).all() and elbow(out) < 0.1


def test_disabled_returns_the_input(body: BodyModel) -> None:
    smoother = Smoother(body, SmoothingConfig(enabled=False))
    for i in range(3):
        raw = a_body(body, float(i))
        assert smoother(raw, i / 30) is raw
