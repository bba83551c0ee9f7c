"""The pose stream: what is sent arrives unchanged, no bytes break a reader, and no reader holds up the sender."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from zmq.utils.monitor import recv_monitor_message

from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, Body, Estimate, Hypotheses, Landmarks, Person, Roi
from realtime import subscribe, wire
from realtime.decode import Calibration, decode
from realtime.encode import Stamp, StreamInfo, encode_estimate
from realtime.endpoint import is_local
from realtime.publisher import SEND_QUEUE, Publisher
from realtime.subscriber import Subscriber
from realtime.wire import HYPOTHESIS_ARRAYS, PERSON_ARRAYS, MessageError, VersionError

ROOT = Path(__file__).parents[1]
ANY_PORT = "tcp://127.0.0.1:*"
END = 10**9  # the frame_id that tells a reader process to end
STAMP = Stamp("0" * 32, 7, 11, 12)
INFO = StreamInfo("camera 0", (640, 480), np.array([[600.0, 0, 320], [0, 601, 240], [0, 0, 1]]), False, "openvino")

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
        print(message.seq, poses.lost, message.frame_id, sum(p.joints.tolist()[23][2] for p in people), flush=True)
        if message.frame_id == int(sys.argv[2]):
            break
"""


def make_estimate(frame_id: int = 0, count: int = 5, seed: int = 0) -> Estimate:
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(24, 3, 3)) * 0.1
    landmarks = Landmarks(
        rng.uniform(0, 640, (33, 2)),
        rng.normal(size=33),
        rng.uniform(size=33),
        rng.uniform(size=33),
        rng.normal(size=(33, 3)),
        0.97,
        Roi(np.array([320.0, 240.0]), 300.0, 0.1),
    )
    hypotheses = Hypotheses(
        rotvec=rng.normal(size=(count, 24, 3)),
        betas=rng.normal(size=(count, 10)),
        transl=rng.normal(size=(count, 3)),
        joints=rng.normal(size=(count, 24, 3)),
        log_q=rng.normal(size=count),
        weights=np.full(count, 1 / count),
    )
    best = Body(
        *(rng.normal(size=shape) for shape in (3, 69, 10, 3)),
        joints=rng.normal(size=(24, 3)) + np.array([0, 0, 3]),
    )
    person = Person(
        landmarks=landmarks,
        hypotheses=hypotheses,
        best=best,
        joint_cov=spread @ spread.transpose(0, 2, 1),
        distance_std=0.2,
        ray=np.array([0.0, 0.6, 0.8]),
        joint_visible=rng.uniform(size=24),
    )
    return Estimate(frame_id, 1_000, 1_700_000_000_000_000_000, 0.5, 3, person)


def encoded(**changes: object) -> bytes:
    """A valid message whose header fields were replaced; `...` takes a field away."""
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header.update(changes)
    return wire.pack({key: value for key, value in header.items() if value is not ...}, bytes(data))


# -- the message ----------------------------------------------------------------------------------------------------


