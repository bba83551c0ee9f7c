"""The flow over poses: a density that integrates to one, and the same one in NumPy."""

import math

import numpy as np
import pytest
import torch

from engines.priors.flow import FlowPrior
from trainer.model import so3
from trainer.model.flow import FlowConfig
from trainer.priors.flow import PriorFlow


def random_flow(joints: int, scale: float) -> PriorFlow:
    """Couplings that do something, weights that float16 holds."""
    torch.manual_seed(0)
    flow = PriorFlow(FlowConfig(couplings=4, hidden=16), joints, seed=1)
    flow.standardise(0.5 * torch.randn(500, joints, 3))
    for parameter in flow.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=scale)
        parameter.data = parameter.data.half().float()
    return flow.requires_grad_(False)


def test_density_integrates_to_one() -> None:
    flow = random_flow(joints=1, scale=0.3).double()
    flow._no_context = flow._no_context.double()
    points = 81
    edge = torch.linspace(-math.pi, math.pi, points + 1, dtype=torch.float64)
    middle = 0.5 * (edge[1:] + edge[:-1])
    y = torch.cartesian_prod(middle, middle, middle)
    y = y[y.norm(dim=-1) < math.pi][:, None]
    cell = (2 * math.pi / points) ** 3
    # d(Haar) = exp_log_det d^3y
    density = (flow.log_prob(y) + so3.exp_log_det(y)[:, 0]).exp()
    assert float(density.sum() * cell) == pytest.approx(1, abs=5e-3)
    uniform = random_flow(joints=1, scale=0.0).double()
    uniform._no_context = uniform._no_context.double()
    assert (flow.log_prob(y) - uniform.log_prob(y)).std() > 0.3, "the couplings must do something"


def test_numpy_has_the_same_density_and_samples() -> None:
    flow = random_flow(joints=21, scale=0.15)
    prior = FlowPrior.of(flow.arrays() | {"curvature": np.eye(63)})
    rotvec = 0.5 * torch.randn(50, 21, 3)
    ours = prior.log_density(rotvec.numpy())
    np.testing.assert_allclose(ours, flow.log_prob(rotvec), rtol=1e-5, atol=1e-3)
    # Samples come from noise through the inverse: their noise is standard normal again.
    drawn = prior.sample(4000, np.random.default_rng(0))
    assert drawn.shape == (4000, 23, 3)
    assert not drawn[:, 21:].any()
    noise = prior._forward(drawn[:, :21])[1]
    assert np.abs(noise.mean(0)).max() < 0.08
    np.testing.assert_allclose(noise.std(0), 1, atol=0.06)
