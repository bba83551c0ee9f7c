"""A size that changes in mid-stream, in files that FFmpeg wrote in each codec that repeats it."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime.capture import bitstream, recordings
from realtime.capture.bitstream import coded_size
from realtime.capture.sources import open_video
from tests.support.videos import read_all, write_video

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


@pytest.mark.parametrize(("codec", "read"), [("FFV1", 0), ("XVID", 12), ("MJPG", 12)])
def test_only_packets_that_may_tell_their_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, read: int
) -> None:
    packets: list[bytes] = []
    monkeypatch.setattr(bitstream, "coded_size", lambda _, packet: packets.append(packet))
    write(tmp_path / "a.avi", SIZES[0], codec)
    watch = bitstream.SizeWatch(tmp_path / "a.avi")
    assert watch.changed_by(9) is None
    watch.close()
    assert len(packets) == read


class SlowWatch:
    """Takes its time to look at a packet, and knows whether it was closed meanwhile."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.looking = self.closed_while_looking = self.closed = False

    def changed_by(self, frame: int) -> None:
        del frame
        self.looking = True
        self.entered.set()
        self.go.wait()
        self.looking = False

    def close(self) -> None:
        self.closed = True
        self.closed_while_looking |= self.looking


def test_packets_are_not_freed_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = SlowWatch()
    monkeypatch.setattr(recordings, "SizeWatch", lambda _: watch)
    video = open_video(str(write_video(tmp_path / "a.mp4")))
    reader = threading.Thread(target=lambda: [video.read(), video.read()])
    reader.start()
    watch.entered.wait()
    video.close()
    watch.go.set()
    reader.join()
    assert watch.closed and not watch.closed_while_looking


@pytest.mark.parametrize("codec", [b"mp4v", b"mpg2", b"MJPG", b"VP80", b"VP90", b"h264"])
def test_junk_has_no_size(codec: bytes) -> None:
    rng = np.random.default_rng(0)
    for length in (0, 1, 3, 10, 1000):
        coded_size(codec, rng.bytes(length))
        coded_size(codec, b"\0\0\1\x20" + rng.bytes(length))
