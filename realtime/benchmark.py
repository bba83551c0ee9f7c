"""How long a frame takes beside MediaPipe's own `Pose`, on the same video, in the same process,
frame by frame in turn.

    python -m realtime.benchmark VIDEO [--hypotheses 100] [--frames 300]

Ours is the whole loop after decoding: tracker, K hypotheses, moments, calibration, smoothing and
publishing. Theirs is `mediapipe.solutions.pose.Pose.process` as users call it (model complexity 1),
colour conversion included, since it wants RGB. Taking turns on every frame gives both the same
machine. Needs no GPU.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from engines.errors import PenumbraError
from realtime.capture.frame import Frame
from realtime.config import RunConfig
from realtime.session import Session


def compare(video: str, hypotheses: int, frames: int, backend: str) -> dict[str, Any]:
    """Milliseconds a frame of both, and the ratio of their medians and of their sums."""
    if frames < 1:
        raise PenumbraError(f"--frames must be at least 1, not {frames}.")
    config = RunConfig(
        source=video,
        every_frame=True,
        hypotheses=hypotheses,
        backend=backend,
        endpoint="tcp://127.0.0.1:*",
        headless=True,
    )
    ours, theirs = [], []
    process = _mediapipe()
    with Session(config) as session:
        while len(ours) < frames and (frame := session.source.read()) is not None:
            ours.append(_milliseconds(_step(session), frame))
            theirs.append(_milliseconds(process, frame))
        stages = session.pipeline.timer.percentiles_ms()
        name = session.pipeline.backend
    warm = slice(min(10, len(ours) // 2), None)
    a, b = np.array(ours[warm]), np.array(theirs[warm])
    return {
        "video": os.path.basename(session.source.name),
        "frames": len(a),
        "hypotheses": hypotheses,
        "backend": name,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
        "penumbra_ms": {
            "p50": float(np.median(a)),
            "p95": float(np.percentile(a, 95)),
            "mean": float(a.mean()),
        },
        "mediapipe_ms": {
            "p50": float(np.median(b)),
            "p95": float(np.percentile(b, 95)),
            "mean": float(b.mean()),
        },
        "ratio_of_medians": float(np.median(a) / np.median(b)),
        "ratio_of_means": float(a.mean() / b.mean()),
        "stages_ms": {key: round(p50, 2) for key, (p50, _) in stages.items()},
    }


def _step(session: Session) -> Callable[[Frame], None]:
    def step(frame: Frame) -> None:
        session.deliver(frame, session.pipeline(frame), None)

    return step


def _mediapipe() -> Callable[[Frame], None]:
    import mediapipe  # heavy, and only the rival needs it

    pose = mediapipe.solutions.pose.Pose(model_complexity=1)  # pyright: ignore[reportAttributeAccessIssue]

    def process(frame: Frame) -> None:
        pose.process(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB))

    return process


def _milliseconds(step: Callable[[Frame], None], frame: Frame) -> float:
    start = time.perf_counter()
    step(frame)
    return 1e3 * (time.perf_counter() - start)


def main(argv: list[str] | None = None) -> int:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video")
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args(argv)
    try:
        print(
            json.dumps(
                compare(options.video, options.hypotheses, options.frames, options.backend),
                indent=2,
            )
        )
    except PenumbraError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
