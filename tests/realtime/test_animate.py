"""A recording of the view becomes a moving picture."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import PenumbraError
from realtime.animate import AnimateConfig, animate
from tests.support.paths import ROOT
from tests.support.run_demo import grey_video
from tests.support.videos import with_variable_rate


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


def test_an_animation_keeps_the_pace_of_a_video_whose_rate_varies(tmp_path: Path) -> None:
    video, out = grey_video(tmp_path / "grey.mp4"), tmp_path / "view.webp"
    video.write_bytes(with_variable_rate(video.read_bytes(), (4, 3, 5), (1, 9, 2)))
    assert animate(AnimateConfig(video, out, width=80, fps=2.0, end=3.5)) == 8
    levels = []
    with Image.open(out) as image:
        for i in range(image.n_frames):
            image.seek(i)
            levels += [image.convert("L").getpixel((0, 0))] * round(image.info["duration"] / 500)
    # The images are displayed from 0.0, 0.1, 0.2, 0.3, 0.4, 1.3, 2.2, 3.1, 3.3 and 3.5 s on.
    np.testing.assert_allclose(levels, [0, 40, 40, 50, 50, 60, 60, 90], atol=4)


def test_what_cannot_be_animated_is_a_sentence(tmp_path: Path) -> None:
    video, out, text = tmp_path / "none.mp4", tmp_path / "out.webp", tmp_path / "text.mp4"
    text.write_text("no video")
    grey = grey_video(tmp_path / "grey.mp4")
    for config, sentence in (
        (AnimateConfig(video, out), "none.mp4': does not exist; check the path"),
        (AnimateConfig(text, out), "text.mp4': cannot be read as a video"),
        (AnimateConfig(grey, out, start=50.0), "gives no images from 50 s"),
        (AnimateConfig(video, tmp_path / "out.gif"), "^out: .* does not end in .webp"),
        (AnimateConfig(video, tmp_path / "no" / "out.webp"), "^out: .* cannot be written"),
        (AnimateConfig(video, out, fps=0.0), "^fps: must be above 0"),
        (AnimateConfig(video, out, width=0), "^width: must be above 0"),
    ):
        with pytest.raises(PenumbraError, match=sentence):
            animate(config)


def test_the_command_fails_with_a_sentence(tmp_path: Path) -> None:
    words = ["-m", "realtime.animate", tmp_path / "none.mp4", tmp_path / "out.webp"]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("video ") and ended.stderr.count("\n") == 1
