"""Figures of hypotheses and the ground truth: bodies lie where they project."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import (
    TINY_ENCODER,
    mhentropy,
    priors,
    random_batch,
    random_flow,
)
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.evaluation import figures
from trainer.evaluation.figures import hypotheses_figure
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.method import Samples
from trainer.model.bodies import BodySamples

WHITE = np.array([255, 255, 255])


class Elsewhere(HMR):
    """Draws bodies whose joints lie outside the image."""

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        bodies = batch.bodies()
        camera = bodies.camera + torch.tensor([1000.0, 0, 0])
        return Samples(
            BodySamples(
                *(
                    part.expand(-1, count, *part.shape[2:])
                    for part in bodies._replace(camera=camera)
                )
            ),
            None,
        )


class TrueBody(HMR):
    """Draws the true body."""

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        return Samples(
            BodySamples(*(part.expand(-1, count, *part.shape[2:]) for part in batch.bodies())), None
        )


def in_crop(batch: Batch) -> np.ndarray:
    homogeneous = (batch.joints @ batch.crop_from_view.mT).numpy()
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Batch:
    return random_batch(3, 1, body)


def test_the_ground_truth_is_drawn_where_the_crop_shows_it(sample: Batch, body: BodyModel) -> None:
    method = Elsewhere("3d", priors(body), HMRConfig(), TINY_ENCODER)
    image = hypotheses_figure(method, sample, count=2)
    assert image.shape == (3 * 256, 2 * 256, 3) and image.dtype == np.uint8
    for i, joints in enumerate(in_crop(sample)):
        front = image[256 * i : 256 * (i + 1), :256]
        for (x, y), visible in zip(
            joints.round().astype(int), sample.visible[i] > 0.5, strict=True
        ):
            if 4 <= x < 252 and 4 <= y < 252:
                ring = front[[y - 3, y + 3, y, y], [x, x, x - 3, x + 3]]
                assert (ring == WHITE).all(-1).sum() >= 3  # a joint, visible or not
                if visible:
                    assert (front[y - 2 : y + 3, x - 2 : x + 3] == WHITE).all()  # a disc
        white = np.argwhere((front == WHITE).all(-1))[:, ::-1]
        assert (
            np.linalg.norm(white[:, None] - joints, axis=-1).min(1).max() < 60
        )  # bones, and nothing else


def test_a_occluded_joint_is_a_ring(sample: Batch, body: BodyModel) -> None:
    method = Elsewhere("3d", priors(body), HMRConfig(), TINY_ENCODER)
    hand = 22  # at the end of its bone: half of the ring is free of lines
    drawn = {}
    for shown in (0.0, 1.0):
        visible = sample.visible.clone()
        visible[:, hand] = shown
        drawn[shown] = hypotheses_figure(method, sample._replace(visible=visible), count=1)[
            :256, :256
        ]
    x, y = in_crop(sample)[0, hand].round().astype(int)
    patch = (slice(y - 2, y + 3), slice(x - 2, x + 3))
    assert (drawn[1.0][patch] == WHITE).all() and not (drawn[0.0][patch] == WHITE).all()


def test_hypotheses_have_their_own_colours_and_the_ground_truth_lies_on_top(
    sample: Batch, body: BodyModel
) -> None:
    flow = mhentropy(body, random_flow(0))
    image = hypotheses_figure(flow, sample, count=8)
    colours = {tuple(int(c) for c in colour) for colour in image.reshape(-1, 3)}
    assert {figures._TARGET, figures._CENTER, figures._SAMPLE} <= colours
    np.testing.assert_array_equal(hypotheses_figure(flow, sample, count=8), image)
    # Where the estimate is the ground truth, the latter covers it.
    perfect = hypotheses_figure(
        TrueBody("3d", priors(body), HMRConfig(), TINY_ENCODER), sample, count=3
    )
    alone = hypotheses_figure(
        Elsewhere("3d", priors(body), HMRConfig(), TINY_ENCODER), sample, count=3
    )
    np.testing.assert_array_equal((perfect == WHITE).all(-1), (alone == WHITE).all(-1))


def test_from_the_side_depth_goes_to_the_right() -> None:
    points = np.zeros((24, 3), np.float32)
    points[:, 2] = 4.0
    points[5] += [0.3, 0.5, 0.7]
    side = figures._from_side(points, points[0])
    np.testing.assert_allclose(side[0], [128, 128])
    np.testing.assert_allclose(side[5], [128 + 70, 128 + 50], atol=1e-4)
    # Another body's distance is left out, its height is not.
    np.testing.assert_allclose(
        figures._from_side(points + np.array([0, 0.1, 3.0]), points[0])[5], [198, 188], atol=1e-4
    )
