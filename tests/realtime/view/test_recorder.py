"""The recording: every image is in it, and it is readable whatever ends the process."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.view.recorder import Recorder
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewFrame
from tests.support.paths import ROOT
from tests.support.videos import boxes, time_stamps_ms
from tests.support.views import SMALL, default_body, noise_frame, small_renderer

RECORD_UNTIL_KILLED = """
import sys, time
from tests.support.videos import boxes
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
            recorder.put(noise_frame(number, number / 25))
    assert (recorder.written, recorder.dropped) == (20, 0)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25.0, abs=1e-3)
    images = read_all(path)
    assert len(images) == 20
    expected = renderer.compose(noise_frame(19))
    assert images[19].shape == expected.shape
    difference = np.abs(images[19][-40:].astype(int) - expected[-40:])
    assert difference.mean() < 6  # the status line; noise itself is lossy
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_time_stamps_of_a_constant_rate_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, small_renderer(), 30000 / 1001, every_frame=True) as recorder:
        for number in range(40):
            recorder.put(noise_frame(number, number * 1001 / 30000))
    np.testing.assert_allclose(time_stamps_ms(path), np.arange(40) * 1001 / 30, atol=0.05)


def test_images_are_displayed_as_long_as_in_the_source(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    # Fragments begin where the rate changes; from 1.6 s on the source was away.
    times_s = np.array([*np.arange(15) / 30, 0.5, 0.51, 0.6, 1.1, 1.13, 1.6, 9.0, 9.01])
    with Recorder(path, small_renderer(), 12.0, every_frame=True) as recorder:
        for number, time_s in enumerate(times_s):
            recorder.put(noise_frame(number, time_s))
    times_s[-2:] -= 9.0 - 1.6 - 2.0
    np.testing.assert_allclose(time_stamps_ms(path), 1000 * times_s, atol=0.02)
    assert len(read_all(path)) == len(times_s)


def test_the_file_is_readable_within_the_first_second(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, small_renderer(), 30.0, every_frame=True) as recorder:
        assert not path.exists()
        for number in range(30):
            recorder.put(noise_frame(number))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and len(read_all(path)) < 15:
            time.sleep(0.05)
        assert len(read_all(path)) >= 15
    assert len(read_all(path)) == 30


def test_a_slow_recording_is_readable_as_soon(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, small_renderer(), 2.0, every_frame=True) as recorder:
        recorder.put(noise_frame(0, 0.0))
        recorder.put(noise_frame(1, 0.5))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not path.exists():
            time.sleep(0.05)
        assert len(read_all(path)) == 1


@pytest.mark.parametrize("frames", [20, 77])
def test_frames_survive_kill_minus_nine(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "out.mp4"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RECORD_UNTIL_KILLED, str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    written = 0
    while written < frames:
        written = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    images = read_all(path)
    assert len(images) >= written - 16  # the open fragment, and the packet in the pipe
    assert images[0].shape == (360, 640, 3)
    assert not list(tmp_path.glob("*.partial"))


def test_without_a_frame_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"of an earlier run")
    with Recorder(tmp_path / "out.mp4", small_renderer(), 30, every_frame=True, force=True):
        pass
    assert (tmp_path / "out.mp4").read_bytes() == b"of an earlier run"
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"of an earlier run")
    with pytest.raises(PenumbraError, match="exists"):
        Recorder(path, small_renderer(), 30, every_frame=True)
    with Recorder(path, small_renderer(), 30, every_frame=True, force=True) as recorder:
        recorder.put(noise_frame(0))
    assert len(read_all(path)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


def test_two_recorders_of_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, small_renderer(), 30, every_frame=True) as recorder:
        for number in range(20):
            with pytest.raises(PenumbraError, match="another run"):
                Recorder(path, small_renderer(), 30, every_frame=True, force=True)
            recorder.put(noise_frame(number))
    assert len(read_all(path)) == 20


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
        super().__init__(default_body(), SMALL)
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
                time.sleep(0.001)
            recorder.put(noise_frame(number, time_s))
    assert recorder.dropped == 0
    np.testing.assert_allclose(time_stamps_ms(tmp_path / "out.mp4"), 1000 * np.array(times_s))


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


RECORD_UNTIL_FULL = """
import resource, signal, sys
from engines.errors import PenumbraError
from tests.support.videos import boxes
from tests.support.views import noise_frame, small_renderer
from realtime.view.recorder import Recorder
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
recorder = Recorder(sys.argv[1], small_renderer(), 30.0, every_frame=True)
try:
    for number in range(300):
        recorder.put(noise_frame(number))
except PenumbraError as error:
    print(error)
recorder.put(noise_frame(0))  # the run goes on
recorder.close()
"""


def record_until_full(path: Path, *limit: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORD_UNTIL_FULL, str(path), *limit],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    sentence = re.search(r"record: '.*' cannot .* after (\d+) images, .*; make room", done.stdout)
    assert sentence is not None, done.stdout
    images = read_all(path)
    assert len(images) == int(sentence[1]) >= 15
    assert path.stat().st_size == sum(map(len, boxes(path.read_bytes()).values()))


def test_a_file_that_may_not_grow_ends_the_recording_with_a_sentence(tmp_path: Path) -> None:
    record_until_full(tmp_path / "out.mp4", "6000000")


def test_a_full_disk_ends_the_recording_with_a_sentence(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=6000k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        record_until_full(tmp_path / "out.mp4")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
