"""The other networks: NumPy says what torch says; what they are trained with is right."""

import numpy as np
import pytest
import torch

from engines.priors.distance_field import TREE, PoseNdf
from engines.priors.vposer import VPoserPrior
from engines.rotations import exp_so3, geodesic_angle, matrix_to_quat_wxyz
from engines.types import JOINT_NAMES
from tests.support.prior_checks import random_rotations
from trainer.model import so3
from trainer.priors.distance_field import DistanceNetwork, FieldConfig, _eikonal
from trainer.priors.neighbours import (
    KNOWN_PARTS,
    PartNeighbours,
    half_angle,
    mirrored_quaternions,
    ndf_distance,
    ndf_noise,
    nrdf_distance,
    nrdf_noise,
    quaternions_of,
)
from trainer.priors.samples import mirrored
from trainer.priors.vposer import VPoser, VPoserConfig, gram_schmidt


def test_vposer_is_the_same_in_numpy() -> None:
    torch.manual_seed(0)
    network = VPoser(VPoserConfig(hidden=32, latent=8))
    for _ in range(20):  # running statistics of the norms
        network(0.5 * torch.randn(64, 21, 3) + 0.2, 0.0)
    network.eval().requires_grad_(False)
    arrays = network.arrays() | {"sigma": np.full(21, 0.1)}
    prior = VPoserPrior.of(arrays)
    R = random_rotations(20, seed=0)
    said = network(so3.log(torch.from_numpy(R[:, 1:22])), 0.0)
    mean, std = prior.encode(R)
    np.testing.assert_allclose(mean, said.mean, atol=5e-3)
    np.testing.assert_allclose(std, said.std, atol=5e-3)
    np.testing.assert_allclose(prior.decode(said.mean.numpy())[:, 1:22], said.R, atol=5e-3)


def test_gram_schmidt_keeps_rotations() -> None:
    R = torch.from_numpy(random_rotations(5, seed=1))
    six = R[..., :2].transpose(-1, -2) * torch.tensor([[2.0], [0.5]])
    torch.testing.assert_close(gram_schmidt(six), R, atol=1e-5, rtol=0)


def test_distance_field_is_the_same_in_numpy() -> None:
    torch.manual_seed(0)
    network = DistanceNetwork(FieldConfig(hidden=(32, 16))).requires_grad_(False)
    for parameter in network.parameters():
        parameter.data = (1.5 * parameter.data).half().float()
    prior = PoseNdf.of(network.arrays() | {"sigma": np.array(0.1), "weight": np.array(3.0)})
    R = random_rotations(20, seed=0)
    q = torch.from_numpy(matrix_to_quat_wxyz(R[:, 1:22]))
    distance = prior.distance(R)
    np.testing.assert_allclose(distance, network(q), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prior.energy(R), 1.5 * (distance / 0.1) ** 2, rtol=1e-5)


def test_parents_are_those_of_the_tree_without_root() -> None:
    names = JOINT_NAMES[1:22]
    parents = {
        name: names[parent] if parent >= 0 else None
        for name, parent in zip(names, TREE, strict=True)
    }
    assert parents["left_hip"] is parents["right_hip"] is parents["spine1"] is None
    assert parents["left_knee"] == "left_hip"
    assert parents["right_knee"] == "right_hip"
    assert parents["left_wrist"] == "left_elbow"
    assert parents["head"] == "neck"
    assert parents["right_collar"] == "spine3"


def test_eikonal_term_is_none_for_a_true_distance() -> None:
    q = torch.nn.functional.normalize(torch.randn(50, 21, 4, dtype=torch.float64), dim=-1)
    target = torch.nn.functional.normalize(q + 0.1 * torch.randn_like(q), dim=-1)
    q.requires_grad_()
    angle = (q * target).sum(-1).clamp(-1, 1).arccos()
    distance = (0.5 * angle.square().sum(-1)).sqrt()
    assert float(_eikonal(distance, q)) < 1e-10
    assert float(_eikonal(2 * distance, q)) == pytest.approx(1, abs=1e-6)


def poses(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (count, 23, 3))


def test_neighbours_are_those_of_a_search_over_all_bodies_of_recorded_parts() -> None:
    recorded, queries = poses(30, 0), quaternions_of(poses(7, 1))
    near = PartNeighbours(recorded, 30, 30, np.random.default_rng(0))
    q = quaternions_of(recorded)
    angle = half_angle(q[None], queries[:, None])  # (7, 30, 21)
    each = [angle[..., list(part)].sum(-1).min(1) for part in KNOWN_PARTS]
    far = np.where(np.arange(21)[:, None] < 0, 0, 1) * np.array([0.0, 1.0, 0.0, 0.0])
    clean = np.broadcast_to(far, queries.shape)  # half a turn: never the nearest
    ours = nrdf_distance(near)(queries, clean)
    np.testing.assert_allclose(ours, np.sum(each, 0) / 21, rtol=1e-5)
    squares = [np.sort((angle[..., list(part)] ** 2).sum(-1), 1)[:, :5] for part in KNOWN_PARTS]
    expected = np.sqrt(0.5 * np.sum(squares, 0)).mean(1)
    np.testing.assert_allclose(ndf_distance(near, 5)(queries, clean), expected, rtol=1e-5)


def test_the_clean_pose_is_a_neighbour() -> None:
    near = PartNeighbours(poses(30, 0) + 2.0, 30, 8, np.random.default_rng(0))
    clean = quaternions_of(poses(40, 2))
    noisy = nrdf_noise(clean, 0.2, np.random.default_rng(1))
    angle = half_angle(noisy, clean).mean(1)
    np.testing.assert_allclose(nrdf_distance(near)(noisy, clean), angle, rtol=1e-4)


def test_noise_is_on_the_sphere_and_as_large_as_it_should_be() -> None:
    rng = np.random.default_rng(0)
    clean = quaternions_of(poses(4000, 3))
    for noisy in (nrdf_noise(clean, 0.3, rng), ndf_noise(clean, (0.1,), rng)):
        np.testing.assert_allclose(np.linalg.norm(noisy, axis=-1), 1, atol=1e-5)
        assert (noisy[..., 0] >= 0).all()
    # |N(0, s)| has the mean s sqrt(2 / pi); half angles are half of it.
    half = half_angle(nrdf_noise(clean, 0.3, rng), clean).mean()
    assert half == pytest.approx(0.5 * 0.3 * np.sqrt(2 / np.pi), rel=0.05)


def test_mirrored_quaternions_are_those_of_mirrored_poses() -> None:
    rotvec = poses(5, 4)
    ours = mirrored_quaternions(torch.from_numpy(quaternions_of(rotvec))).numpy()
    theirs = quaternions_of(mirrored(rotvec))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert geodesic_angle(exp_so3(rotvec), exp_so3(mirrored(rotvec))).max() > 0.1
