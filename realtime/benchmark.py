"""How long a frame takes beside MediaPipe's own `Pose`, frame by frame in turn on the same video.

    python -m realtime.benchmark VIDEO [--hypotheses 100] [--frames 300]

Ours is the whole loop after decoding: tracker, K hypotheses, moments, calibration, smoothing,
gravity and publishing. Theirs is `mediapipe.solutions.pose.Pose.process` as users call it (model
complexity 1), colour conversion included, since it wants RGB. Both follow one person. They run in
one process and take turns on every frame, so they see the same machine. Needs no GPU.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tyro.conf import Positional

from engines.command import start
from engines.errors import PenumbraError
from engines.types import LandmarkNetwork
from realtime.capture.frame import Frame
from realtime.config import RunConfig
from realtime.session import Session

WARM_UP_FRAMES = 10
"""Left out of the times, if the video is twice as long."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """Time a frame of ours beside one of MediaPipe's `Pose`."""

    video: Positional[str]
    """Video file, or folder of images."""
    hypotheses: int = 100
    """Number of bodies sampled per frame."""
    frames: int = 300
    """Stop after so many frames."""
    fit: bool = True
    """Fit the hypotheses to the visible landmarks, as in `run_demo.py`."""
    backend: str = "auto"
    """What runs our networks, as in `run_demo.py`."""
    landmarks: LandmarkNetwork = "full"
    """Our landmark network; MediaPipe's stays full."""


def compare(config: BenchmarkConfig) -> dict[str, Any]:
    """Milliseconds per frame of both, and the ratios of their medians and means.

    Raises:
        PenumbraError: The video cannot be read, or there is nothing to compare.
    """
    if config.frames < 1:
        raise PenumbraError(f"frames: must be at least 1, not {config.frames}; ask for more.")
    run = RunConfig(
        video=config.video,
        every_frame=True,
        hypotheses=config.hypotheses,
        fit=config.fit,
        backend=config.backend,
        landmarks=config.landmarks,
        endpoint="tcp://127.0.0.1:*",
        headless=True,
        max_people=1,
    )
    ours_ms: list[float] = []
    theirs_ms: list[float] = []
    process = _mediapipe()
    with Session(run) as session:
        while len(ours_ms) < config.frames and (frame := session.source.read()) is not None:
            ours_ms.append(_milliseconds(_step(session), frame))
            theirs_ms.append(_milliseconds(process, frame))
        stages = session.pipeline.timer.percentiles_ms()
        name, backend = session.source.name, session.pipeline.backend
    warm = slice(min(WARM_UP_FRAMES, len(ours_ms) // 2), None)
    ours, theirs = np.array(ours_ms[warm]), np.array(theirs_ms[warm])
    return {
        "video": Path(name).name,
        "frames": len(ours),
        "hypotheses": config.hypotheses,
        "backend": backend,
        "landmarks": config.landmarks,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
        "penumbra_ms": _summary(ours),
        "mediapipe_ms": _summary(theirs),
        "ratio_of_medians": float(np.median(ours) / np.median(theirs)),
        "ratio_of_means": float(ours.mean() / theirs.mean()),
        "stages_ms": {key: round(p50, 2) for key, (p50, _) in stages.items()},
    }


def _summary(times_ms: np.ndarray) -> dict[str, float]:
    return {
        "p50": float(np.median(times_ms)),
        "p95": float(np.percentile(times_ms, 95)),
        "mean": float(times_ms.mean()),
    }


def _step(session: Session) -> Callable[[Frame], None]:
    def step(frame: Frame) -> None:
        session.process(frame)

    return step


def _mediapipe() -> Callable[[Frame], None]:
    import mediapipe  # heavy, and only this comparison needs it

    pose = mediapipe.solutions.pose.Pose(model_complexity=1)  # pyright: ignore[reportAttributeAccessIssue]

    def process(frame: Frame) -> None:
        pose.process(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB))

    return process


def _milliseconds(step: Callable[[Frame], None], frame: Frame) -> float:
    start_s = time.perf_counter()
    step(frame)
    return 1e3 * (time.perf_counter() - start_s)


def print_comparison(config: BenchmarkConfig) -> None:
    """Print the comparison as JSON."""
    print(json.dumps(compare(config), indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    start(print_comparison, BenchmarkConfig, arguments)


if __name__ == "__main__":
    main()
