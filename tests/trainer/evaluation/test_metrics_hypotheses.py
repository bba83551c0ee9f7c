"""Choice and spread of hypotheses: cases by hand, clusters that are known, clouds of known size."""

import math
import warnings
from itertools import combinations

import pytest
import torch
from sklearn.metrics import pairwise_distances

from trainer.evaluation import metrics

GENERATOR = torch.Generator().manual_seed(5)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


# Best of n


def test_best_of_by_hand() -> None:
    errors = torch.tensor([[5.0, 7.0, 2.0, 1.0], [3.0, 4.0, 6.0, 0.0]])
    assert metrics.best_of(errors, 1).tolist() == [5, 3]
    assert metrics.best_of(errors, 3).tolist() == [2, 3]
    assert metrics.best_index(errors, 3).tolist() == [2, 0]
    assert metrics.best_of(errors, 4).tolist() == [1, 0]


def test_other_metrics_are_reported_of_the_hypothesis_that_was_chosen() -> None:
    pa, plain = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[5.0, 9.0, 4.0]])
    index = metrics.best_index(pa, 3)
    assert metrics.choose(pa, index).tolist() == [1]
    assert metrics.choose(plain, index).tolist() == [9]  # an independent minimum would say 4
    per_joint = torch.arange(12.0).reshape(1, 3, 4)
    assert metrics.choose(per_joint, index).tolist() == [[4, 5, 6, 7]]


def test_more_hypotheses_are_never_worse() -> None:
    errors = torch.rand(30, 100, generator=GENERATOR)
    best = torch.stack([metrics.best_of(errors, n) for n in range(1, 101)])
    assert (best[1:] <= best[:-1]).all()
    torch.testing.assert_close(best[0], errors[:, 0])
    torch.testing.assert_close(best[-1], errors.min(-1).values)


def test_best_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(AssertionError, match="best of 4 among 3"):
        metrics.best_of(torch.rand(2, 3), 4)


# Quantised selection