def test_every_field_survives() -> None:
    estimate = make_estimate(frame_id=41)
    info = replace(INFO, calibration=Calibration("elbow", "held-out renders", ((0.5, 0.48), (0.9, 0.91))))
    message = decode(encode_estimate(estimate, info, STAMP, track_id=2))

    assert (message.session, message.seq, message.frame_id, message.dropped) == ("0" * 32, 7, 41, 3)
    assert (message.t_publish_mono_ns, message.t_publish_unix_ns) == (11, 12)
    assert (message.t_capture_mono_ns, message.t_capture_unix_ns) == (1_000, 1_700_000_000_000_000_000)
    assert (message.media_time_s, message.source, message.backend) == (0.5, "camera 0", "openvino")
    assert message.frame == {"name": "camera", "axes": "x right, y down, z forward", "unit": "m"} | {
        "rotation": "axis-angle rad"
    }
    assert message.image_size == (640, 480)
    assert message.camera_matrix == ((600, 0, 320), (0, 601, 240), (0, 0, 1))
    assert message.camera_calibrated is False
    assert message.joint_names == JOINT_NAMES
    assert message.calibration == info.calibration

    (person,) = message.people
    source = estimate.person
    assert source is not None
    assert (person.track_id, person.score, person.distance_std) == (2, 0.97, 0.2)
    for name in ("global_orient", "body_pose", "betas", "transl", "joints"):
        np.testing.assert_array_equal(getattr(person, name), getattr(source.best, name).astype(np.float32))
    for name in ("ray", "joint_visible"):
        np.testing.assert_array_equal(getattr(person, name), getattr(source, name).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(person.guessed), source.joint_visible < 0.5)
    np.testing.assert_array_equal(np.asarray(person.landmarks)[:, :2], source.landmarks.points.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(person.landmarks)[:, 2], source.landmarks.visibility.astype(np.float32))

    bodies = person.hypotheses
    for name in ("weights", "joints", "betas", "transl"):
        np.testing.assert_array_equal(getattr(bodies, name), getattr(source.hypotheses, name).astype(np.float32))
    rotvec = np.concatenate([np.asarray(bodies.global_orient), np.asarray(bodies.body_pose)], axis=1)
    np.testing.assert_array_equal(rotvec.reshape(-1, 24, 3), source.hypotheses.rotvec.astype(np.float32))


def test_covariance_is_xx_xy_xz_yy_yz_zz() -> None:
    estimate = make_estimate()
    assert estimate.person is not None
    (person,) = decode(encode_estimate(estimate, INFO, STAMP)).people
    for six, std, matrix in zip(
        person.joint_cov.tolist(), person.joint_std.tolist(), estimate.person.joint_cov, strict=True
    ):
        xx, xy, xz, yy, yz, zz = six
        np.testing.assert_allclose([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], matrix, rtol=1e-6)
        assert std == pytest.approx(np.sqrt(np.linalg.eigvalsh(matrix).mean()), rel=1e-6)


def test_nobody_there_is_an_empty_list() -> None:
    assert decode(encode_estimate(replace(make_estimate(), person=None), INFO, STAMP)).people == ()


def test_arrays_are_views_of_the_message_and_aligned_in_it() -> None:
    message = encode_estimate(make_estimate(), INFO, STAMP)
    start = np.frombuffer(message, np.uint8).__array_interface__["data"][0]
    (person,) = decode(message).people
    arrays = [getattr(person, name) for name in PERSON_ARRAYS]
    arrays += [getattr(person.hypotheses, name) for name in HYPOTHESIS_ARRAYS]
    for array in arrays:
        view = np.asarray(array)
        inside = view.__array_interface__["data"][0] - start
        assert 0 <= inside < len(message)
        assert inside % 8 == 0
        assert not view.flags.writeable
        assert view.tolist() == array.tolist()
        assert len(array) == len(view)


def test_the_layout_is_the_documented_one() -> None:
    """Reads one number with nothing but the text of `realtime/wire.py`."""
    estimate = make_estimate()
    assert estimate.person is not None
    message = encode_estimate(estimate, INFO, STAMP)
    assert message[:12] == b"pose.v1" + bytes([0x00, 0x50, 0x4E, 0x42, 0x52])
    length = int.from_bytes(message[12:16], "little")
    header = msgpack.unpackb(message[16 : 16 + length])
    dtype, shape, offset = header["people"][0]["arrays"]["joints"]
    assert (dtype, shape) == ("<f4", [24, 3])
    at = (16 + length + 7) // 8 * 8 + offset + (15 * 3 + 1) * 4  # y of the head
    assert np.frombuffer(message[at : at + 4], "<f4")[0] == np.float32(estimate.person.best.joints[15, 1])


def test_what_a_newer_minor_version_adds_is_skipped() -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header |= {"version": [1, 9], "mood": {"deep": [None, 1.5]}}
    header["people"][0] |= {"hands": [1, 2]}
    header["people"][0]["arrays"]["quaternions"] = ["<f2", [24, 4], 10**12]
    message = decode(wire.pack(header, bytes(data)))
    assert message.version == (1, 9)
    assert message.people == decode(encode_estimate(make_estimate(), INFO, STAMP)).people


