"""What each further person costs: the loop with one to N people, in turn on the same frames.

    python -m tests.benchmarks.bm_people VIDEO [PEOPLE] [FRAMES]

The video, which shows one person, is laid two by two into one image; with P people in it, P of the
tiles show the video and the others a grey wall. All pipelines run in one process, in turn on every
frame, so they see the same machine. The time is that of the whole loop after decoding, without
publishing.
"""

import json
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np

from engines.types import FrameInfo
from realtime.capture.frame import Frame
from realtime.config import RunConfig
from realtime.session import Session

_WARM_UP = 10
_TILE = 360
_GREY = 150


def mosaics(video: str, people: int, frames: int) -> Iterator[list[np.ndarray]]:
    """Yield, for each frame, the image with one person, with two, ... with `people`."""
    capture = cv2.VideoCapture(video)
    for _ in range(frames):
        good, image = capture.read()
        if not good:
            return
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        tile = cv2.resize(image[top : top + side, left : left + side], (_TILE, _TILE))
        images = []
        for count in range(1, people + 1):
            canvas = np.full((2 * _TILE, 2 * _TILE, 3), _GREY, np.uint8)
            for i in range(count):
                y, x = _TILE * (i // 2), _TILE * (i % 2)
                canvas[y : y + _TILE, x : x + _TILE] = tile
            images.append(canvas)
        yield images


def main(video: str, people: int = 4, frames: int = 120) -> None:
    """Print milliseconds per frame by the number of people, and their ratios."""
    config = RunConfig(video=video, every_frame=True, landmarks="full", publish=False)
    sessions = [Session(config) for _ in range(people)]
    times: list[list[tuple[int, float]]] = [[] for _ in range(people)]
    for number, images in enumerate(mosaics(video, people, frames)):
        for session, image, row in zip(sessions, images, times, strict=True):
            frame = Frame(image, FrameInfo(number, time.monotonic_ns(), number / 30))
            start = time.perf_counter()
            result = session.pipeline(frame)
            row.append((len(result.posed), 1e3 * (time.perf_counter() - start)))
    report = {}
    for count, row in enumerate(times, 1):
        ms = [t for found, t in row[_WARM_UP:] if found == count]
        p10, p50 = (round(float(part), 2) for part in np.percentile(ms, (10, 50)))
        report[count] = {"frames": len(ms), "p10_ms": p10, "p50_ms": p50}
        stages = sessions[count - 1].pipeline.timer.percentiles_ms()
        report[count]["stages_ms"] = {k: round(a, 2) for k, (a, _) in stages.items()}
    for key in ("p10_ms", "p50_ms"):  # others on the machine disturb the quickest frames least
        values = [report[count][key] for count in range(1, people + 1)]
        report[f"ratios of {key}"] = [round(value / values[0], 2) for value in values]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))
