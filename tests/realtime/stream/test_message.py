"""One message: every field survives, and no bytes make a reader raise anything but MessageError."""

import math
import time
import tracemalloc
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines import uncertainty
from engines.calibration_metrics import CalibrationMetrics
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from realtime import subscribe
from realtime.stream import wire
from realtime.stream.decode import decode
from realtime.stream.encode import MAX_HYPOTHESES, encode_estimate, stream_calibration
from realtime.stream.fields import declared
from realtime.stream.message import PersonMessage, StreamCalibration
from realtime.stream.received import covariance_of
from realtime.stream.wire import (
    MAX_MESSAGE_BYTES,
    Array,
    MessageError,
    VersionError,
)
from tests.support.example_estimate import INFO, STAMP, encoded, make_estimate

CALIBRATION = StreamCalibration(
    "elbow",
    "held-out renders",
    ((0.5, 0.48), (0.9, 0.91)),
    "other people's renders",
    ((0.5, 0.49), (0.9, 0.92)),
    (),
    ((0.5, 1.25, 1.5), (0.9, 6.25, 6.5)),
)


def test_every_field_survives() -> None:
    estimate = make_estimate(frame_id=41)
    info = replace(INFO, calibration=CALIBRATION, camera_distortion=(-0.28, 0.09, 1e-3, -5e-4))
    message = decode(encode_estimate(estimate, info, STAMP))

    assert (message.session, message.seq, message.frame_id) == ("0" * 32, 7, 41)
    assert (message.dropped, message.skipped) == (3, 2)
    assert (message.t_publish_mono_ns, message.t_publish_unix_ns) == (
        1_011,
        1_700_000_000_000_001_011,
    )
    assert (message.t_capture_mono_ns, message.t_capture_unix_ns) == (
        1_000,
        1_700_000_000_000_001_000,
    )
    assert (message.media_time_s, message.source, message.backend) == (0.5, "camera 0", "openvino")
    assert message.coordinates == {
        "name": "camera",
        "axes": "x right, y down, z forward",
        "unit": "m",
    } | {"rotation": "axis-angle rad"}
    assert message.image_size == (640, 480)
    assert message.camera_matrix == ((600, 0, 320), (0, 601, 240), (0, 0, 1))
    assert message.camera_distortion == (-0.28, 0.09, 1e-3, -5e-4)
    assert message.camera_calibrated is False
    assert message.joint_names == JOINT_NAMES
    assert message.calibration == info.calibration

    (person,) = message.people
    source = estimate.person
    assert source is not None
    assert (person.track_id, person.score) == (2, 0.97)
    assert person.distance_std == pytest.approx(0.2)  # 0.16 along the ray, 0.8 * 0.15 by the axis
    for name in ("global_orient", "body_pose", "betas", "transl", "joints"):
        np.testing.assert_array_equal(
            getattr(person, name), getattr(source.best, name).astype(np.float32)
        )
    for name in ("ray", "joint_visible"):
        np.testing.assert_array_equal(
            getattr(person, name), getattr(source, name).astype(np.float32)
        )
    np.testing.assert_array_equal(np.asarray(person.guessed), source.joint_visible < 0.5)
    np.testing.assert_array_equal(
        np.asarray(person.landmarks)[:, :2], source.landmarks.points.astype(np.float32)
    )
    np.testing.assert_array_equal(
        np.asarray(person.landmarks)[:, 2], source.landmarks.visibility.astype(np.float32)
    )

    bodies = person.hypotheses
    for name in ("weights", "joints", "betas", "transl", "log_q"):
        np.testing.assert_array_equal(
            getattr(bodies, name), getattr(source.hypotheses, name).astype(np.float32)
        )
    rotvec = np.concatenate(
        [np.asarray(bodies.global_orient), np.asarray(bodies.body_pose)], axis=1
    )
    np.testing.assert_array_equal(
        rotvec.reshape(-1, 24, 3), source.hypotheses.rotvec.astype(np.float32)
    )