@pytest.mark.parametrize(
    "message", [encoded(version=[2, 0]), encoded().replace(b"pose.v1", b"pose.v2"), b"pose.v10\0PNBR and so on"]
)
def test_another_major_version_is_named(message: bytes) -> None:
    with pytest.raises(VersionError, match=r"version (2|10) .* this reader version 1"):
        decode(message)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seq": ...}, "no 'seq'"),
        ({"seq": -1}, "'seq' below zero"),
        ({"seq": True}, "'seq' of type bool"),
        ({"schema": "other.pose"}, "schema 'other.pose'"),
        ({"version": 1}, "'version' of type int"),
        ({"version": [1]}, "'version' with the wrong number"),
        ({"camera_matrix": [[1.0, 2.0]]}, "'camera_matrix' with the wrong number"),
        ({"camera_matrix": []}, "'camera_matrix' with the wrong number"),
        ({"joint_names": ["a"]}, "'joint_names' with the wrong number"),
        ({"frame": {}}, "'frame' of the header has no 'name'"),
        ({"calibration": {"name": "x", "data": "y", "levels": [[1]]}}, "'levels' with the wrong number"),
        ({"people": {}}, "'people' of type dict"),
        ({"people": [3]}, "person 0 is not a map"),
    ],
)
def test_a_wrong_header_field_is_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        decode(encoded(**changes))


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        (["<f8", [24, 3], 0], "expected '<f4'"),
        (["<f4", [3, 24], 0], r"expected '<f4' of \[24, 3\]"),
        (["<f4", [24, 3], 10**18], "reaches beyond"),
        (["<f4", [24, 3], -8], "is not"),
        (["<f4", [24, 3]], "is not"),
        ([0, 0, 0], "is not"),
    ],
)
def test_a_wrong_array_is_named(reference: list[object], complaint: str) -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header["people"][0]["arrays"]["joints"] = reference
    with pytest.raises(MessageError, match=complaint):
        decode(wire.pack(header, bytes(data)))


@pytest.mark.parametrize("count", [0, 6, 2**40])
def test_a_wrong_number_of_hypotheses_is_refused(count: int) -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(count=5), INFO, STAMP))
    for reference in header["people"][0]["hypotheses"].values():
        reference[1][0] = count
    with pytest.raises(MessageError, match=r"is empty|reaches beyond"):
        decode(wire.pack(header, bytes(data)))


VALID = encode_estimate(make_estimate(count=2), INFO, STAMP)


def test_every_truncation_is_refused() -> None:
    for size in range(len(VALID) - 16):  # the last array is 24 bytes, so 16 fewer always cut into one
        with pytest.raises(MessageError):
            decode(VALID[:size])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bits_raise_nothing_else(flips: list[tuple[int, int]]) -> None:
    broken = bytearray(VALID)
    for at, mask in flips:
        broken[at % len(VALID)] ^= mask
    _decode_or_refuse(bytes(broken))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 255))
def test_flipped_header_bits_raise_nothing_else(at: int, mask: int) -> None:
    broken = bytearray(VALID)
    broken[at] ^= mask
    _decode_or_refuse(bytes(broken))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"pose.v1", VALID[:12]]), st.booleans())
def test_random_bytes_raise_nothing_else(junk: bytes, start: bytes, with_length: bool) -> None:
    length = len(junk).to_bytes(4, "little") if with_length else b""
    _decode_or_refuse(start + length + junk)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(wire.unpack(VALID)[0])),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    ),
)
def test_any_value_in_any_header_field_raises_nothing_else(key: str, value: object) -> None:
    header, data = wire.unpack(VALID)
    _decode_or_refuse(wire.pack(header | {key: value}, bytes(data)))


def test_deep_nesting_is_refused() -> None:
    bomb = b"\x91" * 100_000
    with pytest.raises(MessageError, match="not msgpack"):
        decode(VALID[:12] + len(bomb).to_bytes(4, "little") + bomb)


