"""Every kind of source, and real faults: files cut in two, a camera server that comes back."""

import http.server
import logging
import queue
import socket
import struct
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture import sources
from realtime.capture.cameras import CameraInfo, find_camera, lasting_spec, list_cameras
from realtime.capture.container import MediaClock
from realtime.capture.frame import Frame
from realtime.capture.live import LiveSource, Retry
from realtime.capture.sources import Source, open_camera, open_video
from tests.support.paths import ROOT
from tests.support.videos import (
    BITS,
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

WAIT_S = 60.0  # only ever reached when the test fails


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


# ---- addresses


class CameraServer:
    """An MJPEG camera on loopback. It numbers its images and goes on counting after a restart."""

    def __init__(self) -> None:
        self.size = SIZE
        self.port = 0
        self._number = 0
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def start(self) -> None:
        camera, alive = self, threading.Event()
        alive.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while alive.is_set():
                        self.wfile.write(camera._next_part())
                        pause.wait(0.002)
                except OSError:
                    pass  # the reader went away

            def log_message(self, format: str, *args: object) -> None:
                pass

        pause = threading.Event()
        self._alive = alive
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        if self._server is not None:
            self._alive.clear()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _next_part(self) -> bytes:
        self._number += 1
        part = jpeg(self._number % (1 << BITS), self.size)
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
            len(part),
            part,
        )


@pytest.fixture
def camera():
    server = CameraServer()
    server.start()
    yield server
    server.die()


class Reader:
    """Reads a source in a thread into a queue; an error or None ends it."""

    def __init__(self, source: Source) -> None:
        self.items: queue.Queue[Frame | Exception | None] = queue.Queue()
        self._source = source
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        item: Frame | Exception | None = None
        while True:
            try:
                item = self._source.read()
            except PenumbraError as error:
                item = error
            self.items.put(item)
            if not isinstance(item, Frame):
                return

    def take(self, count: int) -> list[Frame]:
        items = [self.items.get(timeout=WAIT_S) for _ in range(count)]
        assert all(isinstance(item, Frame) for item in items), items
        return items  # type: ignore[return-value]

    def end(self) -> tuple[list[Frame], Exception | None]:
        """The remaining frames and what came after them."""
        rest: list[Frame] = []
        while isinstance(item := self.items.get(timeout=WAIT_S), Frame):
            rest.append(item)
        self._thread.join(WAIT_S)
        return rest, item


@pytest.fixture
def lost():
    """Set as soon as a source says that its stream is lost."""
    event = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is lost" in record.getMessage():
                event.set()

    handler, log = Handler(), logging.getLogger("realtime.capture.live")
    log.addHandler(handler)
    yield event
    log.removeHandler(handler)


def test_stream_that_dies_and_comes_back(camera, lost):
    source = open_video(camera.address, retry=Retry(first_s=0.05, factor=1.0, tries=400))
    assert isinstance(source, LiveSource) and source.live and source.size == SIZE
    reader = Reader(source)
    before = reader.take(5)
    camera.die()
    assert lost.wait(WAIT_S)
    in_flight = [
        reader.items.get() for _ in range(reader.items.qsize())
    ]  # sent before the server died
    camera.start()
    after = reader.take(5)
    source.close()
    rest, end = reader.end()
    assert end is None
    got = [*before, *in_flight, *after, *rest]
    numbers = np.unwrap([number_in(frame.image) for frame in got], period=1 << BITS)
    assert (np.diff(numbers) > 0).all()  # nothing repeated, nothing out of order
    assert [frame.info.frame_id for frame in got] == list(range(len(got)))
    assert all(a.info.t_capture_ns < b.info.t_capture_ns for a, b in pairwise(got))


def test_stream_that_does_not_come_back_is_given_up(camera):
    source = open_video(camera.address, retry=Retry(first_s=0.01, tries=3))
    reader = Reader(source)
    reader.take(2)
    camera.die()
    _, error = reader.end()
    assert error is not None and camera.address in str(error) and "3 tries" in str(error)
    source.close()


def test_stream_that_comes_back_with_another_size(camera, lost):
    reader = Reader(
        source := open_video(camera.address, retry=Retry(first_s=0.05, factor=1.0, tries=400))
    )
    reader.take(2)
    camera.die()
    assert lost.wait(WAIT_S)
    camera.size = (320, 192)
    camera.start()
    _, error = reader.end()
    assert error is not None and "320x192" in str(error) and "160x96" in str(error)
    source.close()


def test_address_that_does_not_answer():
    with socket.socket() as listener:  # bound but not listening: connections are refused
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(PenumbraError, match="does not answer") as caught:
            open_video(f"rtsp://user:secret@127.0.0.1:{port}/stream")
        assert "secret" not in str(caught.value) and f"rtsp://127.0.0.1:{port}/stream" in str(
            caught.value
        )
        listener.listen()  # accepts, but never says a word
        with pytest.raises(PenumbraError, match="does not answer"):
            open_video(f"http://127.0.0.1:{port}/stream", network_timeout_s=0.2)


def test_recording_at_an_address_is_read_to_its_end(tmp_path):
    data = with_index_first(write_video(tmp_path / "a.mp4").read_bytes())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        source = open_video(f"http://127.0.0.1:{server.server_address[1]}/a.mp4")
        assert not source.live
        got, error = read_all(source)
        server.shutdown()
    assert error is None
    assert [number_in(frame.image) for frame in got] == list(range(40))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://host/s", "rtsp://host/s"),
        ("rtsp://[fe80::1]:554/s", "rtsp://[fe80::1]:554/s"),
        ("rtsp://admin:secret@host:554/s", "rtsp://host:554/s"),
        ("rtsp://secret@host/s", "rtsp://host/s"),
        ("rtsp://admin:s@secret@host/s", "rtsp://host/s"),
        ("rtsp://admin:secret/s@host/s", "rtsp://host/s"),
        ("rtsp://admin:secret#1@host/s", "rtsp://host/s"),
        ("rtsp://admin:secret?1@host/s", "rtsp://..."),
        ("http://host/s?pwd=secret", "http://host/s"),
        ("http://host/s?pwd=s@secret", "http://..."),
        ("http://admin:secret@host/s?pwd=secret#secret", "http://host/s"),
        (
            "rtsp://host/user=admin&password=secret&channel=1.sdp",
            "rtsp://host/user=admin&password=...&channel=1.sdp",
        ),
    ],
)
def test_the_name_of_an_address_has_no_password(
    address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = cv2.VideoCapture()
    monkeypatch.setattr(sources, "open_capture", lambda *_: nothing)
    with pytest.raises(PenumbraError) as caught:
        open_video(address)
    assert f"'{name}': does not answer" in str(caught.value) and "secret" not in name
