"""What all methods know before any image, and the losses that they share."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import TINY_ENCODER, priors, random_batch
from trainer.data.samples import Batch
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.method import Loss2DConfig, Loss3DConfig
from trainer.model import so3
from trainer.model.bodies import BodySamples


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Batch:
    return random_batch(8, 1, body)


def test_the_true_body_has_the_true_joints(sample: Batch, body: BodyModel) -> None:
    joints = priors(body).joints(sample, sample.bodies())
    torch.testing.assert_close(joints[:, 0], sample.joints, atol=1e-4, rtol=0)


def test_the_true_body_has_no_distance_to_the_truth_and_another_has(
    sample: Batch, body: BodyModel
) -> None:
    known, config = priors(body), Loss3DConfig(joints=2.0, rotations=3.0, betas=5.0)
    bodies = sample.bodies()
    total, losses = known.loss_3d(sample, bodies, known.joints(sample, bodies), config)
    assert total < 1e-2 and losses["rotations"] < 1e-6
    moved = bodies._replace(betas=bodies.betas + 0.5, camera=bodies.camera + 0.1)
    total, losses = known.loss_3d(sample, moved, known.joints(sample, bodies), config)
    assert total.item() == pytest.approx(
        5 * 0.25 + 3 * 0.01, abs=1e-2
    )  # per coefficient; summed over the camera's three
    # A quarter turn of every joint has the squared Frobenius distance 4.
    turned = bodies._replace(
        rotvec=so3.log(so3.exp(bodies.rotvec) @ so3.exp(torch.tensor([torch.pi / 2, 0.0, 0.0])))
    )
    _, losses = known.loss_3d(sample, turned, known.joints(sample, bodies), config)
    assert losses["rotations"].item() == pytest.approx(4, abs=1e-3)


def test_the_true_body_is_the_likeliest_under_the_visible_joints(
    sample: Batch, body: BodyModel
) -> None:
    known, config = priors(body), Loss2DConfig(laplace_scale=0.05)
    bodies = sample.bodies()
    true = known.reprojection(sample, known.joints(sample, bodies), config)
    best = 2 * np.log(2 * 0.05) * sample.visible.sum(-1)
    torch.testing.assert_close(true, best.float(), atol=0.05, rtol=0)
    moved = bodies._replace(camera=bodies.camera + 0.05)
    assert (known.reprojection(sample, known.joints(sample, moved), config) > true + 5).all()
    hidden = sample._replace(visible=torch.zeros_like(sample.visible))
    assert (known.reprojection(hidden, known.joints(sample, moved), config) == 0).all()


def test_nothing_that_is_known_is_stored_with_a_method(body: BodyModel) -> None:
    method = HMR("3d", priors(body), HMRConfig(), TINY_ENCODER)
    assert all(name.startswith("regressor.") for name in method.state_dict())


def test_the_2d_loss_of_each_body_has_the_2d_loss_as_its_mean(
    body: BodyModel, sample: Batch
) -> None:
    known, batch = priors(body), sample.rows(torch.arange(6))
    generator = torch.Generator().manual_seed(1)
    bodies = BodySamples(
        *(0.3 * torch.randn(6, 5, *shape, generator=generator) for shape in ((24, 3), (10,), (3,)))
    )
    joints, config = known.joints(batch, bodies), Loss2DConfig(prior=0.7)
    each = known.loss_2d_per_body(batch, bodies, joints, config)
    assert each.shape == (6, 5)
    torch.testing.assert_close(each.mean(), known.loss_2d(batch, bodies, joints, config)[0])
    third, fourth = batch.rows(torch.tensor([2])), BodySamples(*(part[2:3, 3:4] for part in bodies))
    alone, _ = known.loss_2d(third, fourth, joints[2:3, 3:4], config)
    torch.testing.assert_close(each[2, 3], alone)
