"""Parts of recordings: the frames between two times, under the numbers they have in the file."""

from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture import recordings
from realtime.capture.excerpt import Excerpt
from realtime.capture.sources import Recording, open_video
from tests.support.videos import (
    jpeg,
    number_in,
    read_all,
    with_variable_rate,
    write_images,
    write_video,
)

FPS = 25.0


def excerpt(path: Path, start_s: float | None = None, end_s: float | None = None) -> Excerpt:
    source = open_video(str(path))
    assert isinstance(source, Recording)
    return Excerpt(source, start_s, end_s)


@pytest.fixture(params=["mp4", "avi", "mkv", "mjpeg", "folder", "variable"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Forty numbered frames in each kind of recording."""
    kind = request.param
    if kind == "folder":
        return write_images(tmp_path / "f", [f"frame_{i}.png" for i in range(40)])
    path = tmp_path / f"a.{kind}"
    if kind == "mjpeg":
        path.write_bytes(b"".join(jpeg(i) for i in range(40)))
    elif kind == "variable":
        path = write_video(tmp_path / "a.mp4")
        path.write_bytes(with_variable_rate(path.read_bytes(), (10, 10, 15, 5), (1, 4, 1, 10)))
    else:
        write_video(path, codec="MJPG" if kind == "avi" else "mp4v")
    return path


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.5, None), (None, 0.5), (0.41, 0.83), (0.4, 0.44), (0, 1e6), (1.2, 2)]
)
def test_an_excerpt_is_what_the_whole_has_between_two_times(
    recording: Path, start_s: float | None, end_s: float | None
) -> None:
    whole, _ = read_all(open_video(str(recording)))
    expected = [
        (frame.info.frame_id, frame.info.media_time_s)
        for frame in whole
        if (start_s or 0) <= frame.info.media_time_s + 1e-4 < (end_s or 1e9)
    ]
    got, error = read_all(excerpt(recording, start_s, end_s))
    assert error is None and expected
    assert [(f.info.frame_id, f.info.media_time_s) for f in got] == expected
    assert [number_in(frame.image) for frame in got] == [number for number, _ in expected]


def test_the_rate_of_the_variable_video_varies(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    path.write_bytes(with_variable_rate(path.read_bytes(), (10, 10, 15, 5), (1, 4, 1, 10)))
    frames, _ = read_all(open_video(str(path)))
    steps = np.diff([frame.info.media_time_s for frame in frames]) * FPS
    assert steps.round(2).tolist() == [1] * 10 + [4] * 10 + [1] * 15 + [10] * 4


def test_a_start_behind_the_end_says_how_long_it_is(recording: Path) -> None:
    with pytest.raises(PenumbraError, match=r"^start: 99 s is behind the end of '"):
        excerpt(recording, 99.0)


def test_the_length_is_said_where_it_is_known(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    with pytest.raises(PenumbraError, match=r"which is 1\.6 s long"):
        excerpt(path, 2.0)
    assert excerpt(path, 0.4, 0.8).length == 10
    assert excerpt(path, 0.4).length == 30 and excerpt(path, None, 9.0).length == 40


def test_a_recording_can_be_gone_through_in_any_order(recording: Path) -> None:
    whole, _ = read_all(open_video(str(recording)))
    with open_video(str(recording)) as source:
        assert isinstance(source, Recording)
        shot = -1
        for number in (30, 3, 39, 0, 17, 18):
            source.seek(whole[number].info.media_time_s)
            frame = source.read()
            assert frame is not None and number_in(frame.image) == number
            assert frame.info.frame_id == number
            assert frame.info.media_time_s == pytest.approx(whole[number].info.media_time_s)
            assert frame.info.shot != shot
            shot = frame.info.shot
        after = source.read()
        assert after is not None and number_in(after.image) == 19 and after.info.shot == shot
        source.seek(1e6)
        assert source.read() is None


def test_the_beginning_of_a_late_part_is_not_decoded(tmp_path: Path, monkeypatch) -> None:
    path = write_video(tmp_path / "a.mp4", count=400)
    source = open_video(str(path))
    decoded: list[int] = []
    read = recordings.VideoFile.read

    def counted(self: recordings.VideoFile):
        decoded.append(1)
        return read(self)

    monkeypatch.setattr(recordings.VideoFile, "read", counted)
    assert isinstance(source, Recording)
    frames, _ = read_all(Excerpt(source, 15.0, None))
    assert [number_in(frame.image) for frame in frames] == list(range(375, 400))
    assert len(decoded) == 26


@pytest.mark.parametrize("fault", ["no stamps", "lost"])
def test_without_time_stamps_the_beginning_is_decoded(
    tmp_path: Path, monkeypatch, fault: str
) -> None:
    name = "display_times" if fault == "no stamps" else "land"
    monkeypatch.setattr(recordings, name, lambda *_: None)
    source = open_video(str(write_video(tmp_path / "a.mp4")))
    assert isinstance(source, Recording)
    for number in (20, 21, 4):
        source.seek(number / FPS)
        frame = source.read()
        assert frame is not None and number_in(frame.image) == frame.info.frame_id == number
        assert frame.info.media_time_s == pytest.approx(number / FPS)
