"""Drops are counted exactly, errors reach the reader, and threads end. Everything is driven by
events, not by time.
"""

import logging
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import FrameInfo
from realtime.capture import reader as reader_module
from realtime.capture.reader import CaptureThread, frames
from realtime.capture.frame import Frame, LatestSlot
from realtime.capture.live import LiveSource, Retry
from realtime.timing import ClockPair, FrameRate, StageTimer

IMAGE = np.zeros((4, 6, 3), np.uint8)
WAIT_S = 30.0  # only ever reached when the test fails


def make_frame(index: int, media_time_s: float = 0.0) -> Frame:
    return Frame(IMAGE, FrameInfo(index, time.monotonic_ns(), media_time_s))


class SteppedSource:
    """Hands out one frame for each permit, and tells when it is asked for the next one."""

    name, fps, size = "stepped", 30.0, (6, 4)

    def __init__(
        self, total: int, live: bool = True, error: Exception | None = None, period_s: float = 0.0
    ) -> None:
        self.live = live
        self.permits = threading.Semaphore(0)
        self.closed = threading.Event()
        self._total, self._error, self._period_s = total, error, period_s
        self._asked = threading.Condition()
        self._next = 0

    def read(self) -> Frame | None:
        with self._asked:
            self._asked.notify_all()
        assert self.permits.acquire(timeout=WAIT_S)
        if self.closed.is_set():
            return None
        if self._next == self._total:
            if self._error is not None:
                raise self._error
            return None
        with self._asked:
            self._next += 1
        return make_frame(self._next - 1, (self._next - 1) * self._period_s)

    def close(self) -> None:
        self.closed.set()
        self.permits.release()

    def __enter__(self) -> "SteppedSource":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def capture_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert not capture_threads()


