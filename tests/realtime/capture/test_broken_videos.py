"""Video files with real damage: broken stretches are skipped and counted, never the silent end."""

import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.errors import PenumbraError
from realtime.capture.reader import frames
from realtime.capture.sources import open_video
from tests.support.paths import ROOT
from tests.support.videos import (
    boxes,
    number_in,
    read_all,
    with_index_first,
    write_images,
    write_video,
)

FRAMES = 200


def damage(path: Path, start: float, end: float) -> None:
    """Zero a stretch of the media data, given as shares of it."""
    data = bytearray(path.read_bytes())
    parts = boxes(bytes(data))
    begin = data.find(b"mdat") + 4
    size = len(parts[b"mdat"]) - 8
    first, last = begin + int(start * size), begin + int(end * size)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["mp4v", "MJPG"])
def test_a_broken_stretch_is_skipped_and_counted(tmp_path, codec, caplog):
    path = write_video(tmp_path / "a.mp4", FRAMES, codec=codec)
    damage(path, 0.3, 0.34)
    got, error = read_all(open_video(str(path)))
    assert error is None
    skipped = got[-1].info.skipped
    assert 0 < skipped < 0.2 * FRAMES and len(got) == FRAMES - skipped
    assert "is broken; such frames are skipped" in caplog.text
    # Numbers and times stay those of the frame's place in the file.
    assert got[-1].info.frame_id == FRAMES - 1
    for frame in (*got[:20], *got[-20:]):
        assert number_in(frame.image) == frame.info.frame_id
        assert frame.info.media_time_s == pytest.approx(frame.info.frame_id / 25.0)
    assert [frame.info.skipped for frame in got] == sorted(frame.info.skipped for frame in got)


def test_a_broken_beginning_is_skipped(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, codec="MJPG")
    damage(path, 0.0, 0.05)
    got, error = read_all(open_video(str(path)))
    assert error is None and got[0].info.skipped > 0
    assert number_in(got[-1].image) == got[-1].info.frame_id == FRAMES - 1


def test_damage_to_the_end_is_an_error_after_the_last_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, codec="MJPG")
    damage(path, 0.4, 1.0)
    got, error = read_all(open_video(str(path)))
    assert 70 < len(got) < 90
    assert error is not None and "is damaged" in str(error) and "of about 200" in str(error)


def test_a_matroska_file_that_cannot_be_resumed_is_an_error(tmp_path):
    path = write_video(tmp_path / "a.mkv", FRAMES, codec="MJPG")
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    path.write_bytes(data)
    got, error = read_all(open_video(str(path)))
    lost = FRAMES - len(got) - got[-1].info.skipped
    assert error is not None or lost <= 0.1 * FRAMES


def test_a_network_that_stalls_in_a_recording_does_not_hold_up_a_stop(tmp_path):
    data = with_index_first(write_video(tmp_path / "a.mp4", FRAMES).read_bytes())
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            over.wait(30)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/a.mp4"
        for every_frame in (True, False):
            stop = threading.Event()
            source = open_video(address, network_timeout_s=4.0)
            with frames(source, every_frame, stop) as stream:
                next(stream)
                threading.Timer(1.0, stop.set).start()
                for _ in stream:
                    pass
                assert stop.is_set()
                began_s = time.monotonic()
            assert time.monotonic() - began_s < 1.0
        over.set()
        server.shutdown()


def test_a_png_that_asks_for_ten_thousand_million_pixels_is_one_sentence(tmp_path):
    folder = write_images(tmp_path / "f", ["1.png", "2.png"])
    data = bytearray((folder / "2.png").read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    (folder / "2.png").write_bytes(data)
    got, error = read_all(open_video(str(folder)))
    assert len(got) == 1 and isinstance(error, PenumbraError)
    assert "2.png" in str(error) and "cannot be decoded" in str(error)
    (folder / "1.png").write_bytes(data)
    with pytest.raises(PenumbraError, match=r"1\.png.* cannot be decoded"):
        open_video(str(folder))


def test_a_truncated_jpeg_of_a_folder_is_named(tmp_path):
    folder = write_images(tmp_path / "f", ["1.jpg", "2.jpg"])
    data = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(data[: len(data) // 2])
    got, error = read_all(open_video(str(folder)))
    assert len(got) == 1 and error is not None and "2.jpg" in str(error)


def test_names_cannot_steer_a_terminal(tmp_path):
    path = write_video(tmp_path / "a\x1b]0;title\x07\x1b[2Jb.mp4", 3)
    with open_video(str(path)) as source:
        assert source.name.isprintable() and "\\x1b]0;title\\x07" in source.name


def test_an_address_that_never_answers_can_be_interrupted():
    code = (
        "import sys\n"
        "from realtime.capture.sources import open_video\n"
        "print('opening', flush=True)\n"
        "open_video(sys.argv[1], network_timeout_s=30)\n"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for scheme in ("http", "rtsp"):
            address = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/video"
            command = [sys.executable, "-c", code, address]
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert child.stdout is not None and child.stdout.readline() == b"opening\n"
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=10)
            assert b"KeyboardInterrupt" in said
