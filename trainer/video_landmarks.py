"""Run the landmark network on unlabelled video, for training without ground truth.

    python -m trainer.video_landmarks --videos a.mp4 b.mp4 --out runs/video

With `python -m trainer.train --unlabelled runs/video` the landmarks supervise as under `2d-vis` in
MHEntropy: visible 2D, prior, entropy. The method thus learns to explain real images, too, and gets
no answer to copy for what is occluded.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines.blazepose.heavy import named
from engines.blazepose.tracker import open_tracker
from engines.errors import PenumbraError, check_at_least
from engines.types import LandmarkNetwork
from trainer.command import start
from trainer.data.unlabelled import track_video


@dataclass(frozen=True)
class VideoConfig:
    """Which videos to read."""

    videos: tuple[Path, ...]
    out: Path = Path("runs/video")
    every: int = 2
    """Keep one frame in so many."""
    landmarks: LandmarkNetwork | None = None
    """Landmark network; None is that of `landmarks_file`, or full."""
    landmarks_file: Path | None = None
    """Local copy of a landmark network, instead of npm's heavy one."""


def main(config: VideoConfig) -> None:
    """Track the person through every video and store the landmarks.

    Raises:
        PenumbraError: a video cannot be read, two have the same name, or `every` is too small.
    """
    check_at_least(1, config, "every")
    stems = Counter(video.stem for video in config.videos)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise PenumbraError(
            f"--videos: several are called {twice[0]}, as their shards would be; rename all but"
            " one."
        )
    tracker = open_tracker(network=named(config.landmarks, config.landmarks_file))
    config.out.mkdir(parents=True, exist_ok=True)
    for video in tqdm(config.videos, unit="video"):
        records = track_video(video, tracker, config.every)
        if records:
            stacked = {key: np.stack([record[key] for record in records]) for key in records[0]}
            np.savez(config.out / f"{video.stem}.npz", **stacked)
        print(f"{video.name}: {len(records)} images with a person")


if __name__ == "__main__":
    start(main, VideoConfig)
