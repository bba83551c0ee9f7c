"""Clocks: Unix time from monotonic time, the cost of stages, frames a second."""

import time

import pytest

from realtime.timing import ClockPair, FrameRate, StageTimer


def test_unix_stamps_follow_the_monotonic_clock():
    clocks = ClockPair.read()
    now_ns = time.monotonic_ns()
    assert abs(clocks.unix_ns(now_ns) - time.time_ns()) < 1_000_000_000
    assert clocks.unix_ns(now_ns + 5) - clocks.unix_ns(now_ns) == 5


def test_stage_timer_gives_percentiles_of_the_last_frames():
    timer = StageTimer(capacity=100)
    assert timer.percentiles_ms() == {}
    for ms in [10_000] * 50 + list(range(1, 101)):  # the first fifty are overwritten
        timer.add("flow", ms * 1_000_000)
    p50, p95 = timer.percentiles_ms()["flow"]
    assert (p50, p95) == pytest.approx((50.5, 95.05))
    assert timer.summary() == "flow 50.5/95.0 ms (p50/p95)"
    with timer.stage("draw"):
        pass
    assert list(timer.percentiles_ms()) == ["flow", "draw"]
    with pytest.raises(ValueError), timer.stage("draw"):
        raise ValueError
    assert timer.stage("draw").count == 2


def test_frame_rate_over_the_last_second():
    rate = FrameRate()
    assert rate.fps == 0.0
    for i in range(100):
        rate.tick(i * 10_000_000)
    assert rate.fps == pytest.approx(100.0)
    for i in range(51):
        rate.tick(10_000_000_000 + i * 40_000_000)
    assert rate.fps == pytest.approx(25.0)