def test_the_world_survives() -> None:
    estimate = make_estimate()
    assert estimate.world is not None
    world = decode(encode_estimate(estimate, INFO, STAMP)).world
    assert world is not None
    assert world.T_world_cam == tuple(map(tuple, estimate.world.T_world_cam.tolist()))
    assert world.up_cov == ((0.02, 0.004), (0.004, 0.01))
    assert (world.floor_std, world.source) == (0.05, "estimated")


def test_a_floor_that_was_not_found_and_an_unknown_world_are_nil() -> None:
    estimate = make_estimate()
    assert estimate.world is not None
    guess = replace(estimate, world=replace(estimate.world, floor_std=math.inf))
    world = decode(encode_estimate(guess, INFO, STAMP)).world
    assert world is not None
    assert world.floor_std is None
    assert decode(encode_estimate(replace(estimate, world=None), INFO, STAMP)).world is None


def test_messages_of_the_version_before_the_world_are_read() -> None:
    assert decode(encoded(world=..., version=[2, 0])).world is None
    with pytest.raises(MessageError, match="'world' of the header is missing"):
        decode(encoded(world=...))


def test_messages_of_the_version_before_the_common_covariance_are_read() -> None:
    header, data = wire.unpack(encoded())
    del header["people"][0]["common_cov"]
    with pytest.raises(MessageError, match="'common_cov' of person 0 is missing"):
        decode(wire.pack(header, bytes(data)))
    (person,) = decode(wire.pack({**header, "version": [2, 1]}, bytes(data))).people
    assert person.common_cov is None and person.distance_std == pytest.approx(0.2)
    with pytest.raises(PenumbraError, match=r"update the publisher to version 2\.2"):
        covariance_of(person)
    assert "distance ± 20.0 cm, not in" in subscribe.person_lines(person, JOINT_NAMES)[0]


def test_covariance_is_xx_xy_xz_yy_yz_zz() -> None:
    estimate = make_estimate()
    assert estimate.person is not None
    (person,) = decode(encode_estimate(estimate, INFO, STAMP)).people
    assert person.common_cov is not None
    rows = [*person.joint_cov.tolist(), person.common_cov.tolist()]
    for six, matrix in zip(
        rows, [*estimate.person.joint_cov, estimate.person.common_cov], strict=True
    ):
        xx, xy, xz, yy, yz, zz = six
        np.testing.assert_allclose([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], matrix, rtol=1e-6)
    for std, matrix in zip(person.joint_std.tolist(), estimate.person.joint_cov, strict=True):
        assert std == pytest.approx(np.sqrt(np.linalg.eigvalsh(matrix).mean()), rel=1e-6)


def test_nobody_there_is_an_empty_list() -> None:
    assert decode(encode_estimate(replace(make_estimate(), people=()), INFO, STAMP)).people == ()


def test_arrays_are_views_of_the_message_and_aligned_in_it() -> None:
    message = encode_estimate(make_estimate(), INFO, STAMP)
    start = np.frombuffer(message, np.uint8).__array_interface__["data"][0]
    (person,) = decode(message).people
    arrays = [value for value in vars(person).values() if isinstance(value, Array)]
    arrays += vars(person.hypotheses).values()
    assert len(arrays) == 12 + 7
    for array in arrays:
        view = np.asarray(array)
        inside = view.__array_interface__["data"][0] - start
        assert 0 <= inside < len(message)
        assert inside % 8 == 0
        assert not view.flags.writeable
        assert view.tolist() == array.tolist()
        assert len(array) == len(view)


