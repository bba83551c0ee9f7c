"""Messages of the pose stream."""

from dataclasses import replace

from realtime.stream.decode import decode
from realtime.stream.encode import encode_estimate
from realtime.stream.message import StreamCalibration
from realtime.stream.wire import Array, MessageError
from tests.support.example_estimate import INFO, STAMP, make_estimate

MAX_MB = 64
_CALIBRATION = StreamCalibration(
    name="flow",
    data="renders",
    levels=((0.9, 0.91),),
    measured_on="others",
    visible_levels=((0.9, 0.92),),
    occluded_levels=(),
    radii=((0.9, 6.25, 6.5),),
)


def seeds() -> list[bytes]:
    """Messages with a person, without, and with everything that is optional."""
    person, nobody = make_estimate(count=2), replace(make_estimate(), people=())
    full = replace(INFO, calibration=_CALIBRATION, camera_distortion=(-0.28, 0.09, 1e-3, -5e-4))
    return [
        encode_estimate(person, INFO, STAMP),
        encode_estimate(nobody, INFO, STAMP),
        encode_estimate(person, full, STAMP),
    ]


def read(data: bytes) -> None:
    """Decode, and read every number of what was let through."""
    try:
        message = decode(data)
    except MessageError as error:
        assert str(error).isprintable() and len(str(error)) < 500
        return
    for person in message.people:
        for value in (*vars(person).values(), *vars(person.hypotheses).values()):
            if isinstance(value, Array):
                assert len(value.tolist()) == len(value)
