"""Residuals of sequences against finite differences of their costs; contacts on a made-up step."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.fitting.limits import HingeLimits
from engines.fitting.sequences.floor import FEET, FloorContact, FloorContactConfig
from engines.fitting.sequences.landmarks import SHARED, SharedNormal, VideoLandmarks
from engines.fitting.sequences.observations import (
    Calm,
    EachFrame,
    JointPositions,
    Rotations,
    Shape,
)
from engines.fitting.sequences.sequence import BodySequence, Linearised, SequenceResiduals
from engines.kernels import Skeleton
from engines.rotations import exp_so3
from tests.support.motion import wandering
from tests.support.sequences import check_gradient

FRAMES = 6
AHEAD = exp_so3(np.array([-1.4, 0.1, 0.0]))
BETAS = np.linspace(-1.0, 1.0, 10)


@pytest.fixture(scope="module")
def shape() -> Shape:
    body = BodyModel.load()
    return Shape(Skeleton(body.J_template, body.J_shapedirs), BETAS)


class Standing:
    """A model of motion that believes in given contacts."""

    def __init__(self, probability: np.ndarray) -> None:
        self.probability = probability

    def at(self, sequence: BodySequence) -> Linearised:
        return Linearised((), lambda _: 0.0)

    def contacts(self, sequence: BodySequence) -> np.ndarray:
        return self.probability

    def bodies(self, weight: float) -> SequenceResiduals:
        return self

    def sized(self, size: float) -> "Standing":
        return self


def residuals(
    name: str, shape: Shape, rng: np.random.Generator, shared: int = 0
) -> SequenceResiduals:
    other = wandering(FRAMES, rng, shared)
    visible = rng.random((FRAMES, 24)) < 0.7
    sigma = rng.uniform(0.02, 0.1, (FRAMES, 24))
    if name == "landmarks":
        rays = rng.uniform(-0.3, 0.3, (FRAMES, 12, 2))
        spread = np.where(rng.random((FRAMES, 12)) < 0.8, 0.05, np.inf)
        return VideoLandmarks(shape.skeleton, AHEAD, rays, spread)
    if name == "shared":
        return SharedNormal(np.linspace(0, 1, SHARED), np.linspace(0.1, 0.5, SHARED))
    if name.startswith("joints"):
        cauchy = 2.0 if name == "joints, robust" else None
        target = shape.joints(other)
        return JointPositions(shape, target, sigma, visible, cauchy)
    if name == "rotations":
        return Rotations(other.R, sigma, visible, other.pelvis, 0.03)
    if name == "each frame":
        return EachFrame(shape, HingeLimits(), 0.3)
    if name == "calm":
        return Calm()
    probability = rng.random((FRAMES - 2, 4))
    return FloorContact(
        shape, Standing(probability), np.array([1.0, 0.08, 0.01, 1.0]), FloorContactConfig()
    )


@pytest.mark.parametrize(
    "name", ["joints", "joints, robust", "rotations", "each frame", "calm", "floor"]
)
def test_rows_are_derivatives_of_the_cost(name: str, shape: Shape) -> None:
    rng = np.random.default_rng(0)
    sequence = wandering(FRAMES, rng)
    around = residuals(name, shape, rng).at(sequence)
    check_gradient(around, sequence, rng)


@pytest.mark.parametrize("name", ["landmarks", "shared", "joints, robust", "each frame", "floor"])
def test_rows_are_derivatives_by_what_is_shared(name: str, shape: Shape) -> None:
    rng = np.random.default_rng(3)
    wanders = wandering(FRAMES, rng)
    shared = 0.2 * rng.standard_normal(SHARED)
    shared[-1] = 1.2
    sequence = BodySequence(wanders.R, wanders.pelvis + np.array([0.0, 3.0, 0.0]), shared)
    free = Shape(shape.skeleton, None)
    check_gradient(residuals(name, free, rng, SHARED).at(sequence), sequence, rng)


def test_white_rows_sum_to_the_cost(shape: Shape) -> None:
    rng = np.random.default_rng(1)
    sequence = wandering(FRAMES, rng)
    for name in ("joints", "rotations", "calm", "floor"):
        around = residuals(name, shape, rng).at(sequence)
        half = sum(0.5 * float((rows.residual**2).sum()) for rows in around.rows)
        assert half == pytest.approx(around.cost(sequence), rel=1e-6), name


def test_what_is_not_visible_says_nothing(shape: Shape) -> None:
    rng = np.random.default_rng(2)
    sequence = wandering(FRAMES, rng)
    nan = np.full((FRAMES, 24, 3), np.nan)
    nothing = np.zeros((FRAMES, 24), bool)
    around = JointPositions(shape, nan, np.ones((FRAMES, 24)), nothing).at(sequence)
    assert around.cost(sequence) == 0.0
    assert not around.rows[0].residual.any() and not around.rows[0].J.any()


def test_a_standing_foot_costs_what_it_slips(shape: Shape) -> None:
    count = 5
    R = np.tile(np.eye(3), (count, 24, 1, 1))
    R[:, 0] = exp_so3(np.array([np.pi / 2, 0.0, 0.0]))  # y up to z up
    rest = shape.joints(BodySequence(R[:1], np.zeros((1, 3)), np.zeros(0)))[0]
    sole = rest[list(FEET), 2] - rest[list(FEET), 2].min() + 0.01
    pelvis = np.zeros((count, 3))
    pelvis[:, 2] = sole[0] - rest[FEET[0], 2]
    still = BodySequence(R, pelvis, np.zeros(0))
    left = np.tile([1.0, 0.0, 1.0, 0.0], (count - 2, 1))
    floor = FloorContact(shape, Standing(left), sole, FloorContactConfig(speed=0.3, height_m=0.05))
    assert floor.at(still).cost(still) == pytest.approx(0.0, abs=1e-6)
    slipping = pelvis.copy()
    slipping[3:, 0] += 0.01  # a sigma of 0.3 m/s in a frame, of two joints in one frame
    slipped = BodySequence(R, slipping, np.zeros(0))
    assert floor.at(slipped).cost(slipped) == pytest.approx(1.0, rel=1e-3)
    nobody = FloorContact(shape, Standing(0 * left), sole, floor.config)
    assert nobody.at(slipped).cost(slipped) == pytest.approx(0.0, abs=1e-6)
