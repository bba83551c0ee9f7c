"""Every kind of source on this machine, and real faults: files cut in two."""

import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture.cameras import CameraInfo, find_camera, lasting_spec, list_cameras
from realtime.capture.container import MediaClock
from realtime.capture.sources import open_camera, open_video
from tests.support.paths import ROOT
from tests.support.videos import (
    SIZE,
    boxes,
    jpeg,
    number_in,
    numbered_image,
    read_all,
    with_index_first,
    write_images,
    write_video,
)


def refusal(spec: Path | str) -> str:
    with pytest.raises(PenumbraError) as caught:
        open_video(str(spec))
    message = str(caught.value)
    assert str(spec) in message and "\n" not in message
    return message


# ---- video files


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_video_gives_every_frame_with_its_time(tmp_path, name, codec):
    source = open_video(str(write_video(tmp_path / name, codec=codec)))
    assert (source.live, source.fps, source.size) == (False, 25.0, SIZE)
    got, error = read_all(source)
    assert error is None
    assert [number_in(frame.image) for frame in got] == list(range(40))
    assert [frame.info.frame_id for frame in got] == list(range(40))
    np.testing.assert_allclose(
        [frame.info.media_time_s for frame in got], np.arange(40) / 25.0, atol=1e-6
    )
    assert all(a.info.t_capture_ns < b.info.t_capture_ns for a, b in pairwise(got))
    assert got[0].image.dtype == np.uint8 and got[0].image.shape == (SIZE[1], SIZE[0], 3)


def test_portrait_video_of_a_phone_is_turned_upright(tmp_path):
    data = bytearray(write_video(tmp_path / "a.mp4").read_bytes())
    at = data.find(b"tkhd") + 4 + 40  # the display matrix in a version 0 track header
    clockwise = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # a quarter turn
    data[at : at + 36] = struct.pack(">9i", *clockwise)
    (tmp_path / "turned.mp4").write_bytes(data)
    with open_video(str(tmp_path / "turned.mp4")) as source:
        assert source.size == SIZE[::-1]
        for i in range(4):
            frame = source.read()
            assert frame is not None
            assert number_in(cv2.rotate(frame.image, cv2.ROTATE_90_COUNTERCLOCKWISE)) == i


