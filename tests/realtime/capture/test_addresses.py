"""Cameras and recordings at addresses: a server that dies, comes back, or never answers."""

import http.server
import logging
import queue
import socket
import threading
from itertools import pairwise

import cv2
import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture import sources
from realtime.capture.frame import Frame
from realtime.capture.live import LiveSource, Retry
from realtime.capture.sources import Source, open_video
from tests.support.videos import (
    BITS,
    SIZE,
    jpeg,
    number_in,
    read_all,
    with_index_first,
    write_video,
)

WAIT_S = 60.0  # only ever reached when the test fails


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
