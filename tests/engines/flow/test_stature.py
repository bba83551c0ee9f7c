"""People of a known height: every hypothesis has it, in the same image, with smplx's parameters."""

import numpy as np
import pytest

from engines.body import BodyModel, joints_only
from engines.flow.features import VirtualCamera
from engines.flow.sampler import FlowOutput, PosedHypotheses
from engines.flow.stature import HEIGHT_RANGE_CM, Stature
from engines.types import Hypotheses
from tests.support.random_hypotheses import around

K = 20


@pytest.fixture(scope="module")
def samples(body: BodyModel) -> FlowOutput:
    drawn, _ = around(body, K, seed=0)
    betas = np.random.default_rng(1).normal(size=(K, 10))
    joints = joints_only(body, drawn.rotvec, betas, drawn.transl)
    parts = (drawn.rotvec, betas, drawn.transl, joints, drawn.log_q, drawn.weights)
    hypotheses = Hypotheses(*(part.astype(np.float32) for part in parts))
    posed = PosedHypotheses(hypotheses, np.zeros((K, 24, 3, 4), np.float32))
    view = VirtualCamera(np.eye(3), np.array(0.3), np.eye(3))
    return FlowOutput(posed, np.ones(24), view, heavy=False)


@pytest.mark.parametrize("height_m", [1.5, 1.7, 1.95])
def test_every_hypothesis_is_as_tall_as_the_person(
    body: BodyModel, samples: FlowOutput, height_m: float
) -> None:
    found = Stature(body, K, height_m)(samples).hypotheses
    vertices = body.shaped(found.betas).rest_vertices()
    tall = np.ptp(vertices[..., 1], axis=-1)
    np.testing.assert_allclose(tall, height_m, atol=0.006)
    np.testing.assert_allclose(
        joints_only(body, found.rotvec, found.betas, found.transl), found.joints, atol=1e-4
    )


def test_the_image_stays(body: BodyModel, samples: FlowOutput) -> None:
    before, after = samples.hypotheses, Stature(body, K, 1.9)(samples).hypotheses
    ratio = after.joints[:, 0, 2] / before.joints[:, 0, 2]
    assert ratio.max() - ratio.min() > 0.05  # the hypotheses were of different heights
    flat = [one.joints[..., :2] / one.joints[..., 2:] for one in (before, after)]
    person = np.ptp(flat[0][..., 1], axis=-1).mean()
    assert np.abs(flat[1] - flat[0]).mean() < 0.02 * person


def test_the_shape_is_the_nearest_of_that_height(body: BodyModel, samples: FlowOutput) -> None:
    stature = Stature(body, K, 1.8)
    before, after = samples.hypotheses.betas, stature(samples).hypotheses.betas
    moved = np.linalg.norm(after - before, axis=-1)
    rng = np.random.default_rng(2)
    for _ in range(200):  # other shapes of that height are farther
        other = after + rng.normal(size=10)
        slope = stature.heights(np.eye(10)) - stature.heights(np.zeros((1, 10)))
        back = (stature.heights(other) - 1.8)[:, None] * slope / (slope @ slope)
        assert (np.linalg.norm(other - back - before, axis=-1) >= moved - 1e-6).all()


def test_a_person_of_that_height_already_is_left_alone(
    body: BodyModel, samples: FlowOutput
) -> None:
    once = Stature(body, K, 1.75)(samples)
    twice = Stature(body, K, 1.75)(once)
    np.testing.assert_allclose(twice.hypotheses.joints, once.hypotheses.joints, atol=1e-5)


def test_the_bounds_are_what_the_body_can_be(body: BodyModel) -> None:
    stature = Stature(body, 1, 1.7)
    slope = stature.heights(np.eye(10)) - stature.heights(np.zeros((1, 10)))
    reach = 3.6 * np.linalg.norm(slope)
    mean = float(stature.heights(np.zeros((1, 10)))[0])
    assert mean - reach < HEIGHT_RANGE_CM[0] / 100 < HEIGHT_RANGE_CM[1] / 100 < mean + reach
