"""Real sockets and processes: what is published arrives, and no peer can do harm."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from engines.types import Estimate, FrameInfo
from realtime.stream import wire
from realtime.stream.message import PoseMessage
from realtime.stream.publisher import SEND_QUEUE, Publisher
from realtime.stream.wire import VersionError
from realtime.subscriber import Subscriber
from tests.support.example_estimate import INFO, encoded, make_estimate
from tests.support.paths import ROOT
from tests.support.publishing import ANY_PORT, until_received

END = 10**9  # the frame_id that tells a reader process to end

READER = """
import sys

class OnlyThese:  # what a subscriber may depend on
    allowed = sys.stdlib_module_names | {"zmq", "msgpack", "realtime", "engines"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ImportError(name + " is not to be imported here")

sys.meta_path.insert(0, OnlyThese())
from realtime.subscriber import Subscriber
with Subscriber(sys.argv[1], latest_only=False, timeout_s=100) as poses:
    for message in poses:
        people = message.people
        checksum = sum(p.joints.tolist()[23][2] for p in people)
        print(message.seq, poses.lost, message.frame_id, checksum, flush=True)
        if message.frame_id == int(sys.argv[2]):
            break
"""


class Reader:
    """A subscriber in another process that reports each message as `seq lost frame_id checksum`."""

    def __init__(self, endpoint: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER, endpoint, str(END)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.reports: queue.Queue[tuple[int, int, int, float]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seq, lost, frame_id, checksum = line.split()
            self.reports.put((int(seq), int(lost), int(frame_id), float(checksum)))

    def report(self) -> tuple[int, int, int, float]:
        return self.reports.get(timeout=100)

    def wait_until_listening(self, publish: Callable[[], None]) -> tuple[int, int, int, float]:
        """Publishes until this reader has received something; returns its first report."""
        while self.process.poll() is None:
            publish()
            try:
                return self.reports.get(timeout=0.02)
            except queue.Empty:
                continue
        raise AssertionError(f"the reader ended with {self.process.returncode}")


@pytest.fixture
def start_reader(publisher: Publisher) -> Iterator[Callable[[], Reader]]:
    readers: list[Reader] = []

    def start() -> Reader:
        readers.append(Reader(publisher.endpoint))
        return readers[-1]

    yield start
    for reader in readers:
        reader.process.kill()
        reader.process.wait()


@pytest.fixture
def foreign_publisher() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A PUB socket that sends whatever we like, and its endpoint."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(ANY_PORT)
        yield socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def hear(
    send: Callable[[], None], poses: Subscriber, wanted: Callable[[PoseMessage], bool]
) -> PoseMessage:
    """Sends until the connection, which may be a new one, has brought what is wanted."""
    timeout_s, poses.timeout_s = poses.timeout_s, 0.05
    for _ in range(1000):
        send()
        try:
            if wanted(message := poses.recv()):
                poses.timeout_s = timeout_s
                return message
        except TimeoutError:
            continue
    raise AssertionError("it never came")


def test_another_process_receives_every_message(
    publisher: Publisher, start_reader: Callable[[], Reader]
) -> None:
    """The reader may import pyzmq, msgpack and the standard library; the sender stays half a queue
    ahead of it.
    """
    reader = start_reader()
    empty = replace(make_estimate(), people=())
    first = reader.wait_until_listening(lambda: publisher.publish(empty, INFO))[0]
    begin, expected, reports = publisher.sent, {}, []
    for i in range(500):
        estimate = empty if i % 10 == 9 else make_estimate(i, count=100, seed=i % 7)
        expected[publisher.sent] = (
            0.0 if estimate.person is None else float(estimate.person.best.joints[23, 2])
        )
        publisher.publish(estimate, INFO)
        while len(reports) < publisher.sent - first - 1 - SEND_QUEUE // 2:
            reports.append(reader.report())
    publisher.publish(replace(empty, frame=FrameInfo(END, 0, 0.0)), INFO)
    while not reports or reports[-1][2] != END:
        reports.append(reader.report())

    assert [report[0] for report in reports] == list(range(first + 1, begin + 501))
    assert {report[1] for report in reports} == {0}
    received = {seq: checksum for seq, _, _, checksum in reports}
    assert all(received[seq] == pytest.approx(value, rel=1e-6) for seq, value in expected.items())
    assert reader.process.wait(timeout=60) == 0
    assert publisher.stalls == 0


def test_a_subscriber_that_stops_reading_harms_nobody(
    publisher: Publisher, start_reader: Callable[[], Reader]
) -> None:
    stuck, healthy = start_reader(), start_reader()
    small, big = replace(make_estimate(), people=()), make_estimate(count=100)
    stuck.wait_until_listening(lambda: publisher.publish(small, INFO))
    last_seq = healthy.wait_until_listening(lambda: publisher.publish(small, INFO))[0]
    os.kill(stuck.process.pid, signal.SIGSTOP)

    before, begin = _resident_bytes(), publisher.sent
    for _ in range(3000):  # 190 MB
        publisher.publish(big, INFO)
        while last_seq < publisher.sent - 1 - SEND_QUEUE // 2:
            last_seq, lost, _, _ = healthy.report()
            assert lost == 0
    assert publisher.sent == begin + 3000
    assert publisher.stalls > 0
    assert _resident_bytes() - before < 60e6

    os.kill(stuck.process.pid, signal.SIGCONT)
    end = replace(small, frame=FrameInfo(END, 0, 0.0))
    report = (0, 0, 0, 0.0)
    while report[2] != END:  # it goes on where its queue ended, and knows what it missed
        publisher.publish(end, INFO)
        report = stuck.report()
    assert report[1] > 1000


def test_closing_does_not_wait_for_a_stuck_subscriber(
    start_reader: Callable[[], Reader], publisher: Publisher
) -> None:
    reader = start_reader()
    reader.wait_until_listening(lambda: publisher.publish(make_estimate(), INFO))
    os.kill(reader.process.pid, signal.SIGSTOP)
    while publisher.stalls == 0:
        publisher.publish(make_estimate(count=100), INFO)
    closing = threading.Thread(target=publisher.close, daemon=True)
    closing.start()
    closing.join(timeout=100)
    assert not closing.is_alive()


def test_the_last_message_leaves_before_the_socket_closes() -> None:
    with (
        Publisher(ANY_PORT) as publisher,
        Subscriber(publisher.endpoint, latest_only=False, timeout_s=60) as poses,
    ):
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        for _ in range(SEND_QUEUE // 2):
            publisher.publish(make_estimate(count=100), INFO)
        publisher.publish(make_estimate(frame_id=END), INFO)
        publisher.close()
        assert (
            next(message for message in poses if message.frame_id == END).seq == publisher.sent - 1
        )
        assert poses.lost == 0


def test_latest_only_skips_to_the_newest(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, timeout_s=60) as poses:
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        first = poses.recv().seq
        for _ in range(
            SEND_QUEUE - 2
        ):  # fewer than the send queue holds, so none can be missing on the way
            publisher.publish(make_estimate(count=100), INFO)
        time.sleep(0.3)  # no reads for a while
        reads = 1 + next(i for i, message in enumerate(poses) if message.seq == publisher.sent - 1)
        assert reads < SEND_QUEUE // 2
        assert poses.lost + reads == publisher.sent - 1 - first


def test_lost_messages_are_counted_and_a_new_session_starts_at_zero(
    foreign_publisher: tuple[zmq.Socket[bytes], str],
) -> None:
    socket, endpoint = foreign_publisher
    with Subscriber(endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded(session="a", seq=10)), poses)
        for seq in (11, 14, 15, 20):
            socket.send(encoded(session="a", seq=seq))
        assert next(message for message in poses if message.seq == 20).session == "a"
        assert poses.lost == 2 + 4
        socket.send(encoded(session="b", seq=500))
        assert poses.recv().session == "b"
        assert poses.lost == 0


def test_junk_is_refused_and_counted(foreign_publisher: tuple[zmq.Socket[bytes], str]) -> None:
    socket, endpoint = foreign_publisher
    with Subscriber(endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded(seq=0)), poses)
        for junk in (b"pose.v2", b"pose.v2\0PNBR\xff\xff\xff\xff", encoded()[:-100], b"pose.virus"):
            socket.send(junk)
        socket.send(b"not for us")
        socket.send(encoded(seq=1))
        assert next(message for message in poses if message.seq == 1)
        assert (poses.refused, poses.lost) == (4, 0)


def test_an_oversized_message_is_not_taken_in_and_makes_no_subscriber_deaf(
    foreign_publisher: tuple[zmq.Socket[bytes], str],
) -> None:
    """libzmq ends the connection and would never connect again; the subscriber does."""
    socket, endpoint = foreign_publisher
    with (
        Subscriber(endpoint, latest_only=False, timeout_s=60) as poses,
        socket.get_monitor_socket() as monitor,
    ):
        until_received(lambda: socket.send(encoded(seq=0)), poses)
        for session in ("a", "b"):
            socket.send(b"pose.v2" + bytes(wire.MAX_MESSAGE_BYTES))
            while recv_monitor_message(monitor)["event"] != zmq.EVENT_DISCONNECTED:
                pass
            message = encoded(session=session)
            hear(lambda: socket.send(message), poses, lambda m: m.session == session)  # noqa: B023
        socket.disable_monitor()
        assert poses.refused == 0


def test_a_restarted_publisher_is_heard_after_an_oversized_message() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(ANY_PORT)
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        poses = Subscriber(endpoint, timeout_s=60)
        until_received(lambda: socket.send(encoded()), poses)
        with socket.get_monitor_socket() as monitor:
            socket.send(b"pose.v2" + bytes(wire.MAX_MESSAGE_BYTES))
            while recv_monitor_message(monitor)["event"] != zmq.EVENT_DISCONNECTED:
                pass
            socket.disable_monitor()
    with poses, Publisher(endpoint) as publisher:
        hear(
            lambda: publisher.publish(make_estimate(), INFO),
            poses,
            lambda message: message.session == publisher.session,
        )


def test_a_publisher_is_heard_where_something_else_answered_before() -> None:
    """Such as a web server on the same port: no ZeroMQ, so libzmq gives up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        poses = Subscriber(endpoint, timeout_s=60)
        with server.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
    with poses, Publisher(endpoint) as publisher:
        hear(
            lambda: publisher.publish(make_estimate(), INFO),
            poses,
            lambda message: message.session == publisher.session,
        )


def wait_for_flood(publisher: Publisher, code: str, *, until: str) -> tuple[float, float]:
    """Publish while a hostile process does its worst: growth of memory, slowest publish."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, publisher.endpoint], stdout=subprocess.PIPE, text=True
    )
    ended = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        while until not in process.stdout.readline():
            pass
        ended.set()

    before, estimate, slowest_s = _resident_bytes(), make_estimate(count=100), 0.0
    thread = threading.Thread(target=read)
    thread.start()
    peak = before
    for _ in range(10_000):
        start = time.perf_counter()
        publisher.publish(estimate, INFO)
        slowest_s = max(slowest_s, time.perf_counter() - start)
        peak = max(peak, _resident_bytes())
        if ended.wait(0.01):
            break
    else:
        raise AssertionError("the process did not finish")
    thread.join()
    process.kill()
    process.communicate()
    return peak - before, slowest_s


def test_hundreds_of_thousands_of_subscriptions_cost_next_to_nothing(publisher: Publisher) -> None:
    """They took 378 MB, for ever. An honest subscriber comes back by itself and misses little."""
    code = (
        "import sys, time, zmq\n"
        "s = zmq.Context().socket(zmq.SUB); s.sndhwm = 0; s.connect(sys.argv[1])\n"
        "for i in range(300_000): s.subscribe(b'%d' % i)\n"
        "time.sleep(2); print('sent', flush=True); time.sleep(100)\n"
    )
    with Subscriber(publisher.endpoint, timeout_s=60) as poses:
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        growth, slowest_s = wait_for_flood(publisher, code, until="sent")
        assert growth < 30e6
        assert slowest_s < 1.0
        hear(
            lambda: publisher.publish(make_estimate(frame_id=5), INFO),
            poses,
            lambda message: message.frame_id == 5,
        )


HOSTILE_PEER = """
import socket, sys
host, port = sys.argv[1].removeprefix("tcp://").split(":")
s = socket.create_connection((host, int(port)))
s.sendall(bytes.fromhex("ff00000000000000017f0300") + b"NULL".ljust(20, b"\\0") + bytes(32))
ready = b"\\x05READY\\x0bSocket-Type" + (3).to_bytes(4, "big") + b"SUB"
s.sendall(bytes([4, len(ready)]) + ready)
try:
    {flood}
except OSError:
    pass
print("ended", flush=True)
"""


@pytest.mark.parametrize(
    "flood",
    [
        "n = 600 << 20; s.sendall(b'\\2' + n.to_bytes(8, 'big') + b'\\1')\n"
        "    for _ in range(600): s.sendall(bytes(1 << 20))",
        "for i in range(2000): s.sendall(1000 * (b'\\0\\3\\1ab' + b'\\0\\3\\0ab'))",
    ],
    ids=["a frame of 600 MB", "a million changes of mind"],
)
def test_what_a_peer_sends_to_the_publisher_is_bounded(publisher: Publisher, flood: str) -> None:
    growth, slowest_s = wait_for_flood(publisher, HOSTILE_PEER.format(flood=flood), until="ended")
    assert growth < 30e6
    assert slowest_s < 1.0


def test_both_unix_stamps_follow_a_clock_that_is_set(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Unix clock goes an hour back between the capture and the message."""
    hour_ns = 3600 * 10**9
    with Subscriber(publisher.endpoint, latest_only=False, timeout_s=60) as poses:
        captured = Estimate(FrameInfo(1, time.monotonic_ns(), 0.0))
        until_received(lambda: publisher.publish(captured, INFO), poses)
        before = poses.recv()
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - hour_ns)
        publisher.publish(replace(captured, frame=replace(captured.frame, frame_id=2)), INFO)
        after = next(message for message in poses if message.frame_id == 2)
    for message in (before, after):
        mono_ns = message.t_publish_mono_ns - message.t_capture_mono_ns
        assert message.t_publish_unix_ns - message.t_capture_unix_ns == mono_ns
    assert before.clock_step_ns == 0
    assert after.clock_step_ns == pytest.approx(-hour_ns, abs=10**8)
    continuous_ns = after.t_capture_unix_ns - after.clock_step_ns
    assert continuous_ns == before.t_capture_unix_ns


def test_a_publisher_of_another_version_is_an_error_and_not_silence(
    foreign_publisher: tuple[zmq.Socket[bytes], str],
) -> None:
    socket, endpoint = foreign_publisher
    with Subscriber(endpoint, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded().replace(b"pose.v2", b"pose.v1")), poses)
        with pytest.raises(VersionError, match="update"):
            poses.recv()


def test_silence_is_a_timeout() -> None:
    with (
        Subscriber("tcp://127.0.0.1:9", timeout_s=0.05) as poses,
        pytest.raises(TimeoutError, match=r"127\.0\.0\.1:9"),
    ):
        poses.recv()


def _resident_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc/self/status to read the memory from")
    return 1024 * int(
        next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[
            1
        ]
    )
