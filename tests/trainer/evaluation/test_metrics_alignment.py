"""Alignment: scipy as the oracle, known similarities recovered, errors by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from trainer.evaluation import metrics

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
        np.testing.assert_allclose(
            found.R.numpy(), Rotation.align_vectors(t, p)[0].as_matrix(), atol=1e-9
        )
        ours = (found.apply(points) - truth).square().sum().item() / (t**2).sum()
        theirs = scipy_procrustes(t, p)[
            2
        ]  # may reflect, so it is a lower bound that we reach when it does not
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
    best = min(
        minimize(cost, np.r_[start, 0, 0, 0, 0]).fun
        for start in Rotation.random(6, random_state=0).as_rotvec()
    )
    assert ours == pytest.approx(best, rel=1e-6)


def test_mpjpe_is_the_mean_distance() -> None:
    truth = torch.zeros(1, 2, 3)
    joints = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    assert metrics.mpjpe(joints, truth).tolist() == [3.0]


def test_pa_removes_a_similarity_that_mpjpe_counts() -> None:
    truth = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]])
    quarter_turn = 2 * truth[..., [1, 0, 2]] * torch.tensor([-1.0, 1, 1]) + torch.tensor(
        [0.0, 0, 5]
    )
    assert metrics.pa_mpjpe(quarter_turn, truth).item() == pytest.approx(0, abs=1e-6)
    # each joint is at twice a perpendicular unit vector, five further back: sqrt(1 + 4 + 25)
    assert metrics.mpjpe(quarter_turn, truth).item() == pytest.approx(math.sqrt(30), rel=1e-6)


def test_pa_of_a_stretched_pair_by_hand() -> None:
    # +-1 on x and +-1 on y against +-1 and +-2: the best scale is (2 + 4) / 4 = 1.5, which leaves
    # every joint 0.5 off
    points = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]])
    truth = points * torch.tensor([1.0, 2, 1])
    torch.testing.assert_close(metrics.pa_joint_errors(points, truth), torch.full((1, 4), 0.5))
    assert metrics.pa_mpjpe(points, truth).item() == pytest.approx(0.5)
    torch.testing.assert_close(metrics.joint_errors(points, truth), torch.tensor([[0.0, 0, 1, 1]]))


def test_centred_puts_the_root_at_the_origin() -> None:
    joints = torch.tensor([[1.0, 2, 3], [2, 2, 2]])
    assert metrics.centred(joints).tolist() == [[0, 0, 0], [1, 0, -1]]
    assert metrics.centred(joints, root=1).tolist() == [[-1, 0, 1], [0, 0, 0]]


def test_pve_puts_pelvises_together() -> None:
    truth = torch.tensor([[[0.0, 0, 0], [0, 0, 1]]])
    pelvis = torch.tensor([[0.0, 0, 0.5]])
    moved = truth + torch.tensor([3.0, -1, 2])
    assert metrics.pve(
        moved, truth, pelvis + torch.tensor([3.0, -1, 2]), pelvis
    ).item() == pytest.approx(0, abs=1e-6)
    bent = truth + torch.tensor(
        [[[0.0, 0, 0], [0.3, 0.4, 0]]]
    )  # one of two vertices half a metre off
    assert metrics.pve(bent, truth, pelvis, pelvis).item() == pytest.approx(0.25)
    assert metrics.pve(
        truth, truth, pelvis + torch.tensor([0.0, 2, 0]), pelvis
    ).item() == pytest.approx(2)


def test_the_package_exports_what_it_lists() -> None:
    assert all(hasattr(metrics, name) for name in metrics.__all__)
