"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from trainer.model.losses import (
    joint_distance,
    likelihood_loss,
    negative_entropy,
    pose_prior_loss,
    reprojection_loss,
    shape_prior_loss,
    visibility_loss,
)


def test_reprojection_is_the_laplace_likelihood_of_visible_joints() -> None:
    projected = torch.tensor(
        [[[[0.1, 0.0], [9.0, 9.0]], [[0.3, -0.2], [7.0, 7.0]]]]
    )  # one picture, 2 samples, 2 joints
    target, visible = torch.zeros(1, 2, 2), torch.tensor([[1.0, 0.0]])
    # joint 0: |0.1| and |0.3| + |-0.2|, over b = 0.05, plus 2 log(2 b); mean over samples; joint 1
    # is hidden
    expected = (0.1 / 0.05 + 0.5 / 0.05) / 2 + 2 * math.log(0.1)
    assert reprojection_loss(projected, target, visible, 0.05).tolist() == pytest.approx(
        [expected], rel=1e-5
    )


def test_laplace_density_of_the_reprojection_integrates_to_one() -> None:
    x = torch.linspace(-2, 2, 801)
    grid = torch.stack(torch.meshgrid(x, x, indexing="xy"), -1).reshape(1, -1, 1, 2)
    each = torch.stack(
        [
            reprojection_loss(grid[:, [i]], torch.zeros(1, 1, 2), torch.ones(1, 1), 0.2)
            for i in (0, 7)
        ]
    )
    assert each.shape == (2, 1)
    density = (
        -reprojection_loss(
            grid.reshape(-1, 1, 1, 2),
            torch.zeros(len(x) ** 2, 1, 2),
            torch.ones(len(x) ** 2, 1),
            0.2,
        )
    ).exp()
    assert (density.sum() * (x[1] - x[0]) ** 2).item() == pytest.approx(1.0, abs=2e-3)


def test_hidden_joints_have_no_gradient_and_visible_ones_have() -> None:
    projected = torch.randn(2, 3, 24, 2, requires_grad=True)
    visible = (torch.arange(24) % 3 > 0).float().expand(2, 24)
    reprojection_loss(projected, torch.zeros(2, 24, 2), visible, 0.03).sum().backward()
    assert projected.grad is not None
    assert (projected.grad[:, :, ::3] == 0).all()
    assert (projected.grad[visible[:, None, :, None].expand_as(projected) > 0] != 0).all()


def test_entropy_prior_and_likelihood_are_signed_means() -> None:
    log_p = torch.tensor([[1.0, 3.0], [-2.0, -6.0]])
    assert negative_entropy(log_p).tolist() == [2.0, -4.0]
    assert pose_prior_loss(log_p).tolist() == [-2.0, 4.0]
    assert likelihood_loss(log_p[:, 0]).tolist() == [-1.0, 2.0]


def test_shape_prior_is_the_standard_normal() -> None:
    betas = torch.randn(3, 4, 10)
    expected = -torch.distributions.Normal(0, 1).log_prob(betas).sum(-1).mean(-1)
    torch.testing.assert_close(shape_prior_loss(betas), expected)


def test_joint_distance_puts_pelvises_together() -> None:
    truth = torch.randn(1, 24, 3)
    moved = truth + torch.tensor([1.0, -2.0, 5.0])
    assert joint_distance(moved, truth).item() == pytest.approx(0, abs=2e-4)
    moved[:, 5] += torch.tensor([0.3, 0.0, 0.4])
    assert joint_distance(moved, truth).item() == pytest.approx(0.5 / 24, abs=2e-4)


def test_joint_distance_has_a_finite_gradient_at_the_truth() -> None:
    joints = torch.randn(1, 24, 3, requires_grad=True)
    joint_distance(joints, joints.detach()).sum().backward()
    assert joints.grad is not None and torch.isfinite(joints.grad).all()


def test_visibility_is_the_cross_entropy() -> None:
    logits, visible = torch.tensor([[0.0, 2.0, -3.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    p = [0.5, 1 / (1 + math.exp(-2)), 1 - 1 / (1 + math.exp(3))]
    assert visibility_loss(logits, visible).item() == pytest.approx(
        -sum(map(math.log, p)) / 3, rel=1e-5
    )
