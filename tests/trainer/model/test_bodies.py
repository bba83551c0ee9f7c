"""BodySamples as plain numbers: scipy as the oracle, and back again."""

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from trainer.model import so3
from trainer.model.bodies import (
    BODY_DIM,
    ROT6D_DIM,
    BodySamples,
    bodies_from_vector,
    rotmat_from_6d,
    vector_from_bodies,
)


def random_bodies(count: int, spread: float = 0.8) -> BodySamples:
    generator = torch.Generator().manual_seed(0)
    y = spread * torch.randn(count, 2, 24, 3, generator=generator, dtype=torch.float64)
    y = y * (
        y.norm(dim=-1, keepdim=True).clamp_max(3.0) / y.norm(dim=-1, keepdim=True)
    )  # below half a turn
    betas = 2 * torch.randn(count, 2, 10, generator=generator, dtype=torch.float64)
    camera = 0.5 * torch.randn(count, 2, 3, generator=generator, dtype=torch.float64)
    return BodySamples(y, betas, camera)


def test_numbers_of_bodies_give_the_bodies_back() -> None:
    bodies = random_bodies(5)
    numbers = vector_from_bodies(bodies)
    assert numbers.shape == (5, 2, BODY_DIM) == (5, 2, 157)
    for actual, expected in zip(bodies_from_vector(numbers), bodies, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_six_numbers_are_orthonormalised_columns() -> None:
    rot6d = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R = rotmat_from_6d(rot6d).numpy()
    np.testing.assert_allclose(
        np.swapaxes(R, -1, -2) @ R, np.broadcast_to(np.eye(3), R.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(R), 1.0, atol=1e-12)
    a, b = rot6d[:, :3].numpy(), rot6d[:, 3:].numpy()
    np.testing.assert_allclose(
        np.cross(R[..., 0], a), 0, atol=1e-12
    )  # the first column points along a
    assert (
        np.einsum("ni,ni->n", R[..., 1], b) > 0
    ).all()  # the second towards b, in the plane of both
    np.testing.assert_allclose(np.einsum("ni,ni->n", R[..., 2], b), 0, atol=1e-12)


def test_six_numbers_of_a_rotation_are_its_first_two_columns() -> None:
    R = Rotation.random(20, random_state=0).as_matrix()
    rot6d = torch.from_numpy(np.concatenate([R[..., 0], R[..., 1]], -1))
    np.testing.assert_allclose(rotmat_from_6d(rot6d).numpy(), R, atol=1e-12)
    y = torch.from_numpy(Rotation.from_matrix(R).as_rotvec())
    bodies = BodySamples(
        y[:, None, None].expand(-1, 1, 24, 3), torch.zeros(20, 1, 10), torch.zeros(20, 1, 3)
    )
    numbers = vector_from_bodies(bodies)
    torch.testing.assert_close(
        numbers[:, 0, :ROT6D_DIM].unflatten(-1, (24, 6))[:, 7], rot6d, atol=1e-9, rtol=0
    )


def test_distances_stay_within_a_factor_of_twenty() -> None:
    numbers = torch.zeros(3, 1, BODY_DIM)
    numbers[..., :ROT6D_DIM] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(24)
    numbers[:, 0, -1] = torch.tensor([-1e4, 0.5, 1e4])
    camera = bodies_from_vector(numbers).camera[:, 0]
    assert camera[0, 2] == -3 and camera[2, 2] == 3 and math.exp(3) < 20.1
    assert 0.49 < camera[1, 2] < 0.5  # small ones are hardly touched
    assert torch.isfinite(vector_from_bodies(bodies_from_vector(numbers))).all()


def test_gradients_are_finite_at_the_t_pose() -> None:
    rest = BodySamples(torch.zeros(1, 1, 24, 3), torch.zeros(1, 1, 10), torch.zeros(1, 1, 3))
    numbers = vector_from_bodies(rest).requires_grad_()
    bodies = bodies_from_vector(numbers)
    torch.testing.assert_close(bodies.rotvec, rest.rotvec, atol=1e-6, rtol=0)
    (
        bodies.rotvec.sum()
        + so3.exp(bodies.rotvec).square().sum()
        + bodies.camera.sum()
        + bodies.betas.sum()
    ).backward()
    assert numbers.grad is not None and torch.isfinite(numbers.grad).all()
    assert (numbers.grad[..., :ROT6D_DIM] != 0).any()


def test_some_of_the_bodies() -> None:
    bodies = random_bodies(3)
    second, both = bodies.at(1), bodies.at(slice(0, None))
    assert second.rotvec.shape == (3, 1, 24, 3)
    torch.testing.assert_close(second.camera[:, 0], bodies.camera[:, 1])
    torch.testing.assert_close(both.betas, bodies.betas)
    torch.testing.assert_close(bodies.at(0).rotvec[:, 0], bodies.rotvec[:, 0])


def test_pick_takes_bodies_by_number() -> None:
    betas = torch.arange(6.0).view(2, 3, 1).expand(2, 3, 10)
    bodies = BodySamples(torch.zeros(2, 3, 24, 3), betas, torch.zeros(2, 3, 3))
    assert bodies.pick(torch.tensor([[2, 0], [1, 1]])).betas[..., 0].tolist() == [[2, 0], [4, 4]]
