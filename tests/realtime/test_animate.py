"""A recording of the view becomes a moving picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import PenumbraError
from realtime.animate import AnimateConfig, animate


def test_part_of_a_video_becomes_an_animation(tmp_path: Path) -> None:
    video, out = tmp_path / "view.mp4", tmp_path / "view.webp"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (160, 90))
    for i in range(40):
        writer.write(np.full((90, 160, 3), 6 * i, np.uint8))
    writer.release()
    assert animate(AnimateConfig(video, out, width=80, fps=10.0, start=0.5, end=1.5)) == 11
    with Image.open(out) as image:
        assert (image.size, image.n_frames) == ((80, 45), 11)
        first = np.asarray(image.convert("RGB"))[0, 0, 0]
    assert first == pytest.approx(60, abs=8)


def test_a_video_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="give another file"):
        animate(AnimateConfig(tmp_path / "none.mp4", tmp_path / "out.webp"))