def clusters(copies: int = 7) -> torch.Tensor:
    """One image, two joints: hypothesis 0 far away, then `copies` of each of 3 arm positions in
    turn, pelvis anywhere.

    Copy 0 of each position is exactly in the middle of its cluster, the others lie in pairs around
    it.
    """
    centres = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    offsets = 0.05 * randn(copies // 2, 3, 3)
    around = torch.cat([torch.zeros(1, 3, 3), offsets, -offsets])
    hands = torch.cat([torch.full((1, 3), -5.0), (centres + around).flatten(0, 1)])
    pelvis = 10 * randn(len(hands), 3)
    return torch.stack([pelvis, pelvis + hands], 1)[None]


def test_one_hypothesis_of_each_cluster_is_kept_wherever_the_pelvis_is() -> None:
    assert metrics.quantise(clusters(), 4).tolist() == [[0, 1, 2, 3]]


def test_joints_relative_to_a_pelvis_that_is_not_among_them_are_taken_as_they_are() -> None:
    relative = metrics.centred(clusters())[:, :, 1:]  # the hand alone
    assert metrics.quantise(relative, 4, root=None).tolist() == [[0, 1, 2, 3]]


def test_nearest_to_the_centre_is_kept() -> None:
    order = torch.tensor([0, *range(21, 0, -1)])  # the middles are the last three now
    assert metrics.quantise(clusters()[:, order], 4).tolist() == [[0, 19, 20, 21]]


def test_weights_move_the_centre() -> None:
    joints = torch.zeros(1, 7, 2, 3)
    joints[0, 1:, 1, 0] = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    assert metrics.quantise(joints, 3).tolist() == [[0, 2, 5]]
    weights = torch.tensor([[99.0, 1, 1, 40, 40, 1, 1]])
    assert metrics.quantise(joints, 3, weights).tolist() == [[0, 3, 4]]


@pytest.mark.parametrize("n", [1, 2, 5, 24, 25])
def test_selection_starts_with_hypothesis_0_and_repeats_none(n: int) -> None:
    chosen = metrics.quantise(randn(3, 25, 6, 3), n)
    assert chosen.shape == (3, n)
    assert (chosen[:, 0] == 0).all()
    assert all(len(set(row)) == n and max(row) < 25 for row in chosen.tolist())


def test_selection_is_the_same_every_time_and_does_not_see_hypothesis_0() -> None:
    joints = randn(2, 20, 6, 3)
    first = metrics.quantise(joints, 6)
    other = joints.clone()
    other[:, 0] = 7.0
    assert (metrics.quantise(joints, 6) == first).all()
    assert (metrics.quantise(other, 6) == first).all()


@pytest.mark.parametrize("different", [1, 3])
def test_copies_fill_the_places_without_a_warning(different: int) -> None:
    joints = randn(1, 1 + different, 4, 3)[:, [0, *(1 + i % different for i in range(9))]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = metrics.quantise(joints, 6)[0].tolist()
    assert chosen[0] == 0 and len(set(chosen)) == 6
    assert {(i - 1) % different for i in chosen[1:]} == set(range(different))


def test_selection_covers_the_draws_better_than_as_many_draws() -> None:
    joints = randn(1, 61, 3, 3)
    flat = metrics.centred(joints)[0].flatten(1).numpy()
    chosen = metrics.quantise(joints, 13)[0].numpy()
    quantised = pairwise_distances(flat[1:], flat[chosen[1:]]).min(1).mean()
    assert quantised < pairwise_distances(flat[1:], flat[1:13]).min(1).mean()


# In the image


TRUTH = torch.zeros(2, 2, 2)
PIXELS = torch.tensor(
    [  # image 0 sees both joints, image 1 only its first
        [[[3.0, 4.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 12.0]]],
        [[[6.0, 8.0], [900.0, 0.0]], [[0.0, 0.0], [0.0, 900.0]]],
    ]
)
SEEN = torch.tensor([[True, True], [True, False]])


def test_pixel_errors_and_ah_by_hand() -> None:
    errors = metrics.pixel_errors(PIXELS, TRUTH)
    assert errors.tolist() == [[[5, 1], [2, 12]], [[10, 900], [0, 900]]]
    assert metrics.group_mean(errors, SEEN).item() == 5.0  # (5 + 1 + 2 + 12 + 10 + 0) / 6
    field = metrics.per_image(errors, SEEN).mean(1).nanmean()
    assert field.item() == 5.0  # image 0: 20 / 4, image 1: 10 / 2


def test_ah_is_of_all_hypotheses_and_consistency_of_what_it_is_given() -> None:
    assert metrics.sample_input_consistency(PIXELS, TRUTH, SEEN).item() == 5.0
    assert metrics.sample_input_consistency(PIXELS[:, 1:], TRUTH, SEEN).item() == pytest.approx(
        14 / 3
    )


def test_wh_by_hand() -> None:
    each = metrics.per_image(metrics.pixel_errors(PIXELS, TRUTH), SEEN)
    assert each.tolist() == [[3, 7], [10, 0]]
    worst = metrics.worst_of(each)
    assert worst.tolist() == [7, 10]
    assert metrics.weighted_mean(worst, SEEN.sum(-1)).item() == 8.0  # (2 * 7 + 10) / 3
    assert worst.nanmean().item() == 8.5


def test_a_image_without_visible_joints_is_left_out_of_wh() -> None:
    seen = torch.tensor([[True, True], [False, False]])
    worst = metrics.worst_of(metrics.per_image(metrics.pixel_errors(PIXELS, TRUTH), seen))
    assert worst[1].isnan()
    assert metrics.weighted_mean(worst, seen.sum(-1)).item() == 7.0


# Spread


def test_pjd_by_hand() -> None:
    # standard deviations of (0, 2) and (0, 8) with N - 1: sqrt(2) and sqrt(32); geometric mean
    # sqrt(8), times sqrt(2)
    points = torch.tensor([[[[0.0, 0.0]], [[2.0, 8.0]]]])
    torch.testing.assert_close(metrics.pjd(points), torch.tensor([[4.0]]))
    # three axes sqrt(2) * (1, 2, 4): geometric mean 2 sqrt(2), times sqrt(3)
    points = torch.tensor([[[[0.0, 0.0, 0.0]], [[2.0, 4.0, 8.0]]]])
    torch.testing.assert_close(metrics.pjd(points), torch.tensor([[2 * math.sqrt(6)]]))


@pytest.mark.parametrize("size", [2, 3])
def test_pjd_of_a_round_cloud_is_its_root_mean_square_radius(size: int) -> None:
    sigma = 0.07
    cloud = sigma * randn(2, 40_000, 2, size)
    # the relative error of a standard deviation is 1 / sqrt(2 N) = 0.35 %
    torch.testing.assert_close(
        metrics.pjd(cloud),
        torch.full((2, 2), math.sqrt(size) * sigma, dtype=torch.float64),
        rtol=0.015,
        atol=0,
    )
    radius = (cloud - cloud.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    torch.testing.assert_close(metrics.pjd(cloud), radius, rtol=0.01, atol=0)


def test_pjd_scales_and_does_not_see_where_the_cloud_is() -> None:
    cloud = randn(2, 30, 4, 3)
    torch.testing.assert_close(metrics.pjd(5 * cloud + 3), 5 * metrics.pjd(cloud))


def test_pjd_is_blind_to_a_spread_along_one_axis_and_sample_diversity_is_not() -> None:
    cloud = torch.zeros(1, 50, 1, 3, dtype=torch.float64)
    cloud[..., 2] = randn(1, 50, 1)
    assert metrics.pjd(cloud).item() == 0.0
    assert metrics.sample_diversity(cloud).item() > 0.5
    turn = torch.linalg.qr(randn(3, 3))[0]
    turned = cloud @ turn.mT
    assert metrics.pjd(turned).item() > 0.1  # the same line, at an angle to the axes
    torch.testing.assert_close(metrics.sample_diversity(turned), metrics.sample_diversity(cloud))


def test_pjd_of_millimetres_survives_single_precision() -> None:
    cloud = 1e-3 * randn(1, 100, 2, 3)
    torch.testing.assert_close(
        metrics.pjd(cloud.float()).double(), metrics.pjd(cloud), rtol=1e-5, atol=0
    )


def test_one_hypothesis_has_no_spread() -> None:
    assert metrics.pjd(randn(2, 1, 3, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_sample_diversity_by_hand() -> None:
    points = torch.tensor(
        [[[[0.0, 0.0]], [[0.0, 6.0]], [[0.0, 0.0]]]]
    )  # mean at 2: distances 2, 4, 2
    assert metrics.sample_diversity(points).item() == pytest.approx(8 / 3)


def test_rd_by_hand() -> None:
    visible = torch.tensor([[True, True, False], [True, False, False]])
    pjd_2d = torch.tensor([[3.0, 6.0, 99.0], [0.0, 99.0, 99.0]])  # visible mean 3 px
    pjd_3d = torch.tensor([[9.0, 9.0, 0.02], [9.0, 0.03, 0.04]])  # occluded mean 30 mm
    assert metrics.rd(pjd_2d, pjd_3d, visible, ~visible).item() == pytest.approx(0.1)
    assert metrics.rd(pjd_2d, 0 * pjd_3d, visible, ~visible).item() == math.inf


def test_best_of_random_draws_averages_over_all_choices() -> None:
    """The first n of an exchangeable sequence are as good as any n, on average."""
    errors = torch.rand(5, generator=GENERATOR, dtype=torch.float64)
    exact = sum(min(errors[0], *(errors[list(c)])) for c in combinations(range(1, 5), 2)) / 6
    shuffled = torch.stack(
        [
            torch.cat([errors[:1], errors[1:][torch.randperm(4, generator=GENERATOR)]])
            for _ in range(4000)
        ]
    )
    assert metrics.best_of(shuffled, 3).mean().item() == pytest.approx(float(exact), abs=0.03)
