"""Clocks: Unix time from monotonic time, the cost of stages, frames a second."""

import time

import pytest

from realtime.timing import ClockPair, FrameRate, StageTimer, UnixClock


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
    assert timer.summary() == "ms per frame, median/95 %: flow 50.5/95.0"
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


class SetClock:
    """A Unix clock that is set by hand, and interrupted readings of both clocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mono_ns, self.offset_ns, self.pause_ns = 10**12, 10**18, 0
        monkeypatch.setattr(time, "monotonic_ns", self._monotonic_ns)
        monkeypatch.setattr(time, "time_ns", lambda: self.mono_ns + self.offset_ns)

    def _monotonic_ns(self) -> int:
        pause_ns, self.pause_ns = self.pause_ns, 0
        self.mono_ns += 1000 + pause_ns
        return self.mono_ns


@pytest.mark.parametrize("step_ns", [3600 * 10**9, -(10**9), 2_000_000])
def test_a_step_of_the_unix_clock_gives_a_new_pair_and_is_reported(monkeypatch, step_ns):
    clocks = SetClock(monkeypatch)
    clock = UnixClock()
    first = clock.pair()
    assert clock.pair() is first and clock.step_ns == 0
    clocks.offset_ns += step_ns
    assert clock.pair().offset_ns - first.offset_ns == pytest.approx(step_ns, abs=2000)
    assert clock.step_ns == pytest.approx(step_ns, abs=2000)
    assert clock.pair().unix_ns(clocks.mono_ns) == pytest.approx(time.time_ns(), abs=5000)


def test_slow_drift_is_followed_within_a_millisecond(monkeypatch):
    clocks = SetClock(monkeypatch)
    clock = UnixClock()
    for _ in range(1000):  # 500 ppm, as NTP slews, at 30 frames a second
        clocks.mono_ns += 33_000_000
        clocks.offset_ns += 16_500
        error_ns = clock.pair().offset_ns - clocks.offset_ns
        assert abs(error_ns) <= UnixClock.TOLERANCE_NS + 5000
    assert clock.step_ns == pytest.approx(16_500_000, abs=UnixClock.TOLERANCE_NS + 5000)


def test_a_reading_that_was_interrupted_is_no_step(monkeypatch):
    clocks = SetClock(monkeypatch)
    clock = UnixClock()
    clocks.pause_ns = 500_000_000
    assert clock.pair() is clock.pair()
    assert clock.step_ns == 0
