"""Drops are counted exactly, errors reach the reader, and threads end.

Everything is driven by events, not by time.
"""

import threading
import time

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.types import FrameInfo
from realtime.capture import reader as reader_module
from realtime.capture.frame import Frame, LatestSlot, NoNewFrame
from realtime.capture.reader import CaptureThread, frames

IMAGE = np.zeros((4, 6, 3), np.uint8)
WAIT_S = 30.0  # only ever reached when the test fails


def make_frame(index: int, media_time_s: float = 0.0) -> Frame:
    return Frame(IMAGE, FrameInfo(index, time.monotonic_ns(), media_time_s))


class SteppedSource:
    """Hands out one frame for each permit, and tells when it is asked for the next one."""

    name, fps, size, remote, length = "stepped", 30.0, (6, 4), False, None

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
    got = []
    for burst, lost in ((1, 0), (5, 4), (1, 4), (6, 9)):
        produce(source, slot, burst)
        frame = slot.get(WAIT_S)
        assert frame is not None
        got.append(frame.info.frame_id)
        assert slot.dropped == frame.info.dropped == lost
    source.permits.release()  # the end
    assert slot.get(WAIT_S) is None
    assert got == [0, 5, 6, 12]
    assert len(got) + slot.dropped == 13
    thread.stop()


def test_free_running_reader_accounts_for_every_frame():
    source = SteppedSource(total=5000)
    source.permits.release(5001)
    got, dropped = [], -1
    with frames(source) as stream:
        for frame in stream:
            got.append(frame.info.frame_id)
            dropped = frame.info.dropped
    assert got[-1] == 4999
    assert got == sorted(set(got))
    assert len(got) + dropped == 5000
    assert source.closed.is_set()


def test_every_frame_drops_nothing_and_uses_no_thread():
    # It would take hours if it were paced.
    source = SteppedSource(total=50, live=False, period_s=1000.0)
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
@pytest.mark.parametrize(
    "error",
    [PenumbraError("cable pulled"), ZeroDivisionError("a defect"), TimeoutError("a slow network")],
)
def test_error_of_the_source_reaches_the_reader_after_the_last_frame(every_frame, error):
    source, stop = SteppedSource(total=3, live=False, error=error), threading.Event()
    source.permits.release(4)
    got = []
    late = threading.Timer(WAIT_S, stop.set)  # for a reader that takes the error for no news
    late.start()
    with pytest.raises(type(error), match=str(error)), frames(source, every_frame, stop) as stream:
        for frame in stream:
            got.append(frame.info.frame_id)
    late.cancel()
    assert got[-1] == 2
    assert source.closed.is_set()


def test_leaving_early_ends_the_thread_and_closes_the_source():
    source = SteppedSource(total=100)
    source.permits.release(1)
    with frames(source) as stream:
        assert next(stream).info.frame_id == 0  # the thread now waits inside read()
    assert source.closed.is_set()
    assert not capture_threads()


class FakeClock(threading.Event):
    """A clock that advances only during waits."""

    def __init__(self) -> None:
        super().__init__()
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


def test_slot_hands_out_the_newest_frame_once():
    slot = LatestSlot()
    with pytest.raises(NoNewFrame):
        slot.get(0.0)
    slot.put(make_frame(0))
    slot.put(make_frame(1))
    frame = slot.get(0.0)
    assert frame is not None and frame.info.frame_id == 1 and slot.dropped == 1
    with pytest.raises(NoNewFrame):
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
