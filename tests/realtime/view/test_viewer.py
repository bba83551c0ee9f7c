"""The window: it opens where it can, says why where it cannot, and never holds the pipeline up."""

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.view.bar import timeline_track
from realtime.view.build import SceneBuilder
from realtime.view.display import explain_probe, why_no_window
from realtime.view.image_panel import to_panel
from realtime.view.layout import arrange
from realtime.view.viewer import Viewer
from tests.support.paths import ROOT
from tests.support.views import default_body, noise_frame, two_people, virtual_display

OPEN_AND_CLOSE = """
import sys, threading, time
from engines.body import BodyModel
from realtime.view import viewer as module
from realtime.view.display import why_no_window
from tests.support.views import standing

reason = why_no_window()
if reason is not None:
    sys.exit(reason)
body = BodyModel.load()
frame, viewer, drawn = standing(body), module.Viewer(body), []
picture = viewer._desk.picture
def counted(size):
    result = picture(size)
    if result is not None and viewer._desk._scene is not None:
        drawn.append(result)
    return result
viewer._desk.picture = counted
def feed():
    while len(drawn) < 5 and not viewer.closed.is_set():
        viewer.show(frame)
        time.sleep(0.05)
    viewer.close()
threading.Thread(target=feed).start()
viewer.run()
assert viewer.closed.is_set()
print("drawn", len(drawn))
"""

OPERATED = """
import sys, threading, time
from pathlib import Path
from engines.body import BodyModel
from realtime.view import viewer as module
from realtime.view.desk import Desk
from tests.support.views import two_people

class Controls:
    pausable = seekable = True
    duration_s = 60.0
    def pause(self, on): print("pause", on, flush=True)
    def step(self): print("step", flush=True)
    def seek(self, time_s): print("seek", round(time_s, 1), flush=True)
    def follow(self, track_id): print("follow", track_id, flush=True)

body = BodyModel.load()
frame, viewer = two_people(body), module.Viewer(body, Controls())
desk = viewer._desk
desk._folder = Path(sys.argv[1])
picture, state = desk.picture, [None, 0]
def told(size):
    result = picture(size)
    if result is not None and desk._scene is not None:
        if size != state[0]:
            print("size", *size, flush=True)
            state[0] = size
        orbit, layers = desk.state.orbit, desk.state.layers
        print("state", desk.state.joint, layers.landmarks, desk.state.mirror,
              None if orbit is None else round(orbit.azimuth_deg),
              None if orbit is None else round(orbit.zoom, 2), bool(desk.state.help_rows),
              flush=True)
    return result
desk.picture = told
def feed():
    while not viewer.closed.is_set():
        viewer.show(frame)
        time.sleep(0.02)
thread = threading.Thread(target=feed)
thread.start()
viewer.run()
thread.join()
print("closed", flush=True)
"""


@pytest.fixture
def display() -> Iterator[str]:
    with virtual_display() as name:
        yield name


def test_no_display_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    why_no_window.cache_clear()
    reason = why_no_window()
    why_no_window.cache_clear()
    assert reason is not None and "DISPLAY" in reason and "headless" in reason


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        (
            "ImportError: libusb-1.0.so.0: cannot open shared object file: No such file",
            "apt install libusb-1.0-0",
        ),
        (
            "OSError: libGL.so.1: cannot open shared object file: No such file or directory",
            "apt install libgl1",
        ),
        ("ImportError: libfoo.so.9: cannot open shared object file", "libfoo.so"),
        ("ModuleNotFoundError: No module named 'open3d'", "pip install open3d"),
        ("Failed to open X display. (exiting).", "Failed to open X display"),
        ("", "exit status -11"),
    ],
)
def test_each_failure_of_the_probe_has_its_cure(stderr: str, says: str) -> None:
    sentence = explain_probe(-11, stderr)
    assert says in sentence and "headless" in sentence and "\n" not in sentence


def test_show_never_waits_and_counts_skipped_frames() -> None:
    viewer = Viewer(default_body())
    for number in range(10):
        viewer.show(noise_frame(number))
    assert viewer.skipped == 9
    newest = viewer._take()
    assert newest is not None and newest.estimate.frame.frame_id == 9
    assert viewer._take() is None


@pytest.mark.slow
def test_window_opens_draws_and_closes(display: str) -> None:
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OPEN_AND_CLOSE]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert child.returncode == 0, child.stderr
    assert "drawn" in child.stdout


