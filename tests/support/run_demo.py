"""Runs of the command as a user makes them, and small videos to run it on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import run_demo
from tests.support.paths import ROOT

QUIET = ("--headless", "--no-publish")
OFFLINE = (*QUIET, "--demo", "--every-frame")


def demo(*arguments: object, frames: int | None = None, hypotheses: int | None = None) -> int:
    """Run the demo offline in this process; the exit status."""
    return run_demo.main(words(*OFFLINE, *arguments, frames=frames, hypotheses=hypotheses))


def start_demo(
    *arguments: object, hypotheses: int | None = 4, **options: Any
) -> subprocess.Popen[str]:
    """Start the demo offline in a process of its own, its output captured."""
    return start(*OFFLINE, *arguments, hypotheses=hypotheses, **options)


def start(
    *arguments: object, hypotheses: int | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start `run_demo.py` in a process of its own, its output captured."""
    command = [sys.executable, "run_demo.py", *words(*arguments, hypotheses=hypotheses)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **(pipes | options))


def words(
    *arguments: object, frames: int | None = None, hypotheses: int | None = None
) -> list[str]:
    """The words of a command line."""
    counts = {"--max-frames": frames, "--hypotheses": hypotheses}
    extra = [word for pair in counts.items() if pair[1] is not None for word in pair]
    return [str(word) for word in (*arguments, *extra)]


def grey_video(path: Path, frames: int = 12) -> Path:
    """A video without a person."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for i in range(frames):
        writer.write(np.full((240, 320, 3), 10 * i, np.uint8))
    writer.release()
    return path


def frames_in(path: Path) -> int:
    """Number of frames of an archive, all of whose arrays can be read."""
    with np.load(path, allow_pickle=False) as data:
        arrays = dict(data)
    count = len(arrays["frame"])
    assert all(len(array) == count for name, array in arrays.items() if name != "meta")
    return count


def images_in(path: Path) -> int:
    """Number of images of a video that can be decoded."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count
