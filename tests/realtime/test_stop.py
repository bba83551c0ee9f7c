"""Signals end a run in order: real ones, at real moments, to real processes."""

import contextlib
import http.server
import json
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.photos import scene, write_photo
from tests.support.run_demo import QUIET, frames_in, images_in, start, start_demo
from tests.support.videos import jpeg

pytestmark = pytest.mark.slow  # every test starts the program, most of them twice

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ENDLESS = """
from realtime.process import StopSignals
import time
import urllib.request
signals = StopSignals()
signals.stop_in_order(lambda reason: print("asked by", reason, flush=True), lambda: ["unfinished"])
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""
"""A run that hears of the stop but does not end."""


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until the process catches SIGTERM: what came before was the interpreter's own start."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return


def wait_for_frames(process: subprocess.Popen[str], folder: Path, size: int = 50_000) -> None:
    """Wait until the archive's scratch file has grown."""
    while process.poll() is None:
        if any(path.stat().st_size > size for path in folder.glob("*.partial")):
            return
        time.sleep(0.02)


def end(process: subprocess.Popen[str], *numbers: int, pause_s: float = 0.0) -> tuple[str, float]:
    """Send signals; what the process said on stderr, and how long it lived on."""
    start_s = time.monotonic()
    for number in numbers:
        if process.poll() is None:
            process.send_signal(number)
        time.sleep(pause_s)
    said = process.communicate(timeout=120)[1]
    assert "Traceback" not in said and "Error" not in said, said
    return said, time.monotonic() - start_s


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_completes_what_was_asked_for(number: signal.Signals, tmp_path: Path) -> None:
    out, record = tmp_path / "walk.npz", tmp_path / "view.mp4"
    process = start_demo("--out", out, "--record", record)
    wait_for_frames(process, tmp_path)
    said, _ = end(process, number)
    assert process.returncode == 128 + number and "stopped" in said
    assert 0 < frames_in(out) <= 300 and images_in(record) > 0
    with np.load(out) as data:
        assert json.loads(str(data["meta"]))["interrupted_by"] == number.name
        assert data["found"].any()
    assert {path.name for path in tmp_path.iterdir()} == {"walk.npz", "view.mp4"}


def test_a_closing_terminal_sends_its_signal_several_times(tmp_path: Path) -> None:
    process = start_demo("--out", tmp_path / "walk.npz")
    wait_for_frames(process, tmp_path)
    end(process, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, pause_s=0.02)
    assert process.returncode == 128 + signal.SIGHUP
    assert frames_in(tmp_path / "walk.npz") > 0


def test_a_signal_at_any_moment_leaves_whole_files_or_none(tmp_path: Path) -> None:
    """From the first import to the last file, which take some two seconds on a quiet machine."""
    rng = random.Random(0)
    start_s = time.monotonic()
    process = start_demo("--out", tmp_path / "whole.npz", "--max-frames", 8)
    process.communicate(timeout=120)
    whole_s = time.monotonic() - start_s
    for trial in range(10):
        folder = tmp_path / str(trial)
        folder.mkdir()
        run = ("--out", folder / "walk.npz", "--record", folder / "view.mp4", "--max-frames", 8)
        process = start_demo(*run)
        wait_for_handlers(process)
        time.sleep(rng.uniform(0, 1.2 * whole_s))
        end(process, rng.choice(STOP_SIGNALS))
        assert process.returncode in (0, 129, 130, 143)
        names = {path.name for path in folder.iterdir()}
        assert names <= {"walk.npz", "view.mp4"}, (trial, names)
        assert "walk.npz" not in names or frames_in(folder / "walk.npz") >= 0
        assert process.returncode != 0 or frames_in(folder / "walk.npz") == 8


def test_imports_are_no_place_for_tracebacks() -> None:
    for trial in range(8):
        process = start_demo("--max-frames", 1)
        wait_for_handlers(process)
        time.sleep(0.05 * trial)
        said, elapsed_s = end(process, signal.SIGINT)
        assert process.returncode == 130 and said.endswith("stopped\n") and elapsed_s < 5


def test_a_second_signal_ends_at_once_and_tells_what_is_left() -> None:
    command = [sys.executable, "-c", ENDLESS]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked by SIGTERM\n"
    time.sleep(0.5)
    assert process.poll() is None
    said, _ = end(process, signal.SIGINT)
    assert process.returncode == 130 and said == "unfinished\nstopped\n"


def test_a_second_signal_loses_no_frame(tmp_path: Path) -> None:
    """The process is stopped by a debugger's signal between two others, as a slow disk would do."""
    out = tmp_path / "walk.npz"
    process = start_demo("--out", out)
    wait_for_frames(process, tmp_path, 200_000)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    if not out.exists():
        (left,) = tmp_path.glob("*.partial")
        recover = [
            sys.executable,
            "-m",
            "realtime.archive",
            "recover",
            str(left),
            "--out",
            str(out),
        ]
        subprocess.run(recover, cwd=ROOT, check=True)
    assert frames_in(out) > 0