class Operated:
    """A window with two people in a process of its own, and a user's hand on it."""

    def __init__(self, display: str, folder: Path) -> None:
        self.environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.manager = subprocess.Popen(["openbox", "--sm-disable"], env=self.environment, **quiet)
        self._await_manager()
        self.child = subprocess.Popen(
            [sys.executable, "-c", OPERATED, str(folder)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.size = tuple(int(word) for word in self.until("size").split()[1:])

    def until(self, beginning: str) -> str:
        """Read what the process says up to a line with this beginning."""
        last, deadline = "nothing", time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=1)
                if line is None:
                    break
                last = line
                if line.startswith(beginning):
                    return line
        raise AssertionError(f"the window did not say {beginning!r}, but at last {last!r}")

    def _await_manager(self) -> None:
        asked = ["xdotool", "get_desktop"]  # fails where no window manager answers
        deadline = time.monotonic() + 60
        while subprocess.run(asked, env=self.environment, capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, "openbox did not start"
            time.sleep(0.05)

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def hand(self, *words: str) -> None:
        # Not windowfocus: X has the focus before openbox knows, which would close nothing.
        focus = ["xdotool", "search", "--sync", "--name", "^Penumbra$", "windowactivate", "--sync"]
        subprocess.run([*focus, *words], env=self.environment, check=True, timeout=60)

    def at(self, x: float, y: float) -> tuple[str, ...]:
        """The command that moves the mouse to a point of the window."""
        return ("mousemove", "--window", "%1", str(round(x)), str(round(y)))

    def end(self) -> None:
        for process in (self.child, self.manager):
            process.kill()
            process.wait()


def screenshot(folder: Path) -> np.ndarray:
    """The screenshot that the window saves in a folder, once it is written to its end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in folder.glob("penumbra-*.png"):
            if (image := cv2.imread(str(path))) is not None:
                return image
        time.sleep(0.05)
    raise AssertionError("no screenshot within 30 s")


@pytest.fixture
def operated(display: str, tmp_path: Path) -> Iterator[Operated]:
    for program in ("xdotool", "openbox"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt install {program})")
    window = Operated(display, tmp_path)
    yield window
    window.end()


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["Escape", "alt+F4"])  # openbox closes a window at alt+F4
def test_the_user_closes_the_window_while_it_draws(operated: Operated, keys: str) -> None:
    operated.hand("key", keys)
    operated.until("closed")
    assert operated.child.wait(timeout=60) == 0


@pytest.mark.slow
def test_keys_and_mouse_reach_the_view_and_the_run(operated: Operated, tmp_path: Path) -> None:
    frame = two_people(default_body())
    scene = SceneBuilder(default_body())(frame)
    operated.hand("key", "l")
    operated.until("state None True False None None False")
    operated.hand("key", "m", "key", "h")
    operated.until("state None True True None None True")
    operated.hand("key", "h", "key", "r", "key", "space")
    assert operated.until("pause") == "pause True"
    operated.hand("key", "period")
    operated.until("step")
    operated.hand("key", "Right")
    operated.until("seek")
    operated.hand("key", "s")
    assert screenshot(tmp_path).shape[:2] == operated.size[::-1]

    layout = arrange(operated.size, frame.intrinsics.size, timeline=True)
    x, y = to_panel(scene, scene.people[1].joints[3], layout, mirror=False)
    operated.hand(*operated.at(layout.image.x + x, layout.image.y + y), "click", "1")
    assert operated.until("follow") == "follow 9"
    x, y = to_panel(scene, scene.people[0].joints[20], layout, mirror=False)
    operated.hand(*operated.at(layout.image.x + x, layout.image.y + y), "click", "1")
    operated.until("state 20")
    track = timeline_track(layout)
    middle = operated.at(track.x + track.width / 2, track.y + track.height / 2)
    operated.hand(*middle, "click", "1")
    assert float(operated.until("seek").split()[1]) == pytest.approx(30, abs=1)
    world = layout.world
    start = operated.at(world.x + world.width / 2, world.bottom - 30)
    end = operated.at(world.x + world.width / 2 - 100, world.bottom - 30)
    operated.hand("key", "2")
    operated.until("state 20 False False 90 1.0")
    rest = ("sleep", "0.5")  # the window asks where the mouse is when it handles an event
    operated.hand(*start, *rest, "mousedown", "1", *rest, *end, *rest, "mouseup", "1")
    operated.until("state 20 False False 125 1.0")
    operated.hand(*start, "click", "4")
    operated.until("state 20 False False 125 1.1")
    operated.hand("key", "Escape")
    operated.until("closed")
    assert operated.child.wait(timeout=60) == 0
