"""Frames and frame rate of a video file."""

from pathlib import Path

import pytest

from engines.errors import PenumbraError
from tests.support.videos import number_in, write_video
from trainer.data.video_reader import frame_rate, read_frames


def test_every_frame_is_read_and_the_rate_is_the_files(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", count=7, fps=60.0)
    assert [number_in(image) for image in read_frames(video, "folders")] == list(range(7))
    assert frame_rate(video, "folders") == pytest.approx(60.0)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    for path in (tmp_path / "b.mp4", tmp_path / "none.mp4"):
        with pytest.raises(PenumbraError, match=r"folders: .* is it a video file\?"):
            frame_rate(path, "folders")
        with pytest.raises(PenumbraError, match=r"folders: cannot read"):
            list(read_frames(path, "folders"))
