"""Uncertainty: scipy as the oracle, cases by hand, proper scores by simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import energy_distance, multivariate_normal, norm

from trainer.evaluation import metrics

GENERATOR = torch.Generator().manual_seed(6)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


# Ellipsoids


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_ellipsoids_hold_their_share_of_a_gaussian(level: float) -> None:
    count, root = 20_000, 0.05 * randn(3, 3) + 0.05 * torch.eye(3, dtype=torch.float64)
    error = randn(count, 3) @ root.mT
    share = (
        metrics.contains((root @ root.mT).expand(count, 3, 3), error, level).double().mean().item()
    )
    assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / count))


def test_a_flat_covariance_contains_what_is_within_a_millimetre() -> None:
    flat = torch.diag(torch.tensor([0.01, 0.01, 0.0]))
    assert metrics.contains(flat, torch.tensor([0.0, 0.0, 0.002]))
    assert not metrics.contains(flat, torch.tensor([0.0, 0.0, 0.003]))


# Gaussian negative log likelihood


def test_moments_agree_with_numpy() -> None:
    joints = randn(2, 9, 3, 3)
    mean, cov = metrics.sample_moments(joints)
    for b in range(2):
        for j in range(3):
            np.testing.assert_allclose(mean[b, j], joints[b, :, j].mean(0))
            np.testing.assert_allclose(cov[b, j], np.cov(joints[b, :, j].numpy().T))


def test_nll_by_hand() -> None:
    # one axis of variance 4 and two of 1, each less the floor; offset of two standard deviations on
    # the first
    cov = torch.diag(torch.tensor([4.0, 1.0, 1.0], dtype=torch.float64)) - 1e-6 * torch.eye(
        3, dtype=torch.float64
    )
    zero, off = (
        torch.zeros(3, dtype=torch.float64),
        torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64),
    )
    expected = (4 + math.log(4) + 3 * math.log(2 * math.pi)) / 6
    assert metrics.gaussian_nll(zero, cov, off).item() == pytest.approx(expected, rel=1e-12)


def test_nll_agrees_with_scipy() -> None:
    mean, root, truth = randn(4, 2, 3), randn(4, 2, 3, 3), randn(4, 2, 3)
    cov = root @ root.mT
    ours = metrics.gaussian_nll(mean, cov, truth)
    for b in range(4):
        for j in range(2):
            density = multivariate_normal(mean[b, j].numpy(), cov[b, j].numpy() + 1e-6 * np.eye(3))
            assert ours[b, j].item() == pytest.approx(
                -density.logpdf(truth[b, j].numpy()) / 3, rel=1e-9
            )


def test_a_collapsed_distribution_has_a_finite_nll() -> None:
    joints = torch.ones(1, 5, 2, 3)
    mean, cov = metrics.sample_moments(joints)
    exact = metrics.gaussian_nll(mean, cov, torch.ones(1, 2, 3))
    assert exact[0].tolist() == pytest.approx([0.5 * math.log(2 * math.pi * 1e-6)] * 2)
    assert exact[0, 0].item() == pytest.approx(-5.989, abs=1e-3)
    centimetre = metrics.gaussian_nll(mean, cov, torch.ones(1, 2, 3) + torch.tensor([0.01, 0, 0]))
    assert (centimetre - exact)[0].tolist() == pytest.approx([100 / 6] * 2, rel=1e-4)


def test_nll_is_smallest_for_the_true_spread() -> None:
    truth, eye = 0.1 * randn(4000, 3), torch.eye(3, dtype=torch.float64)
    scores = [
        metrics.gaussian_nll(
            torch.zeros_like(truth), (0.1 * s) ** 2 * eye.expand(4000, 3, 3), truth
        )
        .mean()
        .item()
        for s in (0.5, 0.8, 1.0, 1.25, 2.0)
    ]
    assert min(scores) == scores[2]


# Energy score


def test_energy_score_by_hand() -> None:
    joints = torch.tensor([[[[0.0, 0, 0]], [[2, 0, 0]], [[5, 0, 0]]]])
    truth = torch.tensor([[[1.0, 0, 0]]])
    # errors 1, 1, 4; distances of pairs 2, 3, 5, each in both orders
    assert metrics.energy_score(joints, truth).item() == pytest.approx(2 - 20 / (2 * 6))
    assert metrics.energy_score(joints, truth, unbiased=False).item() == pytest.approx(
        2 - 20 / (2 * 9)
    )


def test_energy_score_of_one_hypothesis_is_its_error() -> None:
    joints, truth = randn(2, 1, 4, 3), randn(2, 4, 3)
    error = metrics.joint_errors(joints[:, 0], truth)
    torch.testing.assert_close(metrics.energy_score(joints, truth, unbiased=False), error)
    torch.testing.assert_close(metrics.energy_score(joints.expand(2, 6, 4, 3), truth), error)
    with pytest.raises(AssertionError, match="no unbiased energy score"):
        metrics.energy_score(joints, truth)


def test_energy_score_in_one_dimension_is_the_integral_of_squared_distribution_functions() -> None:
    samples, truth = randn(7).sort().values, 0.3
    crps, _ = quad(
        lambda x: ((samples <= x).double().mean().item() - (truth <= x)) ** 2,
        -6,
        6,
        points=[*samples, truth],
    )
    ours = metrics.energy_score(
        samples[None, :, None, None],
        torch.full((1, 1, 1), truth, dtype=torch.float64),
        unbiased=False,
    )
    assert ours.item() == pytest.approx(crps, abs=1e-6)
    # scipy's energy distance to a point is sqrt(2 E|X-y| - E|X-X'|)
    assert 2 * ours.item() == pytest.approx(
        energy_distance(samples.numpy(), [truth]) ** 2, rel=1e-9
    )


def test_energy_score_of_a_normal_variable_is_its_crps() -> None:
    sigma, z = 0.2, 0.7
    exact = sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    samples = sigma * randn(400, 30, 1, 1)
    ours = metrics.energy_score(samples, torch.full((400, 1, 1), z * sigma, dtype=torch.float64))
    assert ours.mean().item() == pytest.approx(exact, abs=4 * ours.std().item() / 20)


@pytest.mark.parametrize("unbiased", [True, False])
def test_energy_score_prefers_the_true_distribution(unbiased: bool) -> None:
    """Against one that is too wide, one that is too narrow, one that is one point, and one that is
    beside.
    """
    mean, truth, noise = randn(400, 1, 2, 3), randn(400, 2, 3), randn(400, 60, 2, 3)
    truth = mean[:, 0] + truth

    def score(spread: float, shift: float = 0.0) -> float:
        return metrics.energy_score(mean + spread * noise + shift, truth, unbiased).mean().item()

    true = score(1.0)
    assert true < min(score(2.0), score(0.5), score(0.0), score(1.0, 0.5)) - 0.02


def test_only_the_unbiased_energy_score_does_not_depend_on_the_number_of_draws() -> None:
    truth, draws = randn(4000, 1, 3), randn(4000, 20, 1, 3)

    def means(unbiased: bool) -> list[float]:
        return [metrics.energy_score(draws[:, :n], truth, unbiased).mean().item() for n in (3, 20)]

    few, many = means(True)
    assert few == pytest.approx(many, abs=0.03)
    few, many = means(False)
    apart = 4 / math.sqrt(math.pi)  # E|X - X'| of two standard normal variables in space
    assert few - many == pytest.approx(apart / 2 * (1 / 3 - 1 / 20), abs=0.03)


def test_the_body_score_sees_which_joints_go_together() -> None:
    """Two joints that always move together, against hypotheses with the same joints drawn
    independently.
    """
    truth, draws = randn(500, 1, 3).expand(500, 2, 3), randn(500, 40, 2, 3)
    together = draws[:, :, :1].expand(500, 40, 2, 3)
    each = [metrics.energy_score(x, truth).mean().item() for x in (together, draws)]
    assert each[0] == pytest.approx(each[1], abs=0.03)
    whole = [metrics.body_energy_score(x, truth).mean().item() for x in (together, draws)]
    assert whole[0] < whole[1] - 0.03


def test_the_body_score_of_one_joint_is_that_joints() -> None:
    joints, truth = randn(3, 8, 1, 3), randn(3, 1, 3)
    torch.testing.assert_close(
        metrics.body_energy_score(joints, truth), metrics.energy_score(joints, truth)[:, 0]
    )


# Confident errors


ERROR = torch.tensor([[0.20, 0.01, 0.30], [0.02, 0.40, 0.03]])
STD = torch.tensor([[0.05, 0.05, 0.50], [0.50, 0.02, 0.04]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def test_error_rates_by_hand() -> None:
    rates = metrics.error_rates(ERROR, STD, ALL, delta=0.15, tau=0.1)
    assert rates.entries == 6
    assert rates.confident == pytest.approx(4 / 6)
    assert rates.confident_error == pytest.approx(
        2 / 4
    )  # 0.20 and 0.40 among 0.20, 0.01, 0.40, 0.03
    assert rates.false_positive == pytest.approx(2 / 6)
    assert rates.recall == pytest.approx(1 / 3)  # of 0.20, 0.30, 0.40 only 0.30 was announced


def test_error_rates_count_the_group_only() -> None:
    group = torch.tensor([[False, True, True], [False, True, False]])
    rates = metrics.error_rates(ERROR, STD, group, delta=0.15, tau=0.1)
    assert (rates.entries, rates.confident_error, rates.false_positive, rates.recall) == (
        3,
        1 / 2,
        1 / 3,
        1 / 2,
    )


def test_error_rates_obey_the_product_rule() -> None:
    error, std = torch.rand(200, 4, generator=GENERATOR), torch.rand(200, 4, generator=GENERATOR)
    rates = metrics.error_rates(
        error, std, torch.ones(200, 4, dtype=torch.bool), delta=0.6, tau=0.4
    )
    assert rates.false_positive == pytest.approx(rates.confident_error * rates.confident)
    assert rates.false_positive == pytest.approx(
        (1 - rates.recall) * (error > 0.6).double().mean().item()
    )


def test_a_rate_without_cases_is_nan() -> None:
    rates = metrics.error_rates(ERROR, STD, ALL, delta=9.0, tau=0.0)
    assert math.isnan(rates.confident_error) and math.isnan(rates.recall)
    assert rates.false_positive == rates.confident == 0.0


def test_limits_are_strict() -> None:
    rates = metrics.error_rates(
        torch.tensor([[0.5]]), torch.tensor([[0.25]]), ALL[:1, :1], delta=0.5, tau=0.25
    )
    assert rates.confident == 0.0 and math.isnan(rates.recall)


@pytest.mark.parametrize("share", [0.1, 0.8, 1.0])
def test_the_operating_point_trusts_its_share(share: float) -> None:
    std, group = (
        torch.rand(50, 4, generator=GENERATOR),
        torch.rand(50, 4, generator=GENERATOR) < 0.5,
    )
    tau = metrics.operating_point(std, group, share)
    wanted = math.ceil(share * int(group.sum()))
    assert int((std[group] < tau).sum()) == wanted
    assert metrics.error_rates(std, std, group, 9.0, tau).confident == pytest.approx(
        wanted / int(group.sum())
    )


def test_equal_standard_deviations_are_trusted_together() -> None:
    std = torch.tensor([[0.1, 0.2, 0.2, 0.2, 0.3]])
    tau = metrics.operating_point(std, torch.ones_like(std, dtype=torch.bool), 0.4)
    assert (std < tau).tolist() == [[True, True, True, True, False]]
