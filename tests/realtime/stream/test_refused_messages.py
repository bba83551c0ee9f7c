"""No bytes make a reader raise anything but MessageError, or cost it much."""

import math
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.stream import wire
from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from realtime.stream.fields import declared
from realtime.stream.message import PersonMessage
from realtime.stream.wire import (
    MessageError,
    VersionError,
)
from tests.support.example_estimate import CALIBRATION, INFO, STAMP, encoded, make_estimate


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
