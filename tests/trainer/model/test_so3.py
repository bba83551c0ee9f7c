"""Rotations in torch: scipy as the oracle, volumes against autograd and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from engines.rotations import log_so3
from trainer.model import so3

ANGLES = [0.0, 1e-9, 1e-5, 9e-4, 1.1e-3, 0.02, 0.3, 1.5, 3.0, math.pi - 1e-6, math.pi, 4.0]
RADIUS = torch.tensor([math.pi, 1.5 * math.pi], dtype=torch.float64)


def directions(count: int = 16) -> torch.Tensor:
    v = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v[:3] = torch.eye(3, dtype=torch.float64)
    return (v / v.norm(dim=-1, keepdim=True))[:count]


def log_abs_det(function, at: torch.Tensor) -> torch.Tensor:
    """log |det| of a map of R^3 at each row, by autograd."""
    return torch.stack(
        [torch.linalg.slogdet(torch.autograd.functional.jacobian(function, row))[1] for row in at]
    )


@pytest.mark.parametrize("angle", ANGLES)
def test_exp_matches_scipy(angle: float) -> None:
    y = angle * directions()
    expected = Rotation.from_rotvec(y.numpy()).as_matrix()
    np.testing.assert_allclose(so3.exp(y).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(so3.exp(y.float()).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("angle", [a for a in ANGLES if a <= 3.0])
def test_exp_has_the_right_derivative(angle: float) -> None:
    y, v = angle * directions()[3], directions()[5]
    (_, tangent) = torch.autograd.functional.jvp(so3.exp, y, v)
    step = 1e-6
    numeric = (Rotation.from_rotvec((y + step * v).numpy()).as_matrix()
               - Rotation.from_rotvec((y - step * v).numpy()).as_matrix()) / (2 * step)  # fmt: skip
    np.testing.assert_allclose(tangent.numpy(), numeric, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 9e-3, 1.1e-2, 0.3, 1.5, 3.0, 4.0, 4.6])
def test_volume_of_exp_is_the_determinant_of_its_left_jacobian(angle: float) -> None:
    y, step = (angle * directions(4)).numpy(), 1e-4
    for row, claimed in zip(y, so3.exp_log_det(torch.from_numpy(y)), strict=True):
        R = Rotation.from_rotvec(row).as_matrix()
        ahead, behind = (
            log_so3(R.T @ Rotation.from_rotvec(row + side * step * np.eye(3)).as_matrix())
            for side in (1, -1)
        )
        assert np.linalg.slogdet((ahead - behind) / (2 * step))[1] == pytest.approx(
            claimed.item(), abs=1e-6
        )


def test_volume_of_exp_is_smooth_at_zero() -> None:
    y = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    value = so3.exp_log_det(y).sum() + so3.exp(y).sum()
    value.backward()
    assert y.grad is not None and torch.isfinite(y.grad).all()
    below, above = (
        so3.exp_log_det(torch.tensor([[angle, 0.0, 0.0]])) for angle in (0.009999, 0.010001)
    )
    assert below.item() == pytest.approx(above.item(), abs=1e-6)


def test_rotations_have_the_volume_8_pi_squared() -> None:
    count = 400_000
    cube = (
        2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        - 1
    ) * math.pi
    density = (
        torch.where(cube.norm(dim=-1) < math.pi, so3.exp_log_det(cube).exp(), 0.0)
        * (2 * math.pi) ** 3
    )
    error = density.std().item() / math.sqrt(count)
    assert density.mean().item() == pytest.approx(8 * math.pi**2, abs=4 * error)
    assert 4 * error < 0.01 * 8 * math.pi**2


@pytest.mark.parametrize("radius", RADIUS)
@pytest.mark.parametrize("length", [1e-3, 0.5, 2.0, 6.0])
def test_volume_of_squeeze_matches_autograd(length: float, radius: torch.Tensor) -> None:
    x = length * directions(6)
    expected = log_abs_det(lambda row: so3.radial_tanh(row, radius), x)
    torch.testing.assert_close(so3.radial_tanh_log_det(x, radius), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", RADIUS)
def test_squeeze_and_its_volume_stay_finite_at_zero_and_far_out(radius: torch.Tensor) -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [80.0, 0.0, 0.0], [0.0, 300.0, 300.0]], requires_grad=True)
    y, volume = so3.radial_tanh(x, radius.float()), so3.radial_tanh_log_det(x, radius.float())
    assert (y.norm(dim=-1) <= radius * (1 + 1e-6)).all()
    torch.autograd.backward([y.sum() + volume.sum()])
    assert torch.isfinite(volume).all() and x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("radius", RADIUS)
def test_unsqueeze_inverts_squeeze(radius: torch.Tensor) -> None:
    lengths = torch.linspace(0, 3.5 * float(radius), 16, dtype=torch.float64)[
        :, None
    ]  # tanh(3.5) = 0.998
    x = lengths * directions()
    y = so3.radial_tanh(x, radius)
    assert (y.norm(dim=-1) < radius).all()
    torch.testing.assert_close(so3.radial_atanh(y, radius), x, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("angle", [0.3, 1.6, 3.0, math.pi, 4.7])
def test_twin_is_the_same_rotation_and_an_involution(angle: float) -> None:
    y = angle * directions()
    other = so3.twin(y)
    torch.testing.assert_close(so3.exp(other), so3.exp(y), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        other.norm(dim=-1), torch.full((16,), 2 * math.pi - angle, dtype=torch.float64)
    )
    torch.testing.assert_close(so3.twin(other), y, atol=1e-9, rtol=0)


LOG_ANGLES = [0.0, 1e-7, 1e-5, 1e-3, 0.02, 0.3, 1.5, 2.0, 3.0, math.pi - 1e-4, math.pi - 1e-7]


@pytest.mark.parametrize("angle", LOG_ANGLES)
def test_log_is_that_of_the_engines_and_of_scipy(angle: float) -> None:
    y = angle * directions()
    R = Rotation.from_rotvec(y.numpy()).as_matrix()
    ours = so3.log(torch.from_numpy(R)).numpy()
    np.testing.assert_allclose(ours, y.numpy(), atol=1e-7)
    np.testing.assert_allclose(ours, log_so3(R), atol=1e-7)
    np.testing.assert_allclose(
        so3.log(torch.from_numpy(R).float()).numpy(), y.numpy(), atol=2e-6 if angle < 3.1 else 2e-4
    )


def test_log_of_half_a_turn_is_one_of_its_two_vectors() -> None:
    y = math.pi * directions()
    found = so3.log(torch.from_numpy(Rotation.from_rotvec(y.numpy()).as_matrix()))
    apart = torch.minimum((found - y).norm(dim=-1), (found + y).norm(dim=-1))
    assert apart.max() < 1e-6


def test_exp_of_log_is_the_rotation() -> None:
    R = torch.from_numpy(Rotation.random(500, random_state=0).as_matrix())
    torch.testing.assert_close(so3.exp(so3.log(R)), R, atol=1e-9, rtol=0)
    y = so3.log(R.float())
    assert (y.norm(dim=-1) <= math.pi + 1e-6).all()
    torch.testing.assert_close(so3.exp(y), R.float(), atol=3e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", LOG_ANGLES)
def test_log_has_a_finite_gradient(angle: float, dtype: torch.dtype) -> None:
    R = so3.exp((angle * directions()).to(dtype)).requires_grad_()
    so3.log(R).sum().backward()
    assert R.grad is not None and torch.isfinite(R.grad).all()
    assert R.grad.abs().max() < (10.0 if angle < 3.1 else 1e5)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1e-3, 0.3, 1.5, 3.0, math.pi - 1e-3])
def test_log_undoes_the_derivative_of_exp(angle: float) -> None:
    y = angle * directions(6)
    for row in y:
        jacobian = torch.autograd.functional.jacobian(lambda v: so3.log(so3.exp(v)), row)
        torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
