"""What a run cannot choose: closed streams, hostile names, a second run, folders that vanish."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.run_demo import (
    OFFLINE,
    frames_in,
    grey_video,
    images_in,
    start,
    start_demo,
)

pytestmark = pytest.mark.slow  # every test starts the program, most of them twice

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
HOSTILE = "walk\x1b]0;owned\x07\x1b[2J\nrun_demo.py: all is well\u202e\x9b"
"""A name that would steer the terminal, and fake a line."""


def close(*descriptors: int) -> Callable[[], None]:
    def action() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return action


@pytest.mark.parametrize("descriptors", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_do_not_end_up_in_the_outputs(
    descriptors: tuple[int, ...], tmp_path: Path
) -> None:
    out, record = tmp_path / "walk.npz", tmp_path / "view.mp4"
    run = ("--out", out, "--record", record, "--max-frames", 3)
    process = start_demo(*run, preexec_fn=close(*descriptors))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in said
    assert frames_in(out) == 3 and images_in(record) == 3


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4", 3)
    named = video.rename(tmp_path / f"{HOSTILE}.mp4")
    run = ("--every-frame", "--headless", "--endpoint", "tcp://127.0.0.1:*")
    for path, status in ((named, 0), (f"{named}x", 2)):
        process = start("--video", path, *run)
        printed, said = process.communicate(timeout=120)
        assert process.returncode == status
        assert not CONTROL.search(printed + said)
        assert sum(line.startswith("run_demo.py: ") for line in said.splitlines()) == (status == 2)


def test_a_name_need_not_be_text(tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4", 3)
    odd = os.fsencode(tmp_path) + b"/odd-\xff\xfe"
    os.mkdir(odd)
    out = os.fsdecode(odd + b"/walk.npz")
    run = ("--every-frame", "--headless", "--endpoint", "tcp://127.0.0.1:*", "--out", out)
    process = start("--video", video, *run)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert frames_in(Path(out)) == 3
    process = start("--video", video, *run)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in said and "exists already" in said


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_second_run_with_the_same_outputs_is_refused(
    force: tuple[str, ...], tmp_path: Path
) -> None:
    out, record = tmp_path / "walk.npz", tmp_path / "view.mp4"
    first = start_demo("--out", out, "--record", record)
    while not record.exists() and first.poll() is None:
        time.sleep(0.05)
    for run in (("--out", out), ("--record", record)):
        second = start_demo(*run, *force)
        _, said = second.communicate(timeout=120)
        (sentence,) = (line for line in said.splitlines() if line.startswith("run_demo.py: "))
        assert second.returncode == 2 and f"{run[0]}:" in sentence
    assert first.poll() is None, "it would have to be longer"
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
    assert first.returncode == 143 and frames_in(out) > 0 and images_in(record) > 0
    assert {path.name for path in tmp_path.iterdir()} == {"walk.npz", "view.mp4"}


def test_a_run_after_a_killed_one_is_not_refused(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    first = start_demo("--out", out)
    while not any(path.stat().st_size > 50_000 for path in tmp_path.glob("*.partial")):
        time.sleep(0.02)
    first.kill()
    first.communicate()
    (left,) = tmp_path.iterdir()
    kept = left.read_bytes()
    second = start_demo("--out", out, "--max-frames", 2)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0 and left.name in said
    assert frames_in(out) == 2 and left.read_bytes() == kept


def test_a_folder_that_is_removed_is_said_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    process = start_demo("--out", folder / "walk.npz", "--max-frames", 30)
    while not any(path.stat().st_size > 10_000 for path in folder.glob("*.partial")):
        time.sleep(0.02)
    shutil.rmtree(folder)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3 and "walk.npz" in said and "Traceback" not in said


def test_a_socket_of_the_stream_is_no_output(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    run = [word for word in OFFLINE if word != "--no-publish"]
    process = start(*run, "--endpoint", f"ipc://{path}", "--out", path, "--force")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "--out: " in said
