"""A full disk ends the output that is on it and nothing else: real small filesystems, full."""

import subprocess
import sys
from pathlib import Path

import pytest

from realtime.recovery import recover
from realtime.subscriber import Subscriber
from tests.support.paths import ROOT
from tests.support.run_demo import OFFLINE, frames_in, grey_video, images_in, start, words

FRAMES = 60
ON_SMALL_DISK = """
set -e
mount -t tmpfs -o size=$3k tmpfs "$1"
small=$1; kept=$2; shift 3
status=0; "$@" || status=$?
cp -a "$small"/. "$kept"
exit $status
"""
"""Runs a command beside a small filesystem, in a mount namespace of its own."""


def can_mount() -> bool:
    try:
        return not subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="needs mount namespaces"),
]


class SmallDisk:
    """A folder that is a small filesystem for the command, and what was left on it."""

    def __init__(self, folder: Path, kilobytes: int = 1024) -> None:
        self.kilobytes = kilobytes
        self.path = folder / "small"
        self.left = folder / "left"
        self.path.mkdir()
        self.left.mkdir()

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        places = (str(self.path), str(self.left), str(self.kilobytes))
        run = [sys.executable, "run_demo.py", *words(*arguments, frames=FRAMES)]
        command = ["unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", *places, *run]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        process = self.start(*arguments)
        printed, said = process.communicate(timeout=300)
        assert "Traceback" not in said
        return process.returncode, printed, said


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    return SmallDisk(tmp_path)


def test_a_full_archive_ends_neither_the_stream_nor_the_recording(
    disk: SmallDisk, tmp_path: Path
) -> None:
    endpoint, record = "tcp://127.0.0.1:5598", tmp_path / "view.mp4"
    run = ("--demo", "--every-frame", "--headless", "--endpoint", endpoint, "--record", record)
    with Subscriber(endpoint, latest_only=False, timeout_s=120) as subscriber:
        process = disk.start(*run, "--out", disk.path / "walk.npz")
        last = subscriber.recv().seq
        while last < FRAMES - 1:
            last = subscriber.recv().seq
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 3 and "Traceback" not in said
    sentences = [line for line in said.splitlines() if line.startswith("--out")]
    assert sentences and "No space left" in sentences[0]
    assert images_in(record) == FRAMES
    (partial,) = disk.left.glob("*.partial")
    assert 10 < recover(partial, tmp_path / "walk.npz")[1] < FRAMES
    assert 10 < frames_in(tmp_path / "walk.npz") < FRAMES


def test_a_full_recording_does_not_end_the_archive(tmp_path: Path) -> None:
    disk, out = SmallDisk(tmp_path, kilobytes=256), tmp_path / "walk.npz"
    status, _, said = disk.run(*OFFLINE, "--out", out, "--record", disk.path / "view.mp4")
    assert status == 3 and said.count("--record: ") == 1
    assert frames_in(out) == FRAMES
    assert 0 < images_in(disk.left / "view.mp4") < FRAMES


def test_a_run_whose_only_output_failed_ends(disk: SmallDisk, tmp_path: Path) -> None:
    video = grey_video(tmp_path / "grey.mp4", FRAMES)
    run = ("--video", video, "--every-frame", "--headless", "--no-publish")
    status, printed, _ = disk.run(*run, "--out", disk.path / "walk.npz")
    assert status == 3 and int(printed.split(" frames in ")[0].split()[-1]) < FRAMES


def test_a_full_disk_behind_stdout_does_not_end_the_run(tmp_path: Path) -> None:
    out = tmp_path / "walk.npz"
    with Path("/dev/full").open("w") as full:
        process = start(*OFFLINE, "--out", out, "--max-frames", 3, stdout=full)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 3 and "stdout: cannot be written" in said
    assert "Traceback" not in said and frames_in(out) == 3
