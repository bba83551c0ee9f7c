"""Make a small moving picture for a web page from a recording of the view.

python run_demo.py --video walk.mp4 --record view.mp4
python -m realtime.animate view.mp4 realtime/assets/view.webp --start 1 --end 8
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import tyro
from PIL import Image

from engines.command import start
from engines.errors import PenumbraError
from engines.outputs import check_output


@dataclass(frozen=True)
class AnimateConfig:
    """From a video to an animated WebP."""

    video: Annotated[Path, tyro.conf.Positional]
    """Recording of the view."""
    out: Annotated[Path, tyro.conf.Positional]
    """WebP file; replaced where it exists."""
    width: int = 800
    """Width, px."""
    fps: float = 8.0
    """Frames per second of the animation, at most those of the video."""
    start: float = 0.0
    """First second of the video."""
    end: float = 60.0
    """Last second of the video."""
    quality: int = 70
    """Of the compression, 0 to 100."""


def animate(config: AnimateConfig) -> int:
    """Write the animation; returns its number of frames.

    Raises:
        PenumbraError: An option is wrong, or the video cannot be read or holds nothing between
            start and end.
    """
    _check(config)
    capture = cv2.VideoCapture(str(config.video))
    rate = float(capture.get(cv2.CAP_PROP_FPS)) or 30.0
    images: list[Image.Image] = []
    number = 0
    while capture.isOpened():
        found, image = capture.read()
        if not found or number / rate > config.end:
            break
        due = config.start + len(images) / min(config.fps, rate)
        if number / rate >= due - 1e-6:
            height = round(config.width * image.shape[0] / image.shape[1])
            small = cv2.resize(image, (config.width, height), interpolation=cv2.INTER_AREA)
            images.append(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
        number += 1
    capture.release()
    if not images:
        raise PenumbraError(
            f"video '{config.video}': gives no images from {config.start:g} s to "
            f"{config.end:g} s; give another file or part."
        )
    images[0].save(
        config.out,
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / min(config.fps, rate)),
        loop=0,
        quality=config.quality,
        method=6,
    )
    return len(images)


def _check(config: AnimateConfig) -> None:
    check_output(config.out, "out", ".webp", force=True)
    for argument in ("width", "fps"):
        value = getattr(config, argument)
        if not value > 0:
            raise PenumbraError(f"{argument}: must be above 0, not {value:g}; ask for more.")


def main(config: AnimateConfig) -> None:
    """Write the animation and say how long it is."""
    print(f"{animate(config)} frames")


if __name__ == "__main__":
    start(main, AnimateConfig)
