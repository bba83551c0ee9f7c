"""Quaternions with the batch last, against the rotation matrices of `engines.rotations`."""

import math

import numpy as np
import torch

from engines.rotations import exp_so3
from trainer import quaternions as quat


def _random(count: int, seed: int = 0) -> torch.Tensor:
    return 1.5 * torch.randn(
        3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def _matrix(q: torch.Tensor) -> np.ndarray:
    columns = [
        quat.rotate(q, torch.eye(3, dtype=q.dtype)[i][:, None].expand(3, q.shape[1]))
        for i in range(3)
    ]
    return torch.stack(columns, -1).permute(1, 0, 2).numpy()


def test_exp_and_rotate() -> None:
    v = _random(50)
    np.testing.assert_allclose(_matrix(quat.exp(v)), exp_so3(v.T.numpy()), atol=1e-7)


def test_multiply_is_composition() -> None:
    a, b = quat.exp(_random(50)), quat.exp(_random(50, 1))
    np.testing.assert_allclose(_matrix(quat.multiply(a, b)), _matrix(a) @ _matrix(b), atol=1e-7)


def test_log_is_the_short_way_back() -> None:
    v = _random(200)
    back = quat.log(quat.exp(v))
    assert back.norm(dim=0).max() <= math.pi + 1e-6
    np.testing.assert_allclose(_matrix(quat.exp(back)), _matrix(quat.exp(v)), atol=1e-7)


def test_from_matrix_also_near_half_a_turn() -> None:
    v = _random(200)
    v = torch.cat([v, math.pi * torch.nn.functional.normalize(v, dim=0)], 1)
    R = torch.tensor(exp_so3(v.T.numpy())).permute(1, 2, 0)
    np.testing.assert_allclose(_matrix(quat.from_matrix(R)), R.permute(2, 0, 1).numpy(), atol=1e-7)


def test_about() -> None:
    turn = quat.about(1, torch.tensor([math.pi / 2], dtype=torch.float64))
    out = quat.rotate(turn, torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64))
    np.testing.assert_allclose(out[:, 0], [1, 0, 0], atol=1e-12)