def _decode_or_refuse(message: bytes) -> None:
    try:
        decoded = decode(message)
    except MessageError as error:
        assert str(error).endswith(".")
        return
    for person in decoded.people:  # whatever was let through can be read
        assert all(len(getattr(person, name).tolist()) == len(getattr(person, name)) for name in PERSON_ARRAYS)


# -- real sockets and processes -------------------------------------------------------------------------------------


class Reader:
    """A subscriber in another process that reports each message as `seq lost frame_id checksum`."""

    def __init__(self, endpoint: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER, endpoint, str(END)], cwd=ROOT, stdout=subprocess.PIPE, text=True
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
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT) as publisher:
        yield publisher


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
def stranger() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A PUB socket that sends whatever we like, and its endpoint."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(ANY_PORT)
        yield socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def until_received(send: Callable[[], None], poses: Subscriber) -> None:
    """Subscriptions travel in the background: sends until one message has come through."""
    while not poses._socket.poll(20):
        send()


def test_another_process_receives_every_message(publisher: Publisher, start_reader: Callable[[], Reader]) -> None:
    """The reader may import pyzmq, msgpack and the standard library; the sender stays at most 16 ahead of it."""
    reader = start_reader()
    nobody = replace(make_estimate(), person=None)
    first = reader.wait_until_listening(lambda: publisher.publish(nobody, INFO))[0]
    begin, expected, reports = publisher.sent, {}, []
    for i in range(500):
        estimate = nobody if i % 10 == 9 else make_estimate(i, count=100, seed=i % 7)
        expected[publisher.sent] = 0.0 if estimate.person is None else float(estimate.person.best.joints[23, 2])
        publisher.publish(estimate, INFO)
        while len(reports) < publisher.sent - first - 1 - 16:
            reports.append(reader.report())
    publisher.publish(replace(nobody, frame_id=END), INFO)
    while not reports or reports[-1][2] != END:
        reports.append(reader.report())

    assert [report[0] for report in reports] == list(range(first + 1, begin + 501))
    assert {report[1] for report in reports} == {0}
    received = {seq: checksum for seq, _, _, checksum in reports}
    assert all(received[seq] == pytest.approx(value, rel=1e-6) for seq, value in expected.items())
    assert reader.process.wait(timeout=60) == 0
    assert publisher.stalls == 0


def test_a_subscriber_that_stops_reading_harms_nobody(publisher: Publisher, start_reader: Callable[[], Reader]) -> None:
    stuck, healthy = start_reader(), start_reader()
    small, big = replace(make_estimate(), person=None), make_estimate(count=100)
    stuck.wait_until_listening(lambda: publisher.publish(small, INFO))
    seen = healthy.wait_until_listening(lambda: publisher.publish(small, INFO))[0]
    os.kill(stuck.process.pid, signal.SIGSTOP)

    before, begin = _resident_bytes(), publisher.sent
    for _ in range(3000):  # 190 MB
        publisher.publish(big, INFO)
        while seen < publisher.sent - 1 - 16:
            seen, lost, _, _ = healthy.report()
            assert lost == 0
    assert publisher.sent == begin + 3000
    assert publisher.stalls > 0
    assert _resident_bytes() - before < 60e6

    os.kill(stuck.process.pid, signal.SIGCONT)
    end = replace(small, frame_id=END)
    report = (0, 0, 0, 0.0)
    while report[2] != END:  # it goes on where its queue ended, and knows what it missed
        publisher.publish(end, INFO)
        report = stuck.report()
    assert report[1] > 1000


