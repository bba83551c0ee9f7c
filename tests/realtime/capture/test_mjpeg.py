"""Motion JPEG with real faults: truncated images, false lengths, other sizes, stalled servers."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from engines.errors import PenumbraError
from realtime.capture.frame import Frame
from realtime.capture.jpeg import BrokenImage, decode, measure, split
from realtime.capture.live import Retry
from realtime.capture.reader import frames
from realtime.capture.sources import Source, open_video
from tests.support.videos import jpeg, number_in, numbered_image, read_all

FEW_TRIES = Retry(first_s=0.01, factor=1.0, tries=2)
Send = Callable[[bytes], None]


def part(body: bytes, length: int | None = -1) -> bytes:
    """A part of the stream; its true length is announced unless another one, or None, is given."""
    announced = len(body) if length == -1 else length
    line = b"" if announced is None else b"Content-Length: %d\r\n" % announced
    return b"--frame\r\nContent-Type: image/jpeg\r\n%s\r\n%s\r\n" % (line, body)


@contextmanager
def camera(script: Callable[[Send], None]) -> Iterator[str]:
    """Serve what the script sends, on loopback; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", 'multipart/x-mixed-replace; boundary="frame"')
            self.end_headers()
            with suppress(OSError):  # the reader went away
                script(self.wfile.write)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/video"
        server.shutdown()


def take(source: Source, count: int) -> list[Frame]:
    got = [source.read() for _ in range(count)]
    assert all(got)
    return [frame for frame in got if frame is not None]


def test_truncated_images_are_skipped_and_counted() -> None:
    def script(send: Send) -> None:
        for number in range(10):
            whole = jpeg(number)
            send(part(whole[: len(whole) // 2] if number in (3, 4, 7) else whole))

    with camera(script) as address, open_video(address, retry=FEW_TRIES) as source:
        got = take(source, 6)  # the first one only proves the connection
    assert [number_in(frame.image) for frame in got] == [1, 2, 5, 6, 8, 9]
    assert [frame.info.frame_id for frame in got] == [0, 1, 4, 5, 7, 8]
    assert [frame.info.skipped for frame in got] == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("length", [None, 2 << 30, 30 << 20, 0, 10**40])
def test_a_length_is_not_believed(length: int | None) -> None:
    def script(send: Send) -> None:
        for number in range(5):
            send(part(jpeg(number), length))
        send(b"--frame\r\n")

    began_s = time.monotonic()
    with camera(script) as address, open_video(address, retry=FEW_TRIES) as source:
        got = take(source, 4)
    assert [number_in(frame.image) for frame in got] == [1, 2, 3, 4]
    assert time.monotonic() - began_s < 20


def test_a_part_without_end_breaks_the_stream_within_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.capture.mjpeg.MAX_PART_BYTES", 1 << 20)
    sent: list[int] = []

    def script(send: Send) -> None:
        if sent:
            return  # only the first connection is served
        sent.append(0)
        send(part(jpeg(0)) + part(b"", None))
        while sent[0] < 1 << 26:
            send(bytes(1 << 16))
            sent[0] += 1 << 16

    with (
        camera(script) as address,
        open_video(address, retry=FEW_TRIES) as source,
        pytest.raises(PenumbraError, match="lost after 0 frames"),
    ):
        source.read()
    assert sent[0] < 1 << 25


def test_another_size_in_mid_stream_ends_the_source_with_both_sizes() -> None:
    def script(send: Send) -> None:
        for number in range(3):
            send(part(jpeg(number)))
        for number in range(3):
            send(part(jpeg(number, (320, 192))))

    with camera(script) as address, open_video(address, retry=FEW_TRIES) as source:
        take(source, 2)
        with pytest.raises(PenumbraError, match=r"320x192 px .* 160x96 px"):
            source.read()


def test_a_stop_does_not_wait_for_a_stalled_stream() -> None:
    over = threading.Event()

    def script(send: Send) -> None:
        for number in range(3):
            send(part(jpeg(number)))
        over.wait(30)

    with camera(script) as address:
        stop = threading.Event()
        with frames(open_video(address), stop=stop) as stream:
            next(stream)
            time.sleep(0.3)  # the thread waits in a read
            began_s = time.monotonic()
            stop.set()
            assert list(stream) == []
        assert time.monotonic() - began_s < 1.0
        over.set()
    time.sleep(0.1)
    assert "capture" not in [thread.name for thread in threading.enumerate()]


def test_user_and_password_of_the_address_are_sent() -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=--frame")
            self.end_headers()
            self.wfile.write(part(jpeg(0)) + part(jpeg(1)) + b"--frame\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://me:my%20secret@127.0.0.1:{server.server_address[1]}/video"
        with open_video(address, retry=FEW_TRIES) as source:
            assert source.read() is not None and "secret" not in source.name
        server.shutdown()
    assert asked == ["Basic bWU6bXkgc2VjcmV0"]


# ---- one JPEG


def test_a_whole_jpeg_is_measured_without_decoding() -> None:
    data = jpeg(5)
    assert measure(data) == (len(data), (160, 96))
    np.testing.assert_allclose(decode(data + b"more"), numbered_image(5), atol=30)


def test_every_truncation_is_noticed() -> None:
    data = jpeg(5)
    for end in range(len(data)):
        with pytest.raises(BrokenImage):
            measure(data[:end])


def test_a_size_that_no_image_has_is_not_allocated() -> None:
    data = bytearray(jpeg(5))
    at = data.find(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BrokenImage, match="65535x65535"):
        decode(bytes(data))


def test_a_sequence_is_cut_at_its_images() -> None:
    whole = jpeg(5)
    cut = whole[: len(whole) // 2]
    parts = list(split(whole + cut + whole + b"junk" + whole[:-2]))
    sizes = [(end - start, good) for start, end, good in parts]
    assert sizes == [
        (len(whole), True),
        (len(cut), False),
        (len(whole), True),
        (len(whole) - 2, False),
    ]
    assert list(split(b"")) == list(split(b"nothing")) == []


def test_broken_images_of_a_raw_file_are_skipped_and_counted(tmp_path) -> None:
    data = [jpeg(number) for number in range(8)]
    data[2] = data[2][:300]
    data[5] = data[5][:-2]
    (tmp_path / "raw.mjpeg").write_bytes(b"".join(data))
    got, error = read_all(open_video(str(tmp_path / "raw.mjpeg")))
    assert error is None
    assert [number_in(frame.image) for frame in got] == [0, 1, 3, 4, 6, 7]
    assert [frame.info.frame_id for frame in got] == [0, 1, 3, 4, 6, 7]
    assert got[-1].info.skipped == 2


def test_another_size_in_a_raw_file_ends_it(tmp_path) -> None:
    (tmp_path / "raw.mjpeg").write_bytes(jpeg(0) + jpeg(1) + jpeg(2, (320, 192)))
    got, error = read_all(open_video(str(tmp_path / "raw.mjpeg")))
    assert len(got) == 2 and error is not None and "320x192" in str(error)