def test_the_layout_is_the_documented_one() -> None:
    """One number is read with nothing but the text of `realtime/stream/README.md`."""
    estimate = make_estimate()
    assert estimate.person is not None
    message = encode_estimate(estimate, INFO, STAMP)
    assert message[:12] == b"pose.v2" + bytes([0x00, 0x50, 0x4E, 0x42, 0x52])
    length = int.from_bytes(message[12:16], "little")
    header = msgpack.unpackb(message[16 : 16 + length])
    dtype, shape, offset = header["people"][0]["joints"]
    assert (dtype, shape) == ("<f4", [24, 3])
    at = (16 + length + 7) // 8 * 8 + offset + (15 * 3 + 1) * 4  # y of the head
    assert np.frombuffer(message[at : at + 4], "<f4")[0] == np.float32(
        estimate.person.best.joints[15, 1]
    )


def test_the_stream_says_what_the_calibration_reached() -> None:
    reached = CalibrationMetrics(
        "others",
        (0.5, 0.9),
        (0.49, 0.89),
        (0.5, 0.91),
        None,
        (0.6, 0.9),
        0.01,
        0.02,
        None,
        0.1,
        0.3,
        0.31,
        0.6,
        0.9,
        (),
    )
    radii = np.array([[0.5, 1.25, 1.5], [0.9, 6.25, 6.5]])
    zeros = (0.0, 0.0, 0.0, 0.0)
    flat = uncertainty.ImageFactor(zeros, zeros, zeros, zeros, 0.0)
    fitted = uncertainty.CovarianceCalibration(
        np.ones((24, 2)), np.ones((24, 2)), flat, 1.0, radii, "some people", reached
    )
    levels = ((0.5, 0.49), (0.9, 0.89))
    said = StreamCalibration(
        "flow.onnx",
        "some people",
        levels,
        "others",
        ((0.5, 0.5), (0.9, 0.91)),
        (),
        ((0.5, 1.25, 1.5), (0.9, 6.25, 6.5)),
    )
    assert stream_calibration("flow.onnx", fitted) == said
    unmeasured = stream_calibration("flow.onnx", replace(fitted, metrics=None))
    assert unmeasured == replace(said, levels=(), measured_on="", visible_levels=())


def test_what_a_newer_minor_version_adds_is_skipped() -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header |= {"version": [2, 9], "mood": {"deep": [None, 1.5]}}
    header["people"][0] |= {"hands": [1, 2]}
    header["people"][0]["quaternions"] = ["<f2", [24, 4], 10**12]
    message = decode(wire.pack(header, bytes(data)))
    assert message.version == (2, 9)
    assert message.people == decode(encode_estimate(make_estimate(), INFO, STAMP)).people


