"""What all methods know, and the regression that is the simplest of them."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel, joints_only
from tests.support.random_samples import TINY_ENCODER, priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.method import Loss2DConfig, Loss3DConfig
from trainer.model import so3


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Batch:
    return random_batch(8, 1, body)


def test_the_true_body_has_the_true_joints(sample: Batch, body: BodyModel) -> None:
    joints = priors(body).joints(sample, sample.bodies())
    torch.testing.assert_close(joints[:, 0], sample.joints, atol=1e-4, rtol=0)


def test_the_true_body_has_no_distance_to_the_truth_and_another_has(
    sample: Batch, body: BodyModel
) -> None:
    everybody, config = priors(body), Loss3DConfig(joints=2.0, rotations=3.0, betas=5.0)
    bodies = sample.bodies()
    total, losses = everybody.loss_3d(sample, bodies, everybody.joints(sample, bodies), config)
    assert total < 1e-2 and losses["rotations"] < 1e-6
    moved = bodies._replace(betas=bodies.betas + 0.5, camera=bodies.camera + 0.1)
    total, losses = everybody.loss_3d(sample, moved, everybody.joints(sample, bodies), config)
    assert total.item() == pytest.approx(
        5 * 0.25 + 3 * 0.01, abs=1e-2
    )  # per coefficient; summed over the camera's three
    # A quarter turn of every joint has the squared Frobenius distance 4.
    turned = bodies._replace(
        rotvec=so3.log(so3.exp(bodies.rotvec) @ so3.exp(torch.tensor([torch.pi / 2, 0.0, 0.0])))
    )
    _, losses = everybody.loss_3d(sample, turned, everybody.joints(sample, bodies), config)
    assert losses["rotations"].item() == pytest.approx(4, abs=1e-3)


def test_the_true_body_is_the_likeliest_under_the_visible_joints(
    sample: Batch, body: BodyModel
) -> None:
    everybody, config = priors(body), Loss2DConfig(laplace_scale=0.05)
    bodies = sample.bodies()
    true = everybody.reprojection(sample, everybody.joints(sample, bodies), config)
    best = 2 * np.log(2 * 0.05) * sample.visible.sum(-1)
    torch.testing.assert_close(true, best.float(), atol=0.05, rtol=0)
    moved = bodies._replace(camera=bodies.camera + 0.05)
    assert (
        everybody.reprojection(sample, everybody.joints(sample, moved), config) > true + 5
    ).all()
    hidden = sample._replace(visible=torch.zeros_like(sample.visible))
    assert (everybody.reprojection(hidden, everybody.joints(sample, moved), config) == 0).all()


def test_nothing_that_is_known_is_stored_with_a_method(body: BodyModel) -> None:
    method = HMR("3d", priors(body), HMRConfig(), TINY_ENCODER)
    assert all(name.startswith("regressor.") for name in method.state_dict())


def test_a_regressor_starts_at_the_t_pose(body: BodyModel) -> None:
    sample = random_batch(4, 2, body)
    torch.manual_seed(0)
    method = HMR("3d", priors(body), HMRConfig(), TINY_ENCODER).eval()
    with torch.no_grad():
        drawn = method.draw(sample, 5, StepRng(0, 0))
    assert drawn.log_q is None and drawn.bodies.rotvec.shape == (4, 5, 24, 3)
    assert drawn.bodies.rotvec.abs().max() < 0.2 and drawn.bodies.betas.abs().max() < 0.2
    torch.testing.assert_close(
        drawn.bodies.rotvec[:, 1:], drawn.bodies.rotvec[:, :1].expand(-1, 4, -1, -1), atol=0, rtol=0
    )
    assert method.log_prob(sample) is None
    joints = method.priors.joints(sample, drawn.bodies)[:, 0].numpy()
    rest = joints_only(body, np.zeros((1, 24, 3)), np.zeros((1, 10)), np.zeros((1, 3)))[0]
    lengths = [np.linalg.norm(j[..., 4, :] - j[..., 1, :], axis=-1) for j in (joints, rest)]
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=0.05)


def test_under_2d_vis_the_regressor_does_not_look_at_3d_truth(
    sample: Batch, body: BodyModel
) -> None:
    torch.manual_seed(0)
    method = HMR("2d-vis", priors(body), HMRConfig(), TINY_ENCODER).eval()
    wrong = {
        name: torch.full_like(getattr(sample, name), torch.nan)
        for name in ("rotvec", "betas", "camera", "joints")
    }
    (total, losses), (other, _) = (
        method(sample, StepRng(0, 0)),
        method(sample._replace(**wrong), StepRng(0, 0)),
    )
    assert total == other
    parts = losses["reprojection"] + method.config.loss_2d.prior * (
        losses["pose_prior"] + losses["shape_prior"]
    )
    torch.testing.assert_close(total, parts)
