"""HMR: a regressor that starts at the T-pose; its 2D loss is the sum it says."""

import numpy as np
import torch

from engines.body import BodyModel, joints_only
from tests.support.random_samples import TINY_ENCODER, priors, random_batch
from trainer.data.rng import StepRng
from trainer.methods.hmr import HMR, HMRConfig


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
    body: BodyModel,
) -> None:
    sample = random_batch(8, 1, body)
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
