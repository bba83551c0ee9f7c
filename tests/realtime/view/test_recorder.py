"""The recording: every image is in it, and it is readable whatever ends the process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.view import recorder as recorder_module
from realtime.view.recorder import Recorder
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewFrame
from tests.support.paths import ROOT
from tests.support.views import NO_FACES, SMALL, noise_frame, small_renderer

RECORD_UNTIL_KILLED = """
import sys, time
from tests.support.views import noise_frame, small_renderer
from realtime.view.recorder import Recorder
recorder = Recorder(sys.argv[1], small_renderer(), 30.0, every_frame=True)
number = 0
while True:
    recorder.put(noise_frame(number))
    number += 1
    print(recorder.written, flush=True)
"""


def read_all(path: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while True:
        found, image = capture.read()
        if not found:
            return images
        images.append(image)


def test_every_frame_is_in_the_file_with_size_and_rate(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    renderer = small_renderer()
    with Recorder(path, renderer, 25.0, every_frame=True) as recorder:
        for number in range(20):
            recorder.put(noise_frame(number))
    assert (recorder.written, recorder.dropped) == (20, 0)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25.0, abs=1e-3)
    images = read_all(path)
    assert len(images) == 20
    expected = renderer.compose(noise_frame(19))
    assert images[19].shape == expected.shape
    assert (
        np.abs(images[19][-40:].astype(int) - expected[-40:]).mean() < 6
    )  # the status line; noise itself is lossy
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_frames_survive_kill_minus_nine(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RECORD_UNTIL_KILLED, str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    written = 0
    for line in child.stdout:
        written = int(line)
        if written >= 150:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    images = read_all(path)
    lost_at_most = (
        256 * 1024 / (path.stat().st_size / max(len(images), 1)) + 15
    )  # the buffer, and the open fragment
    assert len(images) >= written - lost_at_most
    assert len(images) >= 50
    assert images[0].shape == (360, 640, 3)


def test_what_was_recorded_is_complete_when_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with (
        pytest.raises(RuntimeError, match="camera"),
        Recorder(path, small_renderer(), 30, every_frame=True) as recorder,
    ):
        for number in range(3):
            recorder.put(noise_frame(number))
        raise RuntimeError("camera gone")
    assert len(read_all(path)) == 3


class SlowRenderer(Renderer):
    """Waits until it is let go."""

    def __init__(self) -> None:
        super().__init__(NO_FACES, SMALL)
        self.go = threading.Event()

    def compose(self, frame: ViewFrame) -> np.ndarray:
        self.go.wait()
        return super().compose(frame)


def test_live_recording_drops_and_counts_instead_of_waiting(tmp_path: Path) -> None:
    renderer = SlowRenderer()
    with Recorder(tmp_path / "out.mp4", renderer, 30.0, every_frame=False) as recorder:
        for number in range(50):
            recorder.put(noise_frame(number))
        assert recorder.dropped >= 50 - 5  # one in hand, four waiting
        renderer.go.set()
    assert recorder.dropped < 50


def test_live_recording_keeps_the_pace_of_the_source(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.5, 0.55, 1.0]
    renderer = SlowRenderer()
    renderer.go.set()
    with Recorder(tmp_path / "out.mp4", renderer, 30.0, every_frame=False) as recorder:
        for number, time_s in enumerate(times_s):
            while recorder._queue.full():
                pass
            recorder.put(noise_frame(number, time_s))
    assert recorder.dropped == 0
    assert (
        recorder.written == 31
    )  # the last image is shown at 1.0 s, the 31st time of a 30 fps clock


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no/such/folder/out.mp4", "cannot be written"),
        ("out.gif", "mp4"),
        ("out", "mp4"),
        ("folder.mp4", "folder"),
    ],
)
def test_bad_paths_are_refused_before_the_first_frame(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PenumbraError, match=says) as caught:
        Recorder(tmp_path / name, small_renderer(), 30.0, every_frame=True)
    assert str(caught.value).startswith("record: ")
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_full_disk_ends_the_recording_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path, small_renderer(), 30.0, every_frame=True)
    free = iter([1 << 40, 0])
    monkeypatch.setattr(
        recorder_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": next(free)})()
    )
    with pytest.raises(PenumbraError, match="nearly full"):
        for number in range(200):
            recorder.put(noise_frame(number))
    recorder.close()
    assert len(read_all(path)) == 30
