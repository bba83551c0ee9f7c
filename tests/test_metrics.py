"""Metrics: scipy as the oracle, known similarities recovered, coverage by simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from trainer import metrics

GENERATOR = torch.Generator().manual_seed(5)


def cloud(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=GENERATOR, dtype=torch.float64)


def rotations(count: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=3).as_matrix())


def test_procrustes_recovers_a_similarity() -> None:
    points, R = cloud(20, 12), rotations(20)
    scale, t = torch.rand(20, generator=GENERATOR, dtype=torch.float64) + 0.2, 3 * cloud(20)
    truth = scale[:, None, None] * points @ R.mT + t[:, None]
    found = metrics.procrustes(points, truth)
    torch.testing.assert_close(found.R, R)
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.t, t)
    torch.testing.assert_close(found.apply(points), truth)
    assert metrics.pa_mpjpe(points, truth).max() < 1e-9


def test_procrustes_never_reflects() -> None:
    points = cloud(50, 12)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    found = metrics.procrustes(points, mirrored)
    torch.testing.assert_close(torch.linalg.det(found.R), torch.ones(50, dtype=torch.float64))
    assert (found.scale > 0).all()
    assert (metrics.pa_mpjpe(points, mirrored) > 0.1).all()


def test_procrustes_agrees_with_scipy() -> None:
    for points, truth in zip(cloud(10, 12), cloud(10, 12), strict=True):
        found = metrics.procrustes(points, truth)
        p, t = (points - points.mean(0)).numpy(), (truth - truth.mean(0)).numpy()
        np.testing.assert_allclose(found.R.numpy(), Rotation.align_vectors(t, p)[0].as_matrix(), atol=1e-9)
        ours = (found.apply(points) - truth).square().sum().item() / (t**2).sum()
        theirs = scipy_procrustes(t, p)[2]  # may reflect, so it is a lower bound that we reach when it does not
        assert ours >= theirs - 1e-12
        U, _, Vt = np.linalg.svd(t.T @ p)
        if np.linalg.det(U @ Vt) > 0:
            assert ours == pytest.approx(theirs, rel=1e-9)


def test_no_similarity_is_better_than_procrustes() -> None:
    points, truth = cloud(8), cloud(8)

    def cost(v: np.ndarray) -> float:
        moved = np.exp(v[3]) * points.numpy() @ Rotation.from_rotvec(v[:3]).as_matrix().T + v[4:]
        return float(((moved - truth.numpy()) ** 2).sum())

    ours = (metrics.procrustes(points, truth).apply(points) - truth).square().sum().item()
    best = min(minimize(cost, np.r_[start, 0, 0, 0, 0]).fun for start in Rotation.random(6, random_state=0).as_rotvec())
    assert ours == pytest.approx(best, rel=1e-6)


def test_mpjpe_is_the_mean_distance() -> None:
    truth = torch.zeros(1, 2, 3)
    joints = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    assert metrics.mpjpe(joints, truth).tolist() == [3.0]


def test_more_hypotheses_are_never_worse() -> None:
    errors = torch.rand(30, 100, generator=GENERATOR)
    best = torch.stack([metrics.best_of(errors, n) for n in range(1, 101)])
    assert (best[1:] <= best[:-1]).all()
    torch.testing.assert_close(best[0], errors[:, 0])
    torch.testing.assert_close(best[-1], errors.min(-1).values)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_ellipsoids_hold_their_share_of_a_gaussian(level: float) -> None:
    count, root = 20_000, 0.05 * cloud(3) + 0.05 * torch.eye(3, dtype=torch.float64)
    error = cloud(count) @ root.mT
    share = metrics.contains((root @ root.mT).expand(count, 3, 3), error, level).double().mean().item()
    assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / count))


def test_a_flat_covariance_contains_what_is_within_a_millimetre() -> None:
    flat = torch.diag(torch.tensor([0.01, 0.01, 0.0]))
    assert metrics.contains(flat, torch.tensor([0.0, 0.0, 0.002]))
    assert not metrics.contains(flat, torch.tensor([0.0, 0.0, 0.003]))
