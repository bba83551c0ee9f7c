"""An estimate with random numbers in every field, for tests and benchmarks of the stream."""

import numpy as np

from engines.rotations import exp_so3
from engines.types import Body, Estimate, FrameInfo, Hypotheses, Landmarks, Person, Roi, World
from realtime.stream import wire
from realtime.stream.encode import Stamp, StreamInfo, encode_estimate
from realtime.stream.message import StreamCalibration
from realtime.timing import ClockPair

STAMP = Stamp("0" * 32, 7, 1_011, ClockPair(1_700_000_000_000_000_000))
INFO = StreamInfo(
    "camera 0", (640, 480), np.array([[600.0, 0, 320], [0, 601, 240], [0, 0, 1]]), False, "openvino"
)
CALIBRATION = StreamCalibration(
    "elbow",
    "held-out renders",
    ((0.5, 0.48), (0.9, 0.91)),
    "other people's renders",
    ((0.5, 0.49), (0.9, 0.92)),
    (),
    ((0.5, 1.25, 1.5), (0.9, 6.25, 6.5)),
)


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
        peak=np.linspace(0.1, 0.9, 33),
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
        ray_std=0.16,
        axis_std=0.15,
        ray=np.array([0.0, 0.6, 0.8]),
        joint_visible=rng.uniform(size=24),
        track_id=2,
    )
    T = np.eye(4)
    T[:3, :3] = exp_so3(rng.normal(size=3))
    T[2, 3] = 1.25
    world = World(T, np.array([[0.02, 0.004], [0.004, 0.01]]), 0.05, "estimated")
    return Estimate(FrameInfo(frame_id, 1_000, 0.5, dropped=3, skipped=2), (person,), world)


def encoded(**changes: object) -> bytes:
    """A valid message whose header fields were replaced; `...` takes a field away."""
    header, data = wire.unpack(encode_estimate(make_estimate(), INFO, STAMP))
    header.update(changes)
    return wire.pack({key: value for key, value in header.items() if value is not ...}, bytes(data))