@pytest.mark.parametrize(
    "message",
    [
        encoded(version=[1, 3]),
        encoded().replace(b"pose.v2", b"pose.v1"),
        b"pose.v10\0PNBR and so on",
    ],
)
def test_another_major_version_is_named(message: bytes) -> None:
    with pytest.raises(VersionError, match=r"version (1|10) .* this reader version 2"):
        decode(message)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seq": ...}, "'seq' of the header is missing"),
        ({"seq": -1}, "'seq' of the header is below zero"),
        ({"seq": True}, "'seq' of the header is of type bool"),
        ({"schema": "other.pose"}, "schema 'other.pose'"),
        ({"version": 1}, "'version' of the header is of type int"),
        ({"version": [1]}, "'version' of the header has the wrong number"),
        (
            {"version": [2, -2], "people": ...},
            "'version' of the header has a minor number below zero",
        ),
        ({"camera_matrix": [[1.0, 2.0]]}, "'camera_matrix' of the header has the wrong number"),
        ({"camera_matrix": []}, "'camera_matrix' of the header has the wrong number"),
        (
            {"camera_matrix": [[0.0] * 3] * 3},
            "'camera_matrix' of the header is .* expected fx 0 cx",
        ),
        (
            {"camera_matrix": [[600.0, 0, 0], [0, 600.0, 0], [320.0, 240.0, 1]]},
            "'camera_matrix' of the header is .* expected fx 0 cx",
        ),
        (
            {"camera_matrix": [[600.0, 0, math.inf], [0, 600.0, 240], [0, 0, 1]]},
            "'camera_matrix' of the header has a number that is",
        ),
        (
            {"image_size": [-1, 0]},
            r"\'image_size\' of the header is \(-1, 0\); expected width and height, above zero",
        ),
        (
            {"media_time_s": math.nan},
            "'media_time_s' of the header has a number that is not finite",
        ),
        (
            {"camera_distortion": [0.1]},
            "'camera_distortion' of the header is .* 0, 4, 5 or 8 are given",
        ),
        (
            {"camera_distortion": ["a"] * 5},
            "'camera_distortion' of the header has the wrong number or type",
        ),
        ({"joint_names": ["a"]}, "'joint_names' of the header has the wrong number"),
        ({"coordinates": {}}, "'name' of 'coordinates' of the header is missing"),
        (
            {"calibration": {"name": "x", "data": "y", "levels": [[1]]}},
            "'levels' of 'calibration' of the header has the wrong number",
        ),
        (
            {"calibration": vars(CALIBRATION) | {"radii": [[0.5, 1.0]]}},
            "'radii' of 'calibration' of the header has the wrong number",
        ),
        ({"people": {}}, "'people' of the header is of type dict"),
        ({"people": [3]}, "person 0 is not a map"),
    ],
)
def test_a_wrong_header_field_is_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        decode(encoded(**changes))


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        (["<f8", [24, 3], 0], "expected <f4"),
        (["<f4", [3, 24], 0], r"expected <f4 of \[24, 3\]"),
        (["<f4", [24, 3], 10**18], "reaches beyond"),
        (["<f4", [24, 3], -8], "is not"),
        (["<f4", [24, 3]], "is not"),
        ([0, 0, 0], "is not"),
    ],
)
def test_a_wrong_array_is_named(reference: list[object], complaint: str) -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header["people"][0]["joints"] = reference
    with pytest.raises(MessageError, match=complaint):
        decode(wire.pack(header, bytes(data)))


@pytest.mark.parametrize("count", [-1, 0, 7, 2**40])  # with 5, one more still fits the padding
def test_a_wrong_number_of_hypotheses_is_refused(count: int) -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(count=5), INFO, STAMP))
    for reference in header["people"][0]["hypotheses"].values():
        reference[1][0] = count
    with pytest.raises(MessageError, match=r"is empty|reaches beyond"):
        decode(wire.pack(header, bytes(data)))


@pytest.mark.parametrize("field", ["score", "distance_std"])
def test_a_person_with_a_number_that_is_not_finite_is_refused(field: str) -> None:
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header["people"][0][field] = math.nan
    with pytest.raises(
        MessageError, match=f"'{field}' of person 0 has a number that is not finite"
    ):
        decode(wire.pack(header, bytes(data)))


VALID = encode_estimate(make_estimate(count=2), INFO, STAMP)


def test_every_truncation_is_refused() -> None:
    for size in range(len(VALID)):  # nothing pads the last array, 8 bytes long
        with pytest.raises(MessageError):
            decode(VALID[:size])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(1, 255)), min_size=1, max_size=8)
)
def test_flipped_bits_raise_nothing_else(flips: list[tuple[int, int]]) -> None:
    broken = bytearray(VALID)
    for at, mask in flips:
        broken[at % len(VALID)] ^= mask
    _decode_or_refuse(bytes(broken))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 255))
def test_flipped_header_bits_raise_nothing_else(at: int, mask: int) -> None:
    broken = bytearray(VALID)
    broken[at] ^= mask
    _decode_or_refuse(bytes(broken))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"pose.v2", VALID[:12]]), st.booleans())
def test_random_bytes_raise_nothing_else(junk: bytes, start: bytes, with_length: bool) -> None:
    length = len(junk).to_bytes(4, "little") if with_length else b""
    _decode_or_refuse(start + length + junk)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(wire.unpack(VALID)[0])),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text()
        | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    ),
)
def test_any_value_in_any_header_field_raises_nothing_else(key: str, value: object) -> None:
    header, data = wire.unpack(VALID)
    _decode_or_refuse(wire.pack(header | {key: value}, bytes(data)))


