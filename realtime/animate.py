"""Make a small moving picture for a web page from a recording of the view.

python run_demo.py --video walk.mp4 --record view.mp4
python -m realtime.animate view.mp4 realtime/assets/view.webp --start 0.5 --end 8
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image

from engines.command import start
from engines.errors import PenumbraError
from engines.outputs import check_output

_ROUNDING_S = 0.0005  # of the time stamps, to 1 ms at worst


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
    if not capture.isOpened():
        raise PenumbraError(f"video '{config.video}': cannot be read as a video; give another one.")
    rate = float(capture.get(cv2.CAP_PROP_FPS)) or 30.0
    fps = min(config.fps, rate)
    images: list[Image.Image] = []
    for image, until_s in _displayed(capture, rate):
        while config.start + len(images) / fps <= min(until_s - _ROUNDING_S, config.end):
            images.append(_small(image, config.width))
        if until_s > config.end:
            break
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
        duration=round(1000 / fps),
        loop=0,
        quality=config.quality,
        method=6,
    )
    return len(images)


def _displayed(
    capture: cv2.VideoCapture, rate: float
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
    """Read images, each with the time until which it is displayed, that of the next one, s."""
    found, image = capture.read()
    while found:
        end_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 + 1.0 / rate  # if it is the last
        found, following = capture.read()
        yield image, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 if found else end_s
        image = following


def _small(image: UInt8[np.ndarray, "H W 3"], width: int) -> Image.Image:
    height = round(width * image.shape[0] / image.shape[1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))


def _check(config: AnimateConfig) -> None:
    check_output(config.out, "out", ".webp", force=True)
    for argument in ("width", "fps"):
        value = getattr(config, argument)
        if not value > 0:
            raise PenumbraError(f"{argument}: must be above 0, not {value:g}; ask for more.")
    if not config.video.is_file():
        raise PenumbraError(f"video '{config.video}': does not exist; check the path.")


def main(config: AnimateConfig) -> None:
    """Write the animation and say how long it is."""
    print(f"{animate(config)} frames")


if __name__ == "__main__":
    start(main, AnimateConfig)