def test_signals_that_the_parent_ignores_stay_ignored(tmp_path: Path) -> None:
    """As `nohup` does."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start_demo("--out", tmp_path / "walk.npz", preexec_fn=ignore)
    wait_for_frames(process, tmp_path)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    end(process, signal.SIGTERM)
    assert process.returncode == 143


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_who_has_seen_enough_is_no_error(lines: int, tmp_path: Path) -> None:
    """As `| true` and `| head -1` do; what goes into files is still written."""
    process = start_demo("--max-frames", 2, "--out", tmp_path / "walk.npz")
    assert process.stdout is not None and process.stderr is not None
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 0 and "Error" not in said and "Traceback" not in said
    process.stderr.close()
    assert frames_in(tmp_path / "walk.npz") == 2


def test_ctrl_c_in_the_window_closes_nothing_under_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import run_demo
    from realtime.view import display, viewer

    class Window:
        """Shows a few frames; then the user presses Ctrl-C in the terminal."""

        def __init__(self, body: object, controls: object) -> None:
            self.shown = threading.Semaphore(0)

        def show(self, frame: object) -> None:
            self.shown.release()

        def run(self) -> None:
            for _ in range(3):
                assert self.shown.acquire(timeout=60)
            raise KeyboardInterrupt

        def close(self) -> None:
            pass

    monkeypatch.setattr(display, "why_no_window", lambda: None)
    monkeypatch.setattr(viewer, "Viewer", Window)
    out = tmp_path / "out.npz"
    assert run_demo.main(["--demo", "--no-publish", "--hypotheses", "2", "--out", str(out)]) == 130
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"pipeline", "capture"}
    assert frames_in(out) >= 3
    with np.load(out) as data:
        meta = json.loads(str(data["meta"]))
    assert meta["interrupted_by"] == "KeyboardInterrupt"
    assert meta["fps"] > 0 and "camera_matrix" in meta


class StallingCamera:
    """An HTTP camera that sends a few images and then nothing, without closing the connection."""

    def __init__(self, images: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader has gone
                    for number in range(images):
                        image = jpeg(number)
                        head = f"--b\r\nContent-Length: {len(image)}\r\n\r\n"
                        self.wfile.write(head.encode() + image + b"\r\n")
                        time.sleep(0.05)
                closed.wait()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._closed = closed = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/stream"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(params=[5, 200], ids=["stalled", "live"])
def camera(request: pytest.FixtureRequest) -> Iterator[StallingCamera]:
    camera = StallingCamera(request.param)
    yield camera
    camera.close()


def test_a_stalled_read_does_not_hold_up_the_end(camera: StallingCamera, tmp_path: Path) -> None:
    out, record = tmp_path / "walk.npz", tmp_path / "view.mp4"
    process = start("--video", camera.address, *QUIET, "--out", out, "--record", record)
    wait_for_frames(process, tmp_path, 0)
    time.sleep(1.5)
    said, elapsed_s = end(process, signal.SIGTERM)
    assert process.returncode == 143, said
    assert frames_in(out) > 0 and images_in(record) > 0
    assert elapsed_s < 3, "one second on a machine that does nothing else"


@pytest.mark.parametrize("kind", ["video", "photo"])
def test_the_last_frame_stays_in_browsers_until_ctrl_c(tmp_path: Path, kind: str) -> None:
    """A run that is complete is no interrupted one: its files are there, its status is 0."""
    out = tmp_path / "walk.npz"
    source: tuple[object, ...] = ("--demo", "--every-frame", "--max-frames", 3)
    if kind == "photo":
        source = (write_photo(tmp_path / "a.png", scene()),)
    words = (*source, "--no-publish", "--landmarks", "full", "--out", out)
    process = start(*words, "--viewer", "web", "--web-port", 0, hypotheses=4)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    stays = next(line for line in lines if line.startswith("The last frame stays at http://127"))
    assert frames_in(out) == (3 if kind == "video" else 1)
    with urllib.request.urlopen(stays.split()[5].rstrip(";"), timeout=30) as page:
        assert page.status == 200
    end(process, signal.SIGINT)
    assert process.returncode == 0


def test_ctrl_c_ends_a_run_that_browsers_watch() -> None:
    process = start("--demo", "--no-publish", "--viewer", "web", "--web-port", 0, hypotheses=4)
    assert process.stdout is not None
    assert any(line.startswith("view: ") for line in iter(process.stdout.readline, ""))
    said, elapsed_s = end(process, signal.SIGINT)
    assert process.returncode == 130 and said.endswith("stopped\n") and elapsed_s < 30
