"""Estimate in, bytes out: a message as `message.py` declares it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.types import JOINT_NAMES, Estimate, Person
from engines.uncertainty import CovarianceCalibration
from realtime.stream.fields import Field, declared, sizes
from realtime.stream.message import COORDINATES, HypothesesMessage, PoseMessage, StreamCalibration
from realtime.stream.wire import (
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    SCHEMA,
    VERSION,
    item_bytes,
    pack,
)
from realtime.timing import ClockPair

MAX_TEXT = 512
"""Characters of a name, such as the source's, that are sent; the end of a longer one is cut off."""


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
    clock_step_ns: int = 0
    """How far the Unix clock was set since the session began."""


@dataclass(frozen=True)
class Outgoing:
    """Everything that the fields of one message are taken from."""

    estimate: Estimate
    stream: StreamInfo
    stamp: Stamp
    schema: str = SCHEMA
    version: tuple[int, int] = VERSION
    joint_names: tuple[str, ...] = JOINT_NAMES
    coordinates: Mapping[str, str] = field(default_factory=lambda: COORDINATES)

    @property
    def t_capture_unix_ns(self) -> int:
        return self.stamp.clocks.unix_ns(self.estimate.frame.t_capture_ns)

    @property
    def t_publish_unix_ns(self) -> int:
        return self.stamp.clocks.unix_ns(self.stamp.t_publish_ns)

    @property
    def people(self) -> tuple[Person, ...]:
        return self.estimate.people


def encode_estimate(estimate: Estimate, info: StreamInfo, stamp: Stamp) -> bytes:
    """Make one message; `people` is empty where nobody was found."""
    data = _Data()
    header = _map_of(PoseMessage, Outgoing(estimate, info, stamp), data)
    return pack(header, data.tobytes())


def stream_calibration(name: str, fitted: CovarianceCalibration) -> StreamCalibration:
    """What the stream says about the calibration of the model `name`."""
    metrics = fitted.metrics

    def levels(shares: tuple[float, ...] | None) -> tuple[tuple[float, float], ...]:
        if metrics is None or shares is None:
            return ()
        return tuple(zip(metrics.levels, shares, strict=True))

    return StreamCalibration(
        name=name,
        data=fitted.data,
        levels=levels(metrics and metrics.coverage),
        measured_on=metrics.data if metrics else "",
        visible_levels=levels(metrics and metrics.coverage_visible),
        occluded_levels=levels(metrics and metrics.coverage_occluded),
        radii=tuple(
            (level, visible, occluded) for level, visible, occluded in fitted.radii.tolist()
        ),
    )


class _Data:
    """The arrays of one message, one after the other, each starting at a multiple of 8 bytes."""

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._size = 0

    def append(
        self, name: str, field: Field, values: np.ndarray
    ) -> tuple[str, tuple[int, ...], int]:
        """Add an array; the header's reference to it."""
        expected = sizes(field.shape, K=len(values))
        assert values.shape == expected, f"{name} has shape {values.shape}, not {expected}"
        chunk = np.ascontiguousarray(values, field.dtype)
        offset, padding = self._size, -chunk.nbytes % 8
        self._chunks += [chunk.data, bytes(padding)]
        self._size += chunk.nbytes + padding
        return field.dtype, values.shape, offset

    def tobytes(self) -> bytes:
        return b"".join(self._chunks)


@cache
def _takers(message: type) -> list[tuple[str, Field, Callable[[Any], Any]]]:
    return [(name, field, attrgetter(field.take)) for name, field in declared(message).items()]


def _map_of(message: type, source: object, data: _Data) -> dict[str, Any]:
    """The header's map for `message`, taken from `source`; arrays go into `data`."""
    return {
        name: _value_of(name, field, take(source), data) for name, field, take in _takers(message)
    }


def _value_of(name: str, field: Field, value: Any, data: _Data) -> Any:
    match field.kind:
        case "array":
            return data.append(name, field, value)
        case "text":
            return value[:MAX_TEXT]
        case "number":
            return float(value)
        case "finite":
            return float(value) if math.isfinite(value) else None
        case "rows" if isinstance(value, np.ndarray):
            return value.tolist()
        case "many":
            return [_nested(field, one, data) for one in value]
        case "one" | "optional":
            return None if value is None else _nested(field, value, data)
    return value


def _nested(field: Field, value: object, data: _Data) -> dict[str, Any]:
    assert field.nested is not None
    return _map_of(field.nested, value, data)


_BYTES_PER_HYPOTHESIS = sum(
    item_bytes(field.dtype) * math.prod(size or 1 for size in sizes(field.shape))
    for field in declared(HypothesesMessage).values()
)
MAX_HYPOTHESES = (MAX_MESSAGE_BYTES - MAX_HEADER_BYTES) // _BYTES_PER_HYPOTHESIS
"""That fit into a message, beside everything else that it holds."""
