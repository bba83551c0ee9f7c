"""The flow with an anchor: densities, its centre, and the graph that the live system runs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from engines.features import NUM_POINT_FEATURES
from trainer.model import so3
from trainer.model.anchored_flow import AnchoredConfig, AnchoredFlow, OnePicture
from trainer.model.flow import DIM

SMALL = AnchoredConfig(width=32, blocks=1, narrow=16, couplings=3, hidden=16)


@pytest.fixture
def flow() -> AnchoredFlow:
    torch.manual_seed(0)
    flow = AnchoredFlow(SMALL).eval().requires_grad_(False)
    for p in flow.parameters():
        p += 0.05 * torch.randn_like(p)
    flow.std.fill_(0.3)
    return flow


def _look(flow: AnchoredFlow, count: int = 4):
    return flow.look(
        torch.randn(count, NUM_POINT_FEATURES, generator=torch.Generator().manual_seed(1))
    )


def test_zero_is_the_centre(flow: AnchoredFlow) -> None:
    look = _look(flow)
    bodies, _ = flow.sample(look, torch.zeros(4, 1, DIM))
    for drawn, center in zip(bodies, flow.center(look), strict=True):
        torch.testing.assert_close(drawn, center)


def test_density_of_a_draw_is_the_density_of_its_body(flow: AnchoredFlow) -> None:
    look, z = _look(flow), torch.randn(4, 5, DIM)
    bodies, log_q = flow.sample(look, z)
    torch.testing.assert_close(
        flow.log_prob(look, bodies, twins=False), log_q, atol=2e-3, rtol=1e-4
    )
    assert (flow.log_prob(look, bodies) >= log_q - 1e-2).all()


def test_log_volume_is_the_jacobians(flow: AnchoredFlow) -> None:
    """Change of variables: log q = log N(z) - log|dx/dz| - log volume of x -> rotations, the first
    by brute force.
    """
    flow = flow.double()
    features = torch.randn(1, NUM_POINT_FEATURES, dtype=torch.float64)
    look = flow.look(features)
    z = torch.randn(DIM, dtype=torch.float64)

    def coordinates(noise: torch.Tensor) -> torch.Tensor:
        bodies, _ = flow.sample(look, noise[None, None])
        return flow._coordinates(bodies)[0, 0]

    J = torch.autograd.functional.jacobian(coordinates, z)
    bodies, log_q = flow.sample(look, z[None, None])
    x = flow._coordinates(bodies)
    volume = flow._bodies(x)[1][0, 0]
    normal = -0.5 * (z @ z) - 0.5 * DIM * np.log(2 * np.pi)
    expected = normal - torch.linalg.slogdet(J)[1] - volume
    assert log_q[0, 0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_relative_orientation_comes_back(flow: AnchoredFlow) -> None:
    y = torch.randn(6, 24, 3)
    R = so3.exp(torch.randn(6, 3))
    there = flow.relative(R, y)
    torch.testing.assert_close(R @ so3.exp(there[:, 0]), so3.exp(y[:, 0]), atol=1e-5, rtol=1e-5)
    assert torch.equal(there[:, 1:], y[:, 1:])


def test_graph_is_the_flow(flow: AnchoredFlow, tmp_path: Path) -> None:
    from trainer.follow import OUTPUTS, export

    path = tmp_path / "flow.onnx"
    export(flow, path, {})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    features, z = torch.randn(1, NUM_POINT_FEATURES), torch.randn(9, DIM)
    out = session.run(list(OUTPUTS), {"features": features.numpy(), "z": z.numpy()})
    for ours, theirs in zip(OnePicture(flow)(features, z), out, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-3)
