"""The words of a command line, as a process of its own gets them, and what they ask for."""

import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import run_demo
from engines.errors import PenumbraError
from engines.types import FrameInfo
from realtime.capture import reader
from realtime.capture.frame import Frame
from realtime.config import RunConfig
from realtime.inputs import open_source, takes_every_frame
from realtime.recovery import recover
from realtime.session import Outcome, Session
from tests.support.paths import ROOT
from tests.support.photos import phone, scene, write_photo
from tests.support.run_demo import QUIET, frames_in, grey_video, images_in, start, words

FAST = (*QUIET, "--hypotheses", 4, "--landmarks", "full")


def test_a_word_without_an_option_is_the_source() -> None:
    for source in ("walk.mp4", "photos/", "rtsp://host/stream"):
        assert run_demo.parse([source, "--headless"]) == RunConfig(video=source, headless=True)
    assert run_demo.parse([]) == RunConfig()
    assert run_demo.parse(["--video", "walk.mp4"]) == run_demo.parse(["walk.mp4"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90.5", 90.5), ("1:30", 90), ("01:30.25", 90.25)),
        *(("90:00", 5400), ("1:02:03.5", 3723.5)),
    ],
)
def test_times_are_seconds_or_have_colons(text: str, seconds: float) -> None:
    config = run_demo.parse(["walk.mp4", "--start", text, f"--end={text}"])
    assert (config.start, config.end) == (seconds, seconds)


@pytest.mark.parametrize(
    "text", ["", "x", "1:", ":30", "1:60", "1:60:00", "1:2:3:4", "-3", "1e3", "nan", "٣"]
)
def test_what_is_no_time_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_demo.parse(["walk.mp4", f"--start={text}"])
    assert "is no time; write seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--recrod", "--record"),
        ("--every-fram", "--every-frame"),
        ("--Video", "--video"),
        ("--max_frame=3", "--max-frames"),
        ("--frames", "--max-frames"),
        ("--no-publsh", "--no-publish"),
        ("-out", "--out"),
    ],
)
def test_the_nearest_option_is_named(typed: str, meant: str) -> None:
    with pytest.raises(PenumbraError) as caught:
        run_demo.parse(["walk.mp4", typed])
    assert str(caught.value).endswith(f": is not an option; did you mean {meant}?")


def test_a_mistyped_option_is_one_line_of_a_real_process() -> None:
    process = start("walk.mp4", "--recrod", "view.mp4")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "run_demo.py: --recrod: is not an option; did you mean --record?\n"


def test_the_installed_command_is_the_same_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, name = scripts["penumbra"].split(":")

    def penumbra(*arguments: object) -> subprocess.CompletedProcess[str]:
        """What the script does that pip makes of the entry point."""
        code = f"import sys; from {module} import {name}; sys.exit({name}())"
        command = [sys.executable, "-c", code, *words(*arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    mistaken = penumbra("--vido", "x")
    assert mistaken.returncode == 2
    assert mistaken.stderr == "penumbra: --vido: is not an option; did you mean --video?\n"
    done = penumbra("--demo", "--max-frames", 1, *FAST)
    assert done.returncode == 0 and "demo: a person was found in 1 of 1 frames" in done.stdout
    assert penumbra("--help").stdout.startswith("usage: penumbra ")


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, False),
        ({"out": Path("a.npz")}, True),
        ({"record": Path("a.mp4")}, True),
        ({"every_frame": True}, True),
        ({"realtime": True}, False),
        ({"out": Path("a.npz"), "realtime": True}, False),
    ],
)
def test_what_is_saved_is_processed_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], whole: bool
) -> None:
    config = RunConfig(video=str(grey_video(tmp_path / "grey.mp4")), **options)
    with open_source(config) as source:
        assert takes_every_frame(config, source) is whole
        monkeypatch.setattr(type(source), "live", True)
        if not config.every_frame:
            assert takes_every_frame(config, source) is False


def test_an_archive_of_a_part_has_its_frames_and_times(tmp_path: Path) -> None:
    video, out = grey_video(tmp_path / "grey.mp4", frames=40), tmp_path / "part.npz"
    asked = words(video, "--start", "0:01", "--end", 2.5, "--out", out, *FAST)
    assert run_demo.main(asked) == 0
    with np.load(out) as data:
        assert data["frame"].tolist() == list(range(10, 25))
        np.testing.assert_allclose(data["t"], np.arange(10, 25) / 10)