def test_deep_nesting_is_refused() -> None:
    bomb = b"\x91" * 60_000
    with pytest.raises(MessageError, match="not msgpack"):
        decode(VALID[:12] + len(bomb).to_bytes(4, "little") + bomb)


def _decode_or_refuse(message: bytes) -> None:
    try:
        decoded = decode(message)
    except MessageError as error:
        assert str(error).endswith(".")
        return
    for person in decoded.people:  # whatever was let through can be read
        for name, field in declared(PersonMessage).items():
            if field.kind == "array":
                assert len(getattr(person, name).tolist()) == len(getattr(person, name))


def test_the_largest_message_is_not_too_large() -> None:
    estimate = make_estimate(count=MAX_HYPOTHESES)
    size = len(encode_estimate(estimate, INFO, STAMP))
    assert MAX_MESSAGE_BYTES - (80 << 10) < size <= MAX_MESSAGE_BYTES


HEADER, DATA = wire.unpack(VALID)
ROOM = wire.MAX_HEADER_BYTES - len(msgpack.packb(HEADER))
COSTLY = {
    "empty lists": {"more": [[]] * (ROOM - 20)},
    "empty maps": {"more": [{}] * (ROOM - 20)},
    "nested lists": {"more": [[[[[]]]]] * (ROOM // 5)},
    "people": {"people": HEADER["people"] * (ROOM // len(msgpack.packb(HEADER["people"])))},
    "rows": {"calibration": vars(CALIBRATION) | {"levels": [[1, 2]] * (ROOM // 3 - 80)}},
}


@pytest.mark.parametrize("kind", COSTLY)
def test_the_costliest_messages_cost_little(kind: str) -> None:
    """Valid messages of 16 MB took 1.1 GB or 14 s; now the header bounds both."""
    data = bytes(DATA) + bytes(wire.MAX_MESSAGE_BYTES - wire.MAX_HEADER_BYTES - len(DATA) - 24)
    message = wire.pack(HEADER | COSTLY[kind], data)
    assert len(message) > wire.MAX_MESSAGE_BYTES - 20_000
    start = time.process_time()
    decode(message)
    assert time.process_time() - start < 1.0
    tracemalloc.start()
    decode(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_a_longer_header_or_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageError, match="has a header of"):
        decode(wire.pack(HEADER | {"more": bytes(wire.MAX_HEADER_BYTES)}, b""))
    with pytest.raises(MessageError, match="at most 16777216 count"):
        decode(VALID + bytes(wire.MAX_MESSAGE_BYTES))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 60_000 * "x"},
        {"schema": "\x1b]0;owned\x07"},
        {"camera_distortion": 5000 * [1.5]},
        {"image_size": [0, 2**64 - 1]},
        {"version": [2**64 - 1, 0]},
        {"people": [{"joints": [60_000 * "y", [24, 3], 0]} | HEADER["people"][0]]},
        {"people": [HEADER["people"][0] | {"joints": [60_000 * "y", [24, 3], 0]}]},
        {"people": [HEADER["people"][0] | {"joints": ["<f4", 5000 * [2**63], 0]}]},
    ],
)
def test_what_an_error_quotes_is_short_and_printable(changes: dict[str, object]) -> None:
    try:
        decode(encoded(**changes))
    except MessageError as error:
        assert len(str(error)) < 300 and str(error).isprintable()


def test_a_source_can_have_any_name_that_a_file_can_have() -> None:
    """Bytes that are no UTF-8, and more of them than a message has room for."""
    name = b"clip\xff\xfe.mp4".decode(errors="surrogateescape")
    message = decode(encode_estimate(make_estimate(), replace(INFO, source=name), STAMP))
    assert message.source == "clip??.mp4"
    long = decode(encode_estimate(make_estimate(), replace(INFO, source=100_000 * "ü"), STAMP))
    assert long.source == 512 * "ü"
