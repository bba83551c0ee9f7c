"""The progress bar: on a terminal, for recordings, and never in the way of anything else."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from engines.types import FrameInfo
from realtime.progress import progress
from tests.support.paths import ROOT
from tests.support.photos import scene, write_photo
from tests.support.run_demo import QUIET, grey_video, start, words

FAST = (*QUIET, "--hypotheses", 4, "--landmarks", "full")


def on_a_terminal(*arguments: object) -> tuple[int, str, str]:
    """Run with stderr on a terminal 80 columns wide: exit status, stdout, what it displayed."""
    terminal, stderr = pty.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "run_demo.py", *words(*arguments, *FAST)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    os.close(stderr)
    displayed = b""
    try:
        while data := os.read(terminal, 1 << 16):
            displayed += data
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.stdout is not None
    return process.wait(timeout=60), process.stdout.read(), displayed.decode()


def test_a_terminal_shows_frames_time_left_and_rate(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4", frames=40)
    status, out, shown = on_a_terminal(video, "--start", 1, "--end", 3, "--out", tmp_path / "a.npz")
    assert status == 0 and "20 frames" in out and "%|" not in out
    bars = [line for line in re.split(r"[\r\n]+", shown) if "%|" in line]
    assert re.fullmatch(r" +0%\|.*\| 0/20 \[.*", bars[0])
    pattern = r" *\d+%\|.*\| \d+/20 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+(s/)? frames(/s)?\]"
    assert any(re.fullmatch(pattern, bar) for bar in bars)
    assert all(len(bar) <= 80 for bar in bars)
    assert re.split(r"\r", shown.rstrip("\r"))[-1].strip() == "", "the bar is wiped out at the end"


def test_log_lines_stand_above_the_bar(tmp_path: Path) -> None:
    for name in ("anna", "bert", "carl"):
        write_photo(tmp_path / f"{name}.jpg", scene())
    (tmp_path / "bert.jpg").write_bytes(b"no image")
    status, _, shown = on_a_terminal(tmp_path)
    assert status == 0
    (warning,) = [line for line in re.split(r"[\r\n]+", shown) if "bert.jpg" in line]
    assert warning.startswith("photo '") and warning.endswith("It is skipped.")


def test_nothing_is_shown_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4")
    process = start(video, "--out", tmp_path / "a.npz", *FAST)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "%|" not in out + err and "\r" not in out + err


class FakeTerminal:
    """A terminal that goes away after a while."""

    encoding = "utf-8"

    def __init__(self, writes: int) -> None:
        self.writes = writes
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(5, "Input/output error")
        self.text += text

    def flush(self) -> None:
        if self.writes < 0:
            raise OSError(5, "Input/output error")


def frame(number: int) -> FrameInfo:
    return FrameInfo(number, 0, number / 30)


@pytest.mark.parametrize(("length", "live"), [(None, True), (1, False)])
def test_a_live_source_and_a_single_photo_show_none(
    monkeypatch: pytest.MonkeyPatch, length: int | None, live: bool
) -> None:
    terminal = FakeTerminal(writes=99)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(length, live=live) as tell:
        assert tell is None
    assert terminal.text == ""


def test_dropped_frames_count_as_gone_by(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal(writes=9999)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    with progress(40, live=False) as tell:
        assert tell is not None
        for number in (100, 101, 119):
            time.sleep(0.2)  # tqdm draws ten times a second
            tell(frame(number))
    assert "20/40" in terminal.text


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", FakeTerminal(writes=2))
    with progress(40, live=False) as tell:
        assert tell is not None
        for number in range(4):
            time.sleep(0.2)
            tell(frame(number))