def test_photos_are_archived_each_with_its_camera(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_photo(folder / "anna.jpg", scene(240, 180), tags=phone((240, 180), 50))
    (folder / "bert.jpg").write_bytes(b"no image")
    write_photo(folder / "carl.png", scene(200, 300), orientation=6)
    out = tmp_path / "photos.npz"
    assert run_demo.main(words(folder, "--out", out, *FAST)) == 0
    assert frames_in(out) == 2
    with np.load(out) as data:
        assert data["frame"].tolist() == [0, 2]
        meta = json.loads(str(data["meta"]))
    anna, carl = meta["images"]
    assert (anna["frame"], anna["file"], anna["camera"]) == (0, "anna.jpg", "EXIF")
    assert anna["image_size"] == [240, 180] and carl["image_size"] == [200, 300]
    assert anna["camera_matrix"][0][0] == pytest.approx(50 * 300 / 43.267, rel=1e-3)
    assert (carl["frame"], carl["file"], carl["camera"]) == (2, "carl.png", "assumed")
    assert "camera_matrix" not in meta


def test_a_recovered_archive_names_its_photos(tmp_path: Path) -> None:
    for name in ("anna", "bert", "carl"):
        write_photo(tmp_path / f"{name}.png", scene(240, 180))
    out, killed = tmp_path / "photos.npz", tmp_path / "killed.npz"
    config = RunConfig(video=tmp_path, headless=True, publish=False, landmarks="full", out=out)
    with Session(replace(config, max_frames=2)) as session:
        session.run()
        assert session.outputs.archive is not None
        recover(session.outputs.archive.partial, killed)
    with np.load(out) as complete, np.load(killed) as recovered:
        of_run, of_recovery = (json.loads(str(data["meta"])) for data in (complete, recovered))
    assert [image["file"] for image in of_recovery["images"]] == ["anna.png", "bert.png"]
    assert of_recovery["images"] == of_run["images"]


def test_each_photo_is_seen_through_its_own_camera(tmp_path: Path) -> None:
    for name, size in (("anna", (240, 180)), ("bert", (100, 300))):
        write_photo(tmp_path / f"{name}.png", scene(*size))
    config = RunConfig(video=str(tmp_path), headless=True, publish=False, landmarks="full")
    views = []
    with Session(config) as session:
        outcome = session.run(views.append)
    assert outcome.frames == 2
    assert [view.intrinsics.size for view in views] == [(240, 180), (100, 300)]
    assert [view.image.shape[1::-1] for view in views] == [(240, 180), (100, 300)]


def test_a_session_is_one_run_inside_its_block(tmp_path: Path) -> None:
    out = tmp_path / "grey.npz"
    config = RunConfig(video=str(grey_video(tmp_path / "grey.mp4")), publish=False, out=out)
    config = replace(config, landmarks="full", max_frames=2, force=True)
    with pytest.raises(RuntimeError, match="outside of `with session`: nothing is written"):
        Session(config).run()
    assert not out.exists()
    session = Session(config)
    with pytest.raises(RuntimeError, match="outside of `with session`"):
        session.run()
    with session:
        assert session.run().frames == 2, "the source was not touched"
        with pytest.raises(RuntimeError, match="a session is one run"):
            session.run()
    assert frames_in(out) == 2
    with pytest.raises(RuntimeError, match="a session is one run"), session:
        pass
    assert frames_in(out) == 2, "not replaced by an empty archive"


def test_a_session_that_is_not_run_can_be_closed(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4")
    config = RunConfig(video=video, landmarks="full", endpoint="tcp://127.0.0.1:*")
    for _ in range(2):  # the second finds the port free
        session = Session(config)
        assert session.publisher is not None
        config = replace(config, endpoint=session.publisher.endpoint)
        session.close()
        session.close()
        with pytest.raises(RuntimeError, match="a session is one run"), session:
            pass


def test_blas_has_one_thread_while_a_run_lasts(tmp_path: Path) -> None:
    config = RunConfig(video=grey_video(tmp_path / "grey.mp4"), publish=False, landmarks="full")

    def threads() -> int:
        return max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")

    with threadpool_limits(2, "blas"):
        session = Session(config)
        assert threads() == 2
        with session:
            assert threads() == 1
        assert threads() == 2


def test_what_can_be_looked_at_again_stays_open(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "anna.png", scene())
    video = grey_video(tmp_path / "grey.mp4")
    config = RunConfig(video=str(video), headless=True, publish=False, landmarks="full")
    config = replace(config, every_frame=True)
    for one, stays in (
        (replace(config, video=str(photo)), True),
        (config, True),
        (replace(config, max_frames=2), False),
        (replace(config, out=tmp_path / "saved.npz"), False),
    ):
        ended: list[Outcome] = []
        with Session(one) as session:
            running = threading.Thread(target=session.run, args=(None, None, ended.append))
            running.start()
            deadline = time.monotonic() + 30.0
            while running.is_alive() and not ended and time.monotonic() < deadline:
                time.sleep(0.01)
            running.join(0.3)
            assert running.is_alive() is stays is bool(ended)
            session.stop()
            running.join(30.0)
            assert not running.is_alive()


class ClosingWindow:
    """A window that its user closes after some frames."""

    frames = 2

    def __init__(self, *_: object) -> None:
        self.shown = 0
        self.closing = threading.Event()

    def show(self, _: object) -> None:
        self.shown += 1
        if self.shown == self.frames:
            self.closing.set()

    def close(self) -> None:
        self.closing.set()

    def run(self) -> None:
        assert self.closing.wait(60.0)


@pytest.mark.parametrize(("frames", "cut_short"), [(2, True), (100, False)])
def test_an_archive_says_that_the_window_was_closed_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, cut_short: bool
) -> None:
    monkeypatch.setattr("realtime.view.viewer.Viewer", ClosingWindow)
    monkeypatch.setattr(ClosingWindow, "frames", frames)
    monkeypatch.setattr(run_demo, "_why_no_window", lambda _: None)
    video, out = grey_video(tmp_path / "grey.mp4", frames=60), tmp_path / "grey.npz"
    assert run_demo.main([str(video), *map(str, FAST), "--out", str(out)]) == 0
    with np.load(out) as data:
        meta = json.loads(str(data["meta"]))
    assert meta.get("interrupted_by") == ("window closed" if cut_short else None)
    assert (meta["frames"] < 60) is cut_short


def test_what_is_saved_of_photos_is_complete_while_the_last_stays_open(tmp_path: Path) -> None:
    photo, out, record = (tmp_path / name for name in ("anna.png", "anna.npz", "anna.mp4"))
    config = RunConfig(video=write_photo(photo, scene()), publish=False, landmarks="full")
    complete: list[tuple[int, int, dict[str, Any]]] = []

    def at_end(outcome: Outcome) -> None:
        with np.load(out) as data:
            meta = json.loads(str(data["meta"]))
        complete.append((frames_in(out), images_in(record), meta))
        session.controls.seek(0.0)  # which would add a row to what is complete
        threading.Timer(0.5, session.stop).start()

    with Session(replace(config, out=out, record=record)) as session:
        session.run(None, None, at_end)
    ((frames, images, meta),) = complete
    assert frames == images == meta["frames"] == 1
    assert "fps" in meta and "interrupted_by" not in meta
    assert frames_in(out) == 1


@contextmanager
def losing_two(*options: Any) -> Iterator[Iterator[Frame]]:
    """Frames of a source that has lost two before the first one."""
    with reader.frames(*options) as stream:
        yield (replace(one, info=replace(one.info, dropped=2)) for one in stream)


def test_one_goes_back_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.session.frames", losing_two)
    video = grey_video(tmp_path / "grey.mp4")
    config = RunConfig(video=str(video), headless=True, publish=False, every_frame=True)
    outcomes: list[Outcome] = []
    seen: list[FrameInfo] = []

    def at_end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        session.controls.seek(0.0)

    def tell(frame: FrameInfo) -> None:
        seen.append(frame)
        if outcomes and frame.frame_id == 2:
            session.stop()

    with Session(replace(config, landmarks="full")) as session:
        total = session.run(None, tell, at_end)
    (outcome,) = outcomes
    once = outcome.frames
    assert total.frames == once + 3
    assert (outcome.dropped, total.dropped) == (2, 4), "those before one goes back count, too"
    assert [frame.frame_id for frame in seen] == [*range(once), 0, 1, 2]
    assert {frame.shot for frame in seen[:once]} == {0}
    assert {frame.shot for frame in seen[once:]} != {0}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("program", [["run_demo.py"], ["-m", "realtime.subscribe"]])
def test_a_reader_of_the_help_may_stop_early(program: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, *program, "--help"]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(
        command, cwd=ROOT, env=env, stdout=writing, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writing)
    assert ended.returncode == 0 and ended.stderr == b""
