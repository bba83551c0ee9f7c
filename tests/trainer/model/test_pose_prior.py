"""The pose prior: its density against scikit-learn and a numerical Jacobian, and what it
prefers.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from engines.errors import PenumbraError
from engines.priors.load import load_prior
from engines.priors.mixture import Mixture
from engines.types import JOINT_NAMES
from tests.support.paths import SHARED
from trainer.model.pose_prior import ASSET, PoseMixture
from trainer.motion.anatomy import mirror_pose, plausible
from trainer.motion.clip import load_clip
from trainer.priors.mixture import COVARIANCE_FLOOR

CMU = SHARED / "data" / "mocap" / "cmu"
HELD_OUT = ("07/07_01.amc", "35/35_01.bvh", "05/05_01.amc", "127/127_01.amc", "135/135_02.amc")
JOINT = {name: index - 1 for index, name in enumerate(JOINT_NAMES)}


@pytest.fixture(scope="module")
def prior() -> PoseMixture:
    return PoseMixture.load()


@pytest.fixture(scope="module")
def held_out() -> torch.Tensor:
    """Poses of subjects that the prior was not fitted to."""
    if not (CMU / "clips.csv").is_file():
        pytest.skip("the CMU recordings are not on this machine")
    rotvec = np.concatenate([load_clip(CMU / file).rotvec[::10] for file in HELD_OUT])
    return torch.from_numpy(rotvec[plausible(rotvec)][:, 1:]).float()


def small_mixture() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    factors = rng.normal(0, 0.05, (3, 69, 69)) + 0.3 * np.eye(69)
    return {
        "weights": torch.tensor([0.2, 0.3, 0.5]),
        "means": torch.from_numpy(rng.normal(0, 0.4, (3, 69))),
        "covariances": torch.from_numpy(factors @ factors.transpose(0, 2, 1)),
    }


def test_density_of_the_coordinates_is_scikit_learns() -> None:
    from sklearn.mixture import GaussianMixture

    moments = small_mixture()
    oracle = GaussianMixture(3)
    oracle.weights_, oracle.means_ = moments["weights"].numpy(), moments["means"].numpy()
    oracle.covariances_ = moments["covariances"].numpy()
    oracle.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(oracle.covariances_))
    poses = np.random.default_rng(1).normal(0, 0.5, (50, 69))
    ours = PoseMixture.from_moments(**moments).log_prob_axis_angle(
        torch.from_numpy(poses).float().view(50, 23, 3)
    )
    np.testing.assert_allclose(ours, oracle.score_samples(poses), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("angle", [1e-6, 0.3, 1.5, 2.8])
def test_haar_factor_is_the_volume_of_the_exponential_map(prior: PoseMixture, angle: float) -> None:
    pose = torch.zeros(23, 3, dtype=torch.float64)
    axis = np.array([0.6, -0.48, 0.64])
    pose[JOINT["left_shoulder"]] = torch.from_numpy(angle * axis)
    double = prior.to(torch.float64)
    ours = float(double.log_prob_axis_angle(pose) - double.log_prob(pose))

    # Column i: how the rotation turns, in its own frame, per unit of coordinate i.
    def rotation(vector: np.ndarray) -> Rotation:
        return Rotation.from_rotvec(vector)

    step, jacobian = 1e-5, np.empty((3, 3))
    for i, unit in enumerate(np.eye(3)):
        there, back = rotation(angle * axis + step * unit), rotation(angle * axis - step * unit)
        jacobian[:, i] = (back.inv() * there).as_rotvec() / (2 * step)
    assert ours == pytest.approx(np.log(abs(np.linalg.det(jacobian))), abs=1e-5)


def test_shipped_prior_is_a_proper_mixture_and_has_its_record() -> None:
    mixture = load_prior(ASSET)
    assert isinstance(mixture, Mixture)
    assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-5)
    eigenvalues = np.linalg.eigvalsh(mixture.covariances.astype(float))
    assert eigenvalues.min() >= COVARIANCE_FLOOR
    record = json.loads(ASSET.with_suffix(".json").read_text())
    for split in ("val", "test"):
        single = record["log_density_of_one_component_nats"][split]
        assert record["log_density_nats"][split] > single


def test_density_is_that_of_the_engines_mixture() -> None:
    mixture = load_prior(ASSET)
    assert isinstance(mixture, Mixture)
    rotvec = 0.4 * np.random.default_rng(0).standard_normal((20, 23, 3)).astype(np.float32)
    ours = PoseMixture.load().log_prob_axis_angle(torch.from_numpy(rotvec)).numpy()
    np.testing.assert_allclose(ours, mixture.log_density(rotvec), rtol=1e-4, atol=0.02)


def test_natural_poses_score_higher_than_random_ones(
    prior: PoseMixture, held_out: torch.Tensor
) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = held_out.norm(dim=-1, keepdim=True)
    directions = torch.randn(held_out.shape, generator=generator)
    random = (
        directions / directions.norm(dim=-1, keepdim=True) * lengths
    )  # as large, about other axes
    shuffled = torch.stack(
        [held_out[torch.randperm(len(held_out), generator=generator), k] for k in range(23)], 1
    )
    natural = prior.log_prob(held_out)
    assert (natural > prior.log_prob(random)).float().mean() > 0.99
    assert natural.median() > prior.log_prob(shuffled).median() + 5, (
        "the joints of a body move together"
    )


@pytest.mark.parametrize("part", ["elbow", "knee"])
def test_joints_that_bend_backwards_are_unlikely(
    prior: PoseMixture, held_out: torch.Tensor, part: str
) -> None:
    backwards = held_out.clone()
    for side in ("left", "right"):
        backwards[:, JOINT[f"{side}_{part}"]] *= -1
    bent = held_out[:, JOINT[f"left_{part}"]].norm(dim=-1) > 0.5
    assert bent.sum() > 20
    gain = (prior.log_prob(held_out) - prior.log_prob(backwards))[bent]
    assert (gain > 0).float().mean() > 0.97
    assert gain.median() > 10


def test_left_and_right_are_worth_about_the_same(
    prior: PoseMixture, held_out: torch.Tensor
) -> None:
    whole = torch.cat([torch.zeros(len(held_out), 1, 3), held_out], 1).numpy()
    mirrored = torch.from_numpy(mirror_pose(whole)[:, 1:])
    assert (prior.log_prob(held_out) - prior.log_prob(mirrored)).abs().median() < 10


@pytest.mark.parametrize("scale", [0.0, 1e-8, 0.5])
def test_gradient_is_finite_and_right(prior: PoseMixture, scale: float) -> None:
    double = prior.to(torch.float64)
    pose = scale * torch.randn(
        2, 23, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    pose.requires_grad_(True)
    (gradient,) = torch.autograd.grad(double.log_prob(pose).sum(), pose)
    assert torch.isfinite(gradient).all()
    step = torch.zeros_like(pose)
    step[0, 3, 1] = 1e-5
    with torch.no_grad():
        difference = (double.log_prob(pose + step) - double.log_prob(pose - step))[0] / 2e-5
    assert float(gradient[0, 3, 1]) == pytest.approx(float(difference), rel=1e-4, abs=1e-4)


def test_batch_dimensions_are_free(prior: PoseMixture) -> None:
    pose = torch.zeros(2, 5, 23, 3)
    assert prior.log_prob(pose).shape == (2, 5)
    assert prior.log_prob(pose[0, 0]).shape == ()
    torch.testing.assert_close(prior.log_prob(pose)[0, 0], prior.log_prob(pose[0, 0]))


def test_samples_have_the_moments_of_the_mixture() -> None:
    moments = small_mixture()
    prior, count = PoseMixture.from_moments(**moments), 20_000
    drawn = prior.sample(count, torch.Generator().manual_seed(0))
    assert drawn.shape == (count, 23, 3)
    flat, weights, means = drawn.flatten(1).double(), moments["weights"].double(), moments["means"]
    mean = weights @ means
    second = (
        weights[:, None, None] * (moments["covariances"] + means[:, :, None] * means[:, None])
    ).sum(0)
    std = (second - mean[:, None] * mean).diagonal().sqrt()
    assert ((flat.mean(0) - mean).abs() < 5 * std / count**0.5).all()
    covariance = second - mean[:, None] * mean
    torch.testing.assert_close(
        torch.cov(flat.T), covariance, atol=0.05 * float(std.max()) ** 2, rtol=0
    )
    # The share of each component is its weight.
    nearest = torch.cdist(flat, means).argmin(1)
    torch.testing.assert_close(
        torch.bincount(nearest, minlength=3) / count, weights.float(), atol=0.02, rtol=0
    )


def test_samples_depend_on_their_generator_only() -> None:
    prior = PoseMixture.from_moments(**small_mixture())
    first, again, other = (
        prior.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.allclose(first, other)


def test_a_missing_prior_is_named(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"none\.npz"):
        PoseMixture.load(tmp_path / "none.npz")


def test_another_prior_is_refused() -> None:
    with pytest.raises(PenumbraError, match="is no mixture"):
        PoseMixture.load(ASSET.parents[2] / "engines" / "assets" / "priors" / "vposer.npz")
