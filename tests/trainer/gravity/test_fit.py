"""Training of the gravity network: mirror images, what torch and NumPy compute, known noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t

from engines.gravity.direction import tangent_basis
from engines.gravity.network import GravityNetwork
from engines.rotations import exp_so3
from trainer.gravity.fit import GravityTraining, fit, metrics
from trainer.gravity.network import TrainedNetwork, likelihood_loss, squared_distance
from trainer.gravity.samples import GravitySamples

STD = 0.15


def samples(count: int, seed: int) -> GravitySamples:
    """People whose head is straight up, seen with noise of a known size."""
    rng = np.random.default_rng(seed)
    R = exp_so3(rng.normal(size=(count, 3)))
    up = rng.normal(size=(count, 3))
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    B = tangent_basis(up)
    head = up + STD * np.einsum("nia,na->ni", B, rng.normal(size=(count, 2)))
    joints = 0.1 * rng.normal(size=(count, 24, 3)) + (0, 0, 3.0)
    joints[:, 15] = joints[:, 0] + 0.6 * head
    spread = rng.normal(size=(count, 24, 3, 3))
    cov = 0.001 * spread @ spread.swapaxes(-1, -2)
    six = cov[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    arrays = (R, joints, six, rng.uniform(size=(count, 24)), up)
    return GravitySamples(*(array.astype(np.float32) for array in arrays))


def test_a_mirror_twice_is_none_and_keeps_what_is_measured() -> None:
    one = samples(20, 0)
    for before, after in zip(one, one.mirrored().mirrored(), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    mirrored = one.mirrored()
    np.testing.assert_allclose(np.linalg.det(mirrored.R_cam_root), 1, atol=1e-5)
    head = one.joints[:, 15] - one.joints[:, 0]
    other = mirrored.joints[:, 15] - mirrored.joints[:, 0]
    np.testing.assert_allclose((other * mirrored.up).sum(-1), (head * one.up).sum(-1), atol=1e-5)


def test_numpy_evaluates_what_torch_trained(tmp_path: Path) -> None:
    one = samples(50, 1)
    torch.manual_seed(0)
    features = torch.from_numpy(one.features())
    trained = TrainedNetwork(features, (16, 8)).requires_grad_(False)
    np.savez(tmp_path / "g.npz", **trained.arrays(1.3))
    vector, cov = GravityNetwork.load(tmp_path / "g.npz").predict(one.features())
    expected, L = trained(features)
    np.testing.assert_allclose(vector, expected, atol=1e-4)
    up = torch.from_numpy(one.up_in_root())
    squared, _ = squared_distance(expected, L, up)
    B = tangent_basis(vector)
    flat = np.einsum("nia,nij,njb->nab", B, cov / 1.3**2, B)
    cosine = (vector * up.numpy()).sum(-1).clip(-1, 1)
    stretch = np.arccos(cosine) / np.sqrt(1 - cosine**2)
    away = np.einsum("nia,ni->na", B, up.numpy()) * stretch[:, None]
    again = np.einsum("na,na->n", away, np.linalg.solve(flat, away[..., None])[..., 0])
    np.testing.assert_allclose(squared, again, rtol=2e-2)


@pytest.mark.parametrize("tails", [3.0, 5.0])
def test_the_likelihood_is_students_t_in_the_tangent_plane(tails: float) -> None:
    vector, L = torch.eye(3)[[2]], torch.diag(torch.tensor([0.1, 0.3, 1.0]))[None]
    away = torch.linspace(0.0, 1.0, 11)
    for axis, std in enumerate((0.1, 0.3)):
        up = away.cos()[:, None] * vector + away.sin()[:, None] * torch.eye(3)[[axis]]
        found = likelihood_loss(vector.expand(11, 3), L.expand(11, 3, 3), up, tails)
        other = 0.03 / std  # the covariance's other axis
        shape = np.diag([std**2, other**2])
        points = np.column_stack([away.numpy(), np.zeros(11)])
        expected = -multivariate_t(shape=shape, df=tails).logpdf(points) - np.log(2 * np.pi)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("tails", [5.0])
def test_known_noise_is_found_and_stated(tmp_path: Path, tails: float) -> None:
    config = GravityTraining(hidden=(32,), epochs=6, batch=64, tails=tails, rolled=0.0, noise=0.0)
    trained, scale, losses = fit(samples(3000, 2), samples(800, 3), config, seed=0)
    assert losses[-1] < losses[0] - 1
    np.savez(tmp_path / "g.npz", **trained.arrays(scale))
    found = metrics(GravityNetwork.load(tmp_path / "g.npz"), samples(1500, 4))
    error, coverage = found["error_deg"], found["coverage"]
    assert isinstance(error, dict)
    assert isinstance(coverage, dict)
    # The median of a Rayleigh distribution is 1.177 sigma; the rest is what is still to be learned.
    assert 1.177 * np.degrees(STD) < error["median"] < 1.6 * 1.177 * np.degrees(STD)
    assert 0.86 < coverage["0.9"] < 0.94
