"""A live source reconnects, goes on counting, and can be stopped while it waits."""

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture.live import LiveSource, Retry
from realtime.capture.reader import frames

WAIT_S = 30.0  # only ever reached when the test fails


class FakeDevice:
    """Replaces `cv2.VideoCapture`: plays "ok" images and undecodable "bad" ones, then breaks."""

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
    got = []
    with pytest.raises(PenumbraError, match=r"lost after 5 frames .* 3 tries"):
        while (frame := source.read()) is not None:
            got.append(frame)
    assert [frame.info.frame_id for frame in got] == [0, 1, 2, 3, 4]
    assert all(
        a.info.t_capture_ns < b.info.t_capture_ns and a.info.media_time_s < b.info.media_time_s
        for a, b in pairwise(got)
    )
    assert got[0].info.media_time_s == 0.0
    assert all(device.released for device in devices)


def test_undecodable_images_are_skipped_and_counted_without_reconnecting():
    source = LiveSource("fake", lambda: FakeDevice(["ok", "bad", "bad", "ok"]), FAST)  # type: ignore[arg-type,return-value]
    device = source._capture
    got = [source.read(), source.read()]
    assert [(f.info.frame_id, f.info.skipped) for f in got if f] == [(0, 0), (3, 2)]
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
    assert "capture" not in [thread.name for thread in threading.enumerate()]


def test_back_off_grows_to_its_limit():
    waits = list(Retry().waits_s())
    assert waits[:3] == [1.0, 1.5, 2.25]
    assert len(waits) == 10 and max(waits) == waits[-1] == 10.0