class RecordingSlot(LatestSlot):
    """Lets a test wait until a frame has been put."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = threading.Semaphore(0)
        self.frames: list[Frame] = []

    def put(self, frame: Frame) -> None:
        super().put(frame)
        self.frames.append(frame)
        self.puts.release()


def produce(source: SteppedSource, slot: RecordingSlot, count: int) -> None:
    source.permits.release(count)
    for _ in range(count):
        assert slot.puts.acquire(timeout=WAIT_S)


def test_slow_reader_gets_the_newest_and_counts_the_rest_exactly():
    source, slot = SteppedSource(total=13), RecordingSlot()
    thread = CaptureThread(source, slot)
    thread.start()
    seen = []
    for burst, lost in ((1, 0), (5, 4), (1, 4), (6, 9)):
        produce(source, slot, burst)
        frame = slot.get(WAIT_S)
        assert frame is not None
        seen.append(frame.info.frame_id)
        assert slot.dropped == frame.info.dropped == lost
    source.permits.release()  # the end
    assert slot.get(WAIT_S) is None
    assert seen == [0, 5, 6, 12]
    assert len(seen) + slot.dropped == 13
    thread.stop()


def test_free_running_reader_accounts_for_every_frame():
    source = SteppedSource(total=5000)
    source.permits.release(5001)
    seen, dropped = [], -1
    with frames(source) as stream:
        for frame in stream:
            seen.append(frame.info.frame_id)
            dropped = frame.info.dropped
    assert seen[-1] == 4999
    assert seen == sorted(set(seen))
    assert len(seen) + dropped == 5000
    assert source.closed.is_set()


def test_every_frame_drops_nothing_and_uses_no_thread():
    source = SteppedSource(
        total=50, live=False, period_s=1000.0
    )  # would take hours if it were paced
    source.permits.release(51)
    with frames(source, every_frame=True) as stream:
        assert not capture_threads()
        assert [(frame.info.frame_id, frame.info.dropped) for frame in stream] == [
            (i, 0) for i in range(50)
        ]
    assert source.closed.is_set()


def test_a_wait_for_a_frame_that_never_comes_can_be_ended(monkeypatch):
    monkeypatch.setattr(reader_module, "POLL_S", 0.01)
    source, stop = SteppedSource(total=1), threading.Event()  # never stepped
    threading.Timer(0.05, stop.set).start()
    with frames(source, stop=stop) as stream:
        assert list(stream) == []
    assert source.closed.is_set()


@pytest.mark.parametrize("every_frame", [True, False])
@pytest.mark.parametrize("error", [PenumbraError("cable pulled"), ZeroDivisionError("a defect")])
def test_error_of_the_source_reaches_the_reader_after_the_last_frame(every_frame, error):
    source = SteppedSource(total=3, live=False, error=error)
    source.permits.release(4)
    seen = []
    with pytest.raises(type(error), match=str(error)), frames(source, every_frame) as stream:
        for frame in stream:
            seen.append(frame.info.frame_id)
    assert seen[-1] == 2
    assert source.closed.is_set()


def test_leaving_early_ends_the_thread_and_closes_the_source():
    source = SteppedSource(total=100)
    source.permits.release(1)
    with frames(source) as stream:
        assert next(stream).info.frame_id == 0  # the thread now waits inside read()
    assert source.closed.is_set()
    assert not capture_threads()


class FakeClock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return False


@pytest.mark.parametrize(
    ("media_s", "decode_s", "due_s"),
    [
        (
            (0.0, 0.1, 0.15, 0.4),
            0.01,
            (0.01, 0.11, 0.16, 0.41),
        ),  # the time stamps set the pace, not the frame rate
        (
            (7.0, 7.1, 7.2),
            0.01,
            (0.01, 0.11, 0.21),
        ),  # the first frame comes at once wherever it begins
        (
            (0.0, 0.1, 1e6, 1e6 + 0.1),
            0.01,
            (0.01, 0.11, 1.12, 1.22),
        ),  # a hole of days takes a second
        ((0.0, 0.1, 0.2, 0.3), 0.25, (0.25, 0.5, 0.75, 1.0)),  # slow decoding sets the pace
    ],
)
def test_recording_is_paced_by_its_time_stamps(monkeypatch, media_s, decode_s, due_s):
    clock, pace = FakeClock(), reader_module._Pace()
    monkeypatch.setattr(reader_module, "time", clock)
    start_ns, got_s = clock.now_ns, []
    for i, media_time_s in enumerate(media_s):
        frame = Frame(IMAGE, FrameInfo(i, clock.now_ns, media_time_s))
        clock.wait(decode_s)
        held = pace.hold(frame, clock)  # type: ignore[arg-type]
        assert held.info.t_capture_ns == clock.now_ns  # stamped when it is let go
        got_s.append((held.info.t_capture_ns - start_ns) / 1e9)
    assert got_s == pytest.approx(due_s)


def test_after_a_hiccup_the_pace_is_the_same_again(monkeypatch):
    clock, pace = FakeClock(), reader_module._Pace()
    monkeypatch.setattr(reader_module, "time", clock)
    start_ns, got_s = clock.now_ns, []
    for i, decode_s in enumerate((0.0, 0.5, 0.0, 0.0)):
        frame = Frame(IMAGE, FrameInfo(i, clock.now_ns, 0.1 * i))
        clock.wait(decode_s)
        got_s.append((pace.hold(frame, clock).info.t_capture_ns - start_ns) / 1e9)  # type: ignore[arg-type]
    assert got_s == pytest.approx([0.0, 0.5, 0.6, 0.7])  # nothing is rushed to catch up


@pytest.mark.parametrize(("live", "expected"), [(False, 4), (True, 0)])
def test_thread_paces_recordings_only(monkeypatch, live, expected):
    held = []

    def hold(self: object, frame: Frame, stopping: threading.Event) -> Frame:
        held.append(frame)
        return frame

    monkeypatch.setattr(reader_module._Pace, "hold", hold)
    source, slot = SteppedSource(total=4, live=live), RecordingSlot()
    thread = CaptureThread(source, slot)
    thread.start()
    produce(source, slot, 4)
    thread.stop()
    assert len(held) == expected


def test_slot_hands_out_the_newest_unseen_frame_once():
    slot = LatestSlot()
    with pytest.raises(TimeoutError):
        slot.get(0.0)
    slot.put(make_frame(0))
    slot.put(make_frame(1))
    frame = slot.get(0.0)
    assert frame is not None and frame.info.frame_id == 1 and slot.dropped == 1
    with pytest.raises(TimeoutError):
        slot.get(0.0)
    slot.put(make_frame(2))
    slot.close(ValueError("broken"))
    frame = slot.get(0.0)
    assert frame is not None and frame.info.frame_id == 2 and slot.dropped == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            slot.get(0.0)


def test_slot_close_wakes_a_waiting_reader():
    slot, result = LatestSlot(), []
    reader = threading.Thread(target=lambda: result.append(slot.get(WAIT_S)))
    reader.start()
    slot.close()
    reader.join(WAIT_S)
    assert result == [None]


class FakeDevice:
    """Stands in for `cv2.VideoCapture`: plays a script of images ("ok"), undecodable ones
    ("bad"), then breaks.
    """

    def __init__(self, script: list[str], size: tuple[int, int] = (6, 4)) -> None:
        self.script, self.size, self.released = ["ok", *script], size, False

    def get(self, _: int) -> float:
        return 0.0

    def grab(self) -> bool:
        assert not self.released
        return bool(self.script)

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        good = self.script.pop(0) == "ok"
        return good, np.zeros((self.size[1], self.size[0], 3), np.uint8) if good else None

    def read(self) -> tuple[bool, np.ndarray | None]:
        return self.retrieve() if self.grab() else (False, None)

    def release(self) -> None:
        self.released = True


FAST = Retry(first_s=0.0, tries=3)


def test_broken_device_is_opened_again_and_frame_numbers_go_on():
    devices = [FakeDevice(["ok", "ok"]), FakeDevice(["ok", "ok", "ok"])]
    waiting = [devices[0], PenumbraError("not yet"), devices[1]]

    def connect():
        item = waiting.pop(0) if waiting else PenumbraError("gone for good")
        if isinstance(item, PenumbraError):
            raise item
        return item

    source = LiveSource("fake", connect, FAST)  # type: ignore[arg-type]
    seen = []
    with pytest.raises(PenumbraError, match=r"lost after 5 frames .* 3 tries"):
        while (frame := source.read()) is not None:
            seen.append(frame)
    assert [frame.info.frame_id for frame in seen] == [0, 1, 2, 3, 4]
    assert all(
        a.info.t_capture_ns < b.info.t_capture_ns and a.info.media_time_s < b.info.media_time_s
        for a, b in pairwise(seen)
    )
    assert seen[0].info.media_time_s == 0.0
    assert all(device.released for device in devices)


def test_undecodable_images_are_skipped_without_reconnecting():
    source = LiveSource("fake", lambda: FakeDevice(["ok", "bad", "bad", "ok"]), FAST)  # type: ignore[arg-type,return-value]
    device = source._capture
    assert [f.info.frame_id for f in (source.read(), source.read()) if f] == [0, 1]
    assert source._capture is device
    source.close()


def test_image_size_may_not_change_across_a_reconnection():
    devices = [FakeDevice(["ok"]), FakeDevice(["ok"], size=(8, 8))]
    source = LiveSource("fake", lambda: devices.pop(0), FAST)  # type: ignore[arg-type,return-value]
    assert source.read() is not None
    with pytest.raises(PenumbraError, match=r"8x8 px .* 6x4 px"):
        source.read()


def test_stop_ends_a_wait_for_reconnection(caplog):
    caplog.set_level(logging.WARNING)
    lost = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lost.set()

    handler = Handler()
    logging.getLogger("realtime.capture.live").addHandler(handler)
    source = LiveSource("fake", lambda: FakeDevice(["ok"]), Retry(first_s=3600.0))  # type: ignore[arg-type,return-value]
    with frames(source) as stream:
        next(stream)
        assert lost.wait(WAIT_S)  # an hour's wait has begun
    logging.getLogger("realtime.capture.live").removeHandler(handler)
    assert not capture_threads()


def test_back_off_grows_to_its_limit():
    waits = list(Retry().waits_s())
    assert waits[:3] == [1.0, 1.5, 2.25]
    assert len(waits) == 10 and max(waits) == waits[-1] == 10.0


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
