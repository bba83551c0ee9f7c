"""Clocks: Unix time of a monotonic instant, durations of stages, frames per second."""

import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

import numpy as np

NS_PER_MS = 1e6
NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class ClockPair:
    """The distance between the Unix and the monotonic clock at one instant."""

    offset_ns: int
    """Unix time minus monotonic time."""

    @staticmethod
    def read(attempts: int = 5) -> "ClockPair":
        """Read both clocks several times and keep the reading that took least time.

        Its error is half of that time.
        """
        readings = []
        for _ in range(attempts):
            before_ns = time.monotonic_ns()
            unix_ns = time.time_ns()
            after_ns = time.monotonic_ns()
            readings.append((after_ns - before_ns, unix_ns - (before_ns + after_ns) // 2))
        return ClockPair(min(readings)[1])

    def unix_ns(self, monotonic_ns: int) -> int:
        """Unix time of a `time.monotonic_ns()` instant."""
        return monotonic_ns + self.offset_ns


class UnixClock:
    """Unix time for instants of the monotonic clock, which alone decides what came before what.

    One pair of readings serves until the two clocks have drifted or been set apart by more than
    `TOLERANCE_NS`: NTP, a change by hand, a suspended machine. So the Unix times that are derived
    from one `pair` are always consistent, and `step_ns` says how far the clock was set meanwhile.
    """

    TOLERANCE_NS = 1_000_000

    def __init__(self) -> None:
        self._pair = ClockPair.read()
        self._first_ns = self._pair.offset_ns

    @property
    def step_ns(self) -> int:
        """How far the Unix clock was set, against the monotonic one, since this object was made."""
        return self._pair.offset_ns - self._first_ns

    def pair(self) -> ClockPair:
        """The pair to derive Unix times from now."""
        # A single reading can be off because the thread was interrupted in it, so it only raises
        # the suspicion; several readings decide.
        if self._has_drifted(ClockPair.read(attempts=1)) and self._has_drifted(
            pair := ClockPair.read()
        ):
            self._pair = pair
        return self._pair

    def _has_drifted(self, now: ClockPair) -> bool:
        return abs(now.offset_ns - self._pair.offset_ns) > self.TOLERANCE_NS


class _Stage:
    """One named stage: a context manager that is made once and reused.

    So timing costs two clock reads.
    """

    __slots__ = ("_count", "_ring_ns", "_start_ns")

    def __init__(self, capacity: int) -> None:
        self._ring_ns = np.zeros(capacity, np.int64)
        self._count = 0
        self._start_ns = 0

    def __enter__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.add(time.perf_counter_ns() - self._start_ns)

    def add(self, duration_ns: int) -> None:
        self._ring_ns[self._count % len(self._ring_ns)] = duration_ns
        self._count += 1

    def percentiles_ms(self) -> tuple[float, float]:
        kept = self._ring_ns[: min(self._count, len(self._ring_ns))]
        p50, p95 = np.percentile(kept, (50, 95)) / NS_PER_MS
        return float(p50), float(p95)

    @property
    def count(self) -> int:
        return self._count


class StageTimer:
    """Durations of named stages over the last `capacity` frames.

    Stages may nest under different names; the same stage may not run inside itself. Used from one
    thread.

        with timer.stage("landmarks"):
            ...
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._stages: dict[str, _Stage] = {}

    def stage(self, name: str) -> _Stage:
        """The context manager that times `name`."""
        stage = self._stages.get(name)
        if stage is None:
            stage = self._stages[name] = _Stage(self._capacity)
        return stage

    def add(self, name: str, duration_ns: int) -> None:
        """Record a duration that was measured elsewhere, for example from capture to now."""
        self.stage(name).add(duration_ns)

    def percentiles_ms(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile of each stage, ms, in the order in which they first ran."""
        return {name: stage.percentiles_ms() for name, stage in self._stages.items() if stage.count}

    def summary(self) -> str:
        """One line: `ms per frame, median/95 %: landmarks 4.5/6.1, flow 2.0/2.4`."""
        stages = self.percentiles_ms()
        if not stages:
            return "nothing timed yet"
        parts = (f"{name} {p50:.1f}/{p95:.1f}" for name, (p50, p95) in stages.items())
        return f"ms per frame, median/95 %: {', '.join(parts)}"


class FrameRate:
    """Frames per second over the last second."""

    def __init__(self, window_ns: int = NS_PER_S) -> None:
        self._window_ns = window_ns
        self._ticks_ns: deque[int] = deque()

    def tick(self, now_ns: int | None = None) -> None:
        """A frame is done (at `now_ns` of the monotonic clock; now, when not given)."""
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        self._ticks_ns.append(now_ns)
        # The tick at the far edge stays: n intervals need n + 1 ticks.
        while len(self._ticks_ns) > 2 and self._ticks_ns[1] <= now_ns - self._window_ns:
            self._ticks_ns.popleft()

    @property
    def fps(self) -> float:
        """Intervals between the kept ticks by the time they span; 0 before the second tick."""
        if len(self._ticks_ns) < 2:
            return 0.0
        span_ns = self._ticks_ns[-1] - self._ticks_ns[0]
        return (len(self._ticks_ns) - 1) * NS_PER_S / span_ns if span_ns else 0.0
