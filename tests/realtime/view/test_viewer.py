"""The window: it opens where it can, says why where it cannot, and never holds the pipeline up."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from realtime.view.viewer import Viewer, explain_probe, why_no_window
from tests.support.paths import ROOT
from tests.support.views import NO_FACES, noise_frame, virtual_display

OPEN_AND_CLOSE = """
import sys, threading, time
from engines.body import BodyModel
from realtime.view import viewer as module
from tests.support.views import standing

reason = module.why_no_window()
if reason is not None:
    sys.exit(reason)
body = BodyModel.load()
frame, viewer, drawn = standing(body), module.Viewer(body.decimated.faces), []
draw = module._Stage.draw
module._Stage.draw = lambda self, frame: (draw(self, frame), drawn.append(frame))
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


SHOW_UNTIL_CLOSED = """
import threading, time
from engines.body import BodyModel
from realtime.view import viewer as module
from tests.support.views import standing

body = BodyModel.load()
frame, viewer, drawn = standing(body), module.Viewer(body.decimated.faces), []
draw = module._Stage.draw
def counted(self, frame):
    draw(self, frame)
    drawn.append(frame)
    if len(drawn) == 3:
        print("open", flush=True)
module._Stage.draw = counted
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
    viewer = Viewer(NO_FACES)
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


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["Escape", "alt+F4"])  # openbox closes a window at alt+F4
def test_the_user_closes_the_window_while_it_draws(display: str, keys: str) -> None:
    for program in ("xdotool", "openbox"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt install {program})")
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    manager = subprocess.Popen(["openbox", "--sm-disable"], env=environment, **quiet)
    child = subprocess.Popen(
        [sys.executable, "-c", SHOW_UNTIL_CLOSED],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "open\n":
                break
        press = ["xdotool", "search", "--sync", "--name", "Penumbra", "windowfocus", "key", keys]
        subprocess.run(press, env=environment, check=True, timeout=60, **quiet)
        said, _ = child.communicate(timeout=120)
        assert (child.returncode, "closed\n" in said) == (0, True)
    finally:
        child.kill()
        child.wait()
        manager.kill()
        manager.wait()