def test_closing_does_not_wait_for_a_stuck_subscriber(start_reader: Callable[[], Reader], publisher: Publisher) -> None:
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
    with Publisher(ANY_PORT) as publisher, Subscriber(publisher.endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        for _ in range(SEND_QUEUE // 2):
            publisher.publish(make_estimate(count=100), INFO)
        publisher.publish(make_estimate(frame_id=END), INFO)
        publisher.close()
        assert next(message for message in poses if message.frame_id == END).seq == publisher.sent - 1
        assert poses.lost == 0


def test_latest_only_skips_to_the_newest(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, timeout_s=60) as poses:
        until_received(lambda: publisher.publish(make_estimate(), INFO), poses)
        first = poses.recv().seq
        for _ in range(SEND_QUEUE - 2):  # fewer than the send queue holds, so none can be missing on the way
            publisher.publish(make_estimate(count=100), INFO)
        time.sleep(0.3)  # nobody reads for a while
        reads = 1 + next(i for i, message in enumerate(poses) if message.seq == publisher.sent - 1)
        assert reads < SEND_QUEUE // 2
        assert poses.lost + reads == publisher.sent - 1 - first


def test_lost_messages_are_counted_and_a_new_session_starts_at_zero(stranger: tuple[zmq.Socket[bytes], str]) -> None:
    socket, endpoint = stranger
    with Subscriber(endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded(session="a", seq=10)), poses)
        for seq in (11, 14, 15, 20):
            socket.send(encoded(session="a", seq=seq))
        assert next(message for message in poses if message.seq == 20).session == "a"
        assert poses.lost == 2 + 4
        socket.send(encoded(session="b", seq=500))
        assert poses.recv().session == "b"
        assert poses.lost == 0


def test_junk_is_refused_and_counted(stranger: tuple[zmq.Socket[bytes], str]) -> None:
    socket, endpoint = stranger
    with Subscriber(endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded(seq=0)), poses)
        for junk in (b"pose.v1", b"pose.v1\0PNBR\xff\xff\xff\xff", VALID[:-100], b"pose.virus"):
            socket.send(junk)
        socket.send(b"not for us")
        socket.send(encoded(seq=1))
        assert next(message for message in poses if message.seq == 1)
        assert (poses.refused, poses.lost) == (4, 0)


def test_an_oversized_message_is_not_taken_in(stranger: tuple[zmq.Socket[bytes], str]) -> None:
    """Such a peer is no Penumbra: libzmq hangs up on it and does not connect again."""
    socket, endpoint = stranger
    with Subscriber(endpoint, latest_only=False, timeout_s=0.5) as poses, socket.get_monitor_socket() as monitor:
        until_received(lambda: socket.send(encoded()), poses)
        socket.send(b"pose.v1" + bytes(wire.MAX_MESSAGE_BYTES))
        while recv_monitor_message(monitor)["event"] != zmq.EVENT_DISCONNECTED:
            pass
        socket.disable_monitor()
        with pytest.raises(TimeoutError):
            for message in poses:
                assert message.session == STAMP.session
        assert poses.refused == 0


def test_a_publisher_of_another_version_is_an_error_and_not_silence(stranger: tuple[zmq.Socket[bytes], str]) -> None:
    socket, endpoint = stranger
    with Subscriber(endpoint, timeout_s=60) as poses:
        until_received(lambda: socket.send(encoded().replace(b"pose.v1", b"pose.v2")), poses)
        with pytest.raises(VersionError, match="update"):
            poses.recv()


def test_silence_is_a_timeout() -> None:
    with Subscriber("tcp://127.0.0.1:9", timeout_s=0.05) as poses, pytest.raises(TimeoutError, match=r"127\.0\.0\.1:9"):
        poses.recv()


