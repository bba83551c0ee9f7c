"""One message: every field survives."""

import math
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from engines import uncertainty
from engines.calibration_metrics import CalibrationMetrics
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from realtime import subscribe
from realtime.stream import wire
from realtime.stream.decode import decode
from realtime.stream.encode import MAX_HYPOTHESES, encode_estimate, stream_calibration
from realtime.stream.message import StreamCalibration
from realtime.stream.received import covariance_of
from realtime.stream.wire import (
    MAX_MESSAGE_BYTES,
    Array,
    MessageError,
)
from tests.support.example_estimate import CALIBRATION, INFO, STAMP, encoded, make_estimate


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
    assert len(arrays) == 14 + 7
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


def test_the_largest_message_is_not_too_large() -> None:
    estimate = make_estimate(count=MAX_HYPOTHESES)
    size = len(encode_estimate(estimate, INFO, STAMP))
    assert MAX_MESSAGE_BYTES - (80 << 10) < size <= MAX_MESSAGE_BYTES


def test_a_source_can_have_any_name_that_a_file_can_have() -> None:
    """Bytes that are no UTF-8, and more of them than a message has room for."""
    name = b"clip\xff\xfe.mp4".decode(errors="surrogateescape")
    message = decode(encode_estimate(make_estimate(), replace(INFO, source=name), STAMP))
    assert message.source == "clip??.mp4"
    long = decode(encode_estimate(make_estimate(), replace(INFO, source=100_000 * "ü"), STAMP))
    assert long.source == 512 * "ü"
