"""A size that changes in mid-stream, in files that FFmpeg wrote in each codec that repeats it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.capture.bitstream import coded_size
from realtime.capture.sources import open_video
from tests.support.videos import read_all

SIZES = ((320, 240), (160, 96))


def write(path: Path, size: tuple[int, int], codec: str) -> bytes:
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, size)
    assert writer.isOpened()
    for number in range(20):
        writer.write(np.full((size[1], size[0], 3), 10 * number, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".ts", "mp4v"),
        (".ts", "MPG2"),
        (".mpg", "MPG1"),
        (".avi", "MJPG"),
        (".webm", "VP80"),
        (".mkv", "VP90"),
    ],
)
@pytest.mark.parametrize("sizes", [SIZES, SIZES[::-1]])
def test_two_sizes_in_one_file_end_with_both(
    tmp_path: Path, suffix: str, codec: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    parts = [write(tmp_path / f"{size[0]}{suffix}", size, codec) for size in sizes]
    path = tmp_path / f"both{suffix}"
    path.write_bytes(b"".join(parts))
    got, error = read_all(open_video(str(path)))
    assert error is not None
    for width, height in SIZES:
        assert f"{width}x{height} px" in str(error)
    assert 15 <= len(got) <= 20
    path.write_bytes(parts[0] + parts[0])
    got, error = read_all(open_video(str(path)))
    assert error is None and len(got) >= 38


@pytest.mark.parametrize("codec", [b"mp4v", b"mpg2", b"MJPG", b"VP80", b"VP90", b"h264"])
def test_junk_has_no_size(codec: bytes) -> None:
    rng = np.random.default_rng(0)
    for length in (0, 1, 3, 10, 1000):
        coded_size(codec, rng.bytes(length))
        coded_size(codec, b"\0\0\1\x20" + rng.bytes(length))