def test_port_in_use_names_the_port(publisher: Publisher) -> None:
    port = publisher.endpoint.rpartition(":")[2]
    with pytest.raises(PenumbraError, match=f"Port {port} .* in use"):
        Publisher(publisher.endpoint)


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1", "5590", "", "http://127.0.0.1:80", "tcp://127.0.0.1:99999", "tcp://:5590", "ipc://"]
)
def test_a_malformed_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(PenumbraError, match=f"endpoint {endpoint}"):
        Publisher(endpoint, allow_lan=True)
    with pytest.raises(PenumbraError, match=f"endpoint {endpoint}"):
        Subscriber(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_a_free_port_is_for_the_publisher_to_choose(endpoint: str) -> None:
    with Publisher(endpoint) as publisher:
        assert int(publisher.endpoint.rpartition(":")[2]) > 0
    with pytest.raises(PenumbraError, match="form tcp://HOST:PORT"):
        Subscriber(endpoint)


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(PenumbraError, match=r"endpoint tcp://192\.0\.2\.1:5590"):  # reserved for documentation
        Publisher("tcp://192.0.2.1:5590", allow_lan=True)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp://127.0.0.1:5590", True),
        ("tcp://127.3.2.1:5590", True),
        ("tcp://localhost:5590", True),
        ("tcp://[::1]:5590", True),
        ("ipc:///run/poses", True),
        ("tcp://*:5590", False),
        ("tcp://0.0.0.0:5590", False),
        ("tcp://[::]:5590", False),
        ("tcp://eth0:5590", False),
        ("tcp://127.evil.example:5590", False),
    ],
)
def test_which_endpoints_stay_on_this_machine(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local
    if not local:
        with pytest.raises(PenumbraError, match="allow_lan"):
            Publisher(endpoint)


def test_publishing_on_the_network_is_allowed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Publisher("tcp://0.0.0.0:*", allow_lan=True):
        assert "unencrypted" in caplog.text


def test_a_person_who_comes_back_gets_a_new_track(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, latest_only=False, timeout_s=60) as poses:
        until_received(lambda: publisher.publish(replace(make_estimate(), person=None), INFO), poses)
        for i, there in enumerate([True, True, False, True], start=1):
            publisher.publish(make_estimate(i) if there else replace(make_estimate(i), person=None), INFO)
        tracks = []
        for message in poses:
            tracks += [person.track_id for person in message.people]
            if message.frame_id == 4:
                break
        assert tracks == [1, 1, 2]


def _resident_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc/self/status to read the memory from")
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1])


# -- python -m realtime.subscribe -----------------------------------------------------------------------------------


def run_subscribe(publisher: Publisher, *args: str) -> tuple[int, str, str]:
    """Publishes until the command has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.subscribe", "--endpoint", publisher.endpoint, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        publisher.publish(make_estimate(), INFO)
        time.sleep(0.01)
    out, err = process.communicate()
    return process.returncode, out, err


def test_subscribe_prints_joints_with_their_spread(publisher: Publisher) -> None:
    code, out, err = run_subscribe(publisher, "--count", "3")
    estimate = make_estimate()
    assert estimate.person is not None
    assert (code, err) == (0, "")
    assert "not calibrated" in out
    assert "monotonic clock" in out
    head = next(line for line in out.splitlines() if line.split()[:1] == ["head"])
    std_cm = 100 * np.sqrt(np.trace(estimate.person.joint_cov[15]) / 3)
    np.testing.assert_allclose([float(x) for x in head.split()[1:4]], estimate.person.best.joints[15], atol=6e-4)
    assert float(head.split()[4]) == pytest.approx(std_cm, abs=0.06)
    for name, visible in zip(JOINT_NAMES, estimate.person.joint_visible, strict=True):
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert line.endswith("guessed") == (visible < 0.5)


def test_subscribe_prints_one_json_line_for_each_message(publisher: Publisher) -> None:
    code, out, _ = run_subscribe(publisher, "--count", "4", "--json", "--every-message")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["seq"] - lines[0]["seq"] for line in lines] == [0, 1, 2, 3]
    assert np.shape(lines[0]["people"][0]["joint_cov"]) == (24, 6)


def test_subscribe_waits_with_a_sentence_and_ends_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.subscribe", "--endpoint", "tcp://127.0.0.1:9"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 100)[0]
    assert "Still waiting" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_subscribe_refuses_a_malformed_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert subscribe.main(["--endpoint", "nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_json_has_no_nan() -> None:
    estimate = make_estimate()
    assert estimate.person is not None
    estimate.person.joint_cov[3] = np.nan
    line = json.dumps(subscribe.as_dict(decode(encode_estimate(estimate, INFO, STAMP))), allow_nan=False)
    assert json.loads(line)["people"][0]["joint_std"][3] is None
