"""Estimate in, bytes out: the message that `realtime/wire.py` describes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from engines import uncertainty
from engines.covariance import six_from_cov, std_from_cov
from engines.types import JOINT_NAMES, Estimate, Person
from realtime.stream.decode import StreamCalibration
from realtime.stream.wire import (
    FRAME,
    HYPOTHESIS_ARRAYS,
    ITEM_BYTES,
    MAX_MESSAGE_BYTES,
    PERSON_ARRAYS,
    SCHEMA,
    VERSION,
    pack,
)
from realtime.timing import ClockPair

_BODY_BYTES = sum(
    ITEM_BYTES[dtype] * math.prod(shape) for dtype, shape in HYPOTHESIS_ARRAYS.values()
)
MAX_HYPOTHESES = (MAX_MESSAGE_BYTES - (64 << 10)) // _BODY_BYTES
"""That fit into a message, beside everything else that it holds."""


@dataclass(frozen=True)
class StreamInfo:
    """What every message says about the stream and not about the frame."""

    source: str
    """Name of the camera or file."""
    image_size: tuple[int, int]
    """Width and height, px."""
    camera_matrix: Float[np.ndarray, "3 3"]
    camera_calibrated: bool
    """True if `camera_matrix` was measured, False if it was assumed from a field of view."""
    backend: str
    calibration: StreamCalibration | None = None
    """None: the uncertainties are not calibrated."""
    camera_distortion: tuple[float, ...] = ()
    """As in `engines.camera.Intrinsics.dist`."""


@dataclass(frozen=True)
class Stamp:
    """Which message of which session this is, and when it was made."""

    session: str
    seq: int
    t_publish_ns: int
    """`time.monotonic_ns()` when it was made."""
    clocks: ClockPair
    """Gives the Unix time of both instants of the message, so that they can be compared."""


def describe(name: str, fitted: uncertainty.CovarianceCalibration) -> StreamCalibration:
    """What the stream says about the calibration of the model `name`."""
    metrics = fitted.metrics

    def levels(shares: tuple[float, ...] | None) -> tuple[tuple[float, float], ...]:
        return (
            ()
            if metrics is None or shares is None
            else tuple(zip(metrics.levels, shares, strict=True))
        )

    return StreamCalibration(
        name,
        fitted.data,
        levels=levels(metrics and metrics.coverage),
        measured_on=metrics.data if metrics else "",
        visible_levels=levels(metrics and metrics.coverage_visible),
        hidden_levels=levels(metrics and metrics.coverage_occluded),
        radii=tuple((level, seen, hidden) for level, seen, hidden in fitted.radii.tolist()),
    )


def encode_estimate(estimate: Estimate, info: StreamInfo, stamp: Stamp) -> bytes:
    """Makes one message; `people` is empty where `estimate.person` is None."""
    data = _Data()
    people = [] if estimate.person is None else [_person(estimate.person, data)]
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "session": stamp.session,
        "seq": stamp.seq,
        "frame_id": estimate.frame.frame_id,
        "t_capture_mono_ns": estimate.frame.t_capture_ns,
        "t_capture_unix_ns": stamp.clocks.unix_ns(estimate.frame.t_capture_ns),
        "t_publish_mono_ns": stamp.t_publish_ns,
        "t_publish_unix_ns": stamp.clocks.unix_ns(stamp.t_publish_ns),
        "media_time_s": estimate.frame.media_time_s,
        "frame": FRAME,
        "source": info.source,
        "image_size": info.image_size,
        "camera_matrix": np.asarray(info.camera_matrix, dtype=np.float64).tolist(),
        "camera_distortion": info.camera_distortion,
        "camera_calibrated": info.camera_calibrated,
        "backend": info.backend,
        "dropped": estimate.frame.dropped,
        "joint_names": JOINT_NAMES,
        "calibration": None if info.calibration is None else vars(info.calibration),
        "people": people,
    }
    return pack(header, data.tobytes())


class _Data:
    """The arrays of one message, one after the other, each starting at a multiple of 8 bytes."""

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._size = 0

    def add(
        self,
        spec: Mapping[str, tuple[str, tuple[int, ...]]],
        values: Mapping[str, np.ndarray],
        lead: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        """Appends all arrays of `spec` and returns the header's references to them."""
        return {
            name: self._append(name, values[name], dtype, lead + shape)
            for name, (dtype, shape) in spec.items()
        }

    def _append(
        self, name: str, values: np.ndarray, dtype: str, shape: tuple[int, ...]
    ) -> tuple[str, tuple[int, ...], int]:
        assert values.shape == shape, f"{name} has shape {values.shape}, the stream's is {shape}"
        chunk = np.ascontiguousarray(values, dtype)
        offset, padding = self._size, -chunk.nbytes % 8
        self._chunks += [chunk.data, bytes(padding)]
        self._size += chunk.nbytes + padding
        return dtype, shape, offset

    def tobytes(self) -> bytes:
        return b"".join(self._chunks)


def _person(person: Person, data: _Data) -> dict[str, Any]:
    best, landmarks, hypotheses = person.best, person.landmarks, person.hypotheses
    count = len(hypotheses.weights)
    arrays = {
        "global_orient": best.global_orient,
        "body_pose": best.body_pose,
        "betas": best.betas,
        "transl": best.transl,
        "joints": best.joints,
        "joint_cov": six_from_cov(person.joint_cov),
        "joint_std": std_from_cov(person.joint_cov),
        "joint_visible": person.joint_visible,
        "guessed": person.joint_visible < 0.5,
        "ray": person.ray,
        "landmarks": np.column_stack((landmarks.points, landmarks.visibility)),
    }
    bodies = {
        "weights": hypotheses.weights,
        "joints": hypotheses.joints,
        "body_pose": hypotheses.rotvec[:, 1:].reshape(count, -1),
        "global_orient": hypotheses.rotvec[:, 0],
        "betas": hypotheses.betas,
        "transl": hypotheses.transl,
        "log_q": hypotheses.log_q,
    }
    return {
        "track_id": person.track_id,
        "score": float(landmarks.score),
        "distance_std": float(person.distance_std),
        "arrays": data.add(PERSON_ARRAYS, arrays),
        "hypotheses": data.add(HYPOTHESIS_ARRAYS, bodies, lead=(count,)),
    }