def test_missing_and_empty_files(tmp_path):
    assert "does not exist" in refusal(tmp_path / "missing.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refusal(tmp_path / "empty.mp4")


def test_noise_is_not_a_video(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "cannot be read as a video" in refusal(tmp_path / "noise.mp4")


@pytest.mark.parametrize("cut_at_box", [False, True])
def test_video_without_its_index_is_called_truncated(tmp_path, cut_at_box):
    data = write_video(tmp_path / "a.mp4").read_bytes()
    end = len(data) - len(boxes(data)[b"moov"]) if cut_at_box else len(data) // 2
    (tmp_path / "cut.mp4").write_bytes(data[:end])
    assert "truncated" in refusal(tmp_path / "cut.mp4")


def test_header_without_any_frame(tmp_path):
    data = with_index_first(write_video(tmp_path / "a.mp4").read_bytes())
    (tmp_path / "cut.mp4").write_bytes(data[: data.find(b"mdat") + 4])
    assert "truncated" in refusal(tmp_path / "cut.mp4")


@pytest.mark.parametrize("container", ["mp4", "avi"])
def test_cut_video_gives_its_frames_then_the_reason(tmp_path, container):
    data = write_video(
        tmp_path / f"a.{container}", codec="mp4v" if container == "mp4" else "MJPG"
    ).read_bytes()
    data = with_index_first(data) if container == "mp4" else data
    start = data.find(b"mdat" if container == "mp4" else b"movi")
    (tmp_path / f"cut.{container}").write_bytes(data[: (start + len(data)) // 2])
    got, error = read_all(open_video(str(tmp_path / f"cut.{container}")))
    assert 5 < len(got) < 40
    # The last frame may itself be cut; all before it are whole.
    assert [number_in(frame.image) for frame in got[:-1]] == list(range(len(got) - 1))
    assert error is not None and f"truncated: it ends after {len(got)} of 40 frames" in str(error)


def test_whole_file_that_promises_more_frames_only_warns(tmp_path, caplog):
    data = bytearray(write_video(tmp_path / "a.avi", codec="MJPG").read_bytes())
    for header, offset in (
        (b"avih", 8 + 16),
        (b"strh", 8 + 32),
    ):  # the number of frames, in both headers
        at = data.find(header) + offset
        assert struct.unpack("<I", data[at : at + 4]) == (40,)
        data[at : at + 4] = struct.pack("<I", 90)
    (tmp_path / "more.avi").write_bytes(data)
    got, error = read_all(open_video(str(tmp_path / "more.avi")))
    assert (len(got), error) == (40, None)
    assert "ends after 40 of about 90 frames" in caplog.text


def test_video_without_time_stamps_is_timed_by_its_frame_rate(tmp_path, caplog):
    jpegs = [jpeg(i) for i in range(10)]
    (tmp_path / "raw.mjpeg").write_bytes(b"".join(jpegs))
    got, error = read_all(open_video(str(tmp_path / "raw.mjpeg")))
    assert error is None and [number_in(frame.image) for frame in got] == list(range(10))
    np.testing.assert_allclose(np.diff([frame.info.media_time_s for frame in got]), 1 / 25)
    assert "time stamps are missing" in caplog.text


def test_media_clock_is_strictly_increasing_whatever_the_container_says():
    clock = MediaClock("x", fps=10.0)
    assert [clock.stamp(0.0) for _ in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    clock = MediaClock("x", fps=10.0)
    assert [clock.stamp(bad) for bad in (float("nan"), -3.7e20, float("inf"))] == pytest.approx(
        [0.0, 0.1, 0.2]
    )
    clock = MediaClock("x", fps=10.0)  # variable frame rate is kept, a step back is not
    stamps = [clock.stamp(ms) for ms in (0.0, 33.0, 99.0, 50.0, -7.0, 500.0)]
    assert stamps == pytest.approx([0.0, 0.033, 0.099, 0.199, 0.299, 0.5])


def test_bad_files_leave_stderr_clean(tmp_path):
    """OpenCV and FFmpeg write to the file descriptor, so a process of its own has to watch."""
    data = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "late.mp4").write_bytes(with_index_first(data)[: len(data) * 2 // 3])
    code = (
        "import sys\n"
        "from engines.errors import PenumbraError\n"
        "from realtime.capture.sources import open_video\n"
        "for spec in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_video(spec) as source:\n"
        "            while source.read(): pass\n"
        "    except PenumbraError as error: print(error)\n"
    )
    specs = [str(tmp_path / "cut.mp4"), str(tmp_path / "late.mp4"), "99"]
    done = subprocess.run(
        [sys.executable, "-c", code, *specs], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.count("\n") == 3 and done.stderr == ""


# ---- folders


def test_folder_in_natural_order_at_a_fixed_rate(tmp_path):
    folder = write_images(tmp_path / "f", ["img1.png", "img2.jpg", "img10.BMP", "img0011.jpeg"])
    (folder / "notes.txt").write_text("not an image")
    source = open_video(str(folder), folder_fps=5.0)
    assert (source.live, source.fps, source.size) == (False, 5.0, SIZE)
    got, error = read_all(source)
    assert error is None
    assert [number_in(frame.image) for frame in got] == [0, 1, 2, 3]
    np.testing.assert_allclose([frame.info.media_time_s for frame in got], [0.0, 0.2, 0.4, 0.6])


def test_an_assumed_rate_is_logged(tmp_path, caplog):
    folder = write_images(tmp_path / "f", ["1.png", "2.png"])
    with caplog.at_level("INFO"), open_video(str(folder)) as source:
        assert source.fps == 30.0 and "assumed" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"), open_video(str(folder), folder_fps=30.0):
        assert "assumed" not in caplog.text
    with pytest.raises(PenumbraError, match=r"fps: .* not 0"):
        open_video(str(folder), folder_fps=0.0)
    with pytest.raises(PenumbraError, match=r"fps: is for a folder .* leave it out"):
        open_video(str(folder / "nothing.mp4"), folder_fps=30.0)


def test_folder_without_images(tmp_path):
    (tmp_path / "f").mkdir()
    assert "holds no images" in refusal(tmp_path / "f")


def test_unreadable_image_is_named_after_the_good_ones(tmp_path):
    folder = write_images(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"no image")
    got, error = read_all(open_video(str(folder)))
    assert len(got) == 1
    assert error is not None and str(folder / "2.png") in str(error)


def test_image_of_another_size_names_both_sizes(tmp_path):
    folder = write_images(tmp_path / "f", ["1.png", "2.png"])
    (folder / "2.png").write_bytes(cv2.imencode(".png", numbered_image(1, (320, 200)))[1].tobytes())
    got, error = read_all(open_video(str(folder), folder_fps=30.0))
    assert len(got) == 1
    assert error is not None and "320x200" in str(error) and "160x96" in str(error)


# ---- cameras


@pytest.fixture
def sysfs(tmp_path) -> Path:
    nodes = [
        (0, "HD Webcam: HD Webcam", 0),
        (1, "HD Webcam: HD Webcam", 1),
        (2, "Logi C920", 0),
        (10, "Logi C922", 0),
    ]
    for index, name, part in nodes:
        node = tmp_path / "sysfs" / f"video{index}"
        node.mkdir(parents=True)
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(f"{part}\n")
    return tmp_path / "sysfs"


def test_cameras_are_listed_without_their_metadata_nodes(sysfs, tmp_path):
    expected = [
        CameraInfo(0, "HD Webcam: HD Webcam"),
        CameraInfo(2, "Logi C920"),
        CameraInfo(10, "Logi C922"),
    ]
    assert list_cameras(sysfs) == expected
    assert list_cameras(tmp_path / "missing") == []


def test_camera_by_index_or_name(sysfs):
    assert find_camera("3", sysfs) == 3
    assert find_camera("hd webcam", sysfs) == 0
    assert find_camera("Logi C922", sysfs) == 10
    for spec, reason in (
        ("logi", "more than one"),
        ("kinect", "no camera"),
        ("/dev/v4l/by-id/gone", "does not exist"),
    ):
        with pytest.raises(PenumbraError, match=f"'{spec}'.* {reason}.*2 \\(Logi C920\\)"):
            find_camera(spec, sysfs)


def test_camera_is_found_again_by_name_unless_that_is_ambiguous(sysfs):
    assert lasting_spec(2, sysfs) == "Logi C920"
    (sysfs / "video10" / "name").write_text("Logi C920")
    assert lasting_spec(2, sysfs) == "2"
    assert lasting_spec(7, sysfs) == "7"


def test_camera_that_does_not_open():
    with pytest.raises(PenumbraError, match=r"camera '99' \(index 99\): does not open; \w+"):
        open_camera("99")
    with pytest.raises(PenumbraError, match="no camera has this name"):
        open_camera("a camera without a name")
