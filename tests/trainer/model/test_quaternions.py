"""Quaternions with the batch last, against the rotation matrices of `engines.rotations`."""

import math

import numpy as np
import torch

from engines.rotations import exp_so3
from trainer.model import quaternions as quat


def random_rotvec(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(3, count, generator=generator, dtype=torch.float64)


def matrix(q: torch.Tensor) -> np.ndarray:
    axes = torch.eye(3, dtype=q.dtype)
    columns = [quat.rotate(q, axis[:, None].expand(3, q.shape[1])) for axis in axes]
    return torch.stack(columns, -1).permute(1, 0, 2).numpy()


def test_exp_and_rotate_are_the_matrices() -> None:
    v = random_rotvec(50)
    np.testing.assert_allclose(matrix(quat.exp(v)), exp_so3(v.T.numpy()), atol=1e-7)


def test_multiplication_is_composition() -> None:
    a, b = quat.exp(random_rotvec(50)), quat.exp(random_rotvec(50, 1))
    np.testing.assert_allclose(matrix(quat.multiply(a, b)), matrix(a) @ matrix(b), atol=1e-7)


def test_log_is_the_short_way_back() -> None:
    v = random_rotvec(200)
    back = quat.log(quat.exp(v))
    assert back.norm(dim=0).max() <= math.pi + 1e-6 and v.norm(dim=0).max() > math.pi
    np.testing.assert_allclose(matrix(quat.exp(back)), matrix(quat.exp(v)), atol=1e-7)


def test_from_matrix_also_near_half_a_turn() -> None:
    v = random_rotvec(200)
    v = torch.cat([v, math.pi * torch.nn.functional.normalize(v, dim=0)], 1)
    R = torch.tensor(exp_so3(v.T.numpy())).permute(1, 2, 0)
    np.testing.assert_allclose(matrix(quat.from_matrix(R)), R.permute(2, 0, 1).numpy(), atol=1e-7)


def test_a_rotation_about_an_axis() -> None:
    quarter = quat.about_axis(1, torch.tensor([math.pi / 2], dtype=torch.float64))
    out = quat.rotate(quarter, torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64))
    np.testing.assert_allclose(out[:, 0], [1, 0, 0], atol=1e-12)
