"""Averages over groups of joints: by hand, with zeros counted and nothing outside the group looked
at.
"""

import math

import pytest
import torch

from trainer.evaluation.metrics import group_mean, per_image, split, weighted_mean

# image 0 has two joints of the group, image 1 one, image 2 none
GROUP = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
VALUES = torch.tensor([[1.0, 3.0, 50.0], [60.0, 8.0, 70.0], [80.0, 90.0, 99.0]])


def test_a_group_mean_counts_entries() -> None:
    assert group_mean(VALUES, GROUP).item() == 4.0  # (1 + 3 + 8) / 3


def test_the_field_counts_images_instead() -> None:
    each = per_image(VALUES, GROUP)
    assert each[:2].tolist() == [2.0, 8.0]
    assert math.isnan(each[2])
    assert each.nanmean().item() == 5.0  # (2 + 8) / 2
    assert weighted_mean(each, GROUP.sum(-1)).item() == 4.0  # back to entries


def test_zeros_are_values() -> None:
    assert group_mean(torch.zeros(3, 3), GROUP).item() == 0.0
    half = torch.tensor([[0.0, 0.0, 9.0], [9.0, 6.0, 9.0], [9.0, 9.0, 9.0]])
    assert group_mean(half, GROUP).item() == 2.0
    assert weighted_mean(torch.tensor([0.0, 6.0]), torch.tensor([2, 1])).item() == 2.0


def test_outside_the_group_nothing_is_looked_at_and_inside_nothing_is_occluded() -> None:
    holes = torch.where(GROUP, VALUES, torch.nan)
    assert group_mean(holes, GROUP).item() == 4.0
    assert per_image(holes, GROUP)[:2].tolist() == [2.0, 8.0]
    holes[0, 0] = torch.nan
    assert group_mean(holes, GROUP).isnan()
    assert per_image(holes, GROUP)[0].isnan()
    assert weighted_mean(torch.tensor([torch.nan, 1.0]), torch.tensor([1, 1])).isnan()


def test_an_empty_group_has_no_mean() -> None:
    nothing = torch.zeros_like(GROUP)
    assert group_mean(VALUES, nothing).isnan()
    assert per_image(VALUES, nothing).isnan().all()
    assert weighted_mean(torch.ones(2), torch.zeros(2)).isnan()


def test_hypotheses_share_the_group_of_their_picture() -> None:
    values = torch.stack([VALUES, VALUES + 1], 1)  # (B, 2, J)
    assert group_mean(values, GROUP).item() == 4.5
    assert per_image(values, GROUP)[:2].tolist() == [[2.0, 3.0], [8.0, 9.0]]
    torch.testing.assert_close(
        per_image(values[:, 0], GROUP), per_image(values, GROUP)[:, 0], equal_nan=True
    )


def test_a_mean_does_not_depend_on_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    values, group = (
        torch.rand(40, 6, generator=generator),
        torch.rand(40, 6, generator=generator) < 0.3,
    )
    parts = [
        (group_mean(v, g), g.sum())
        for v, g in zip(values.split(7), group.split(7), strict=True)
        if g.any()
    ]
    together = weighted_mean(*(torch.stack(part) for part in zip(*parts, strict=True)))
    assert together.item() == pytest.approx(group_mean(values, group).item(), rel=1e-12)


def test_the_root_is_in_all_joints_only() -> None:
    visible = torch.tensor([[True, True, False], [False, False, True]])
    groups = split(visible)
    assert groups.every.all()
    assert groups.visible.tolist() == [[False, True, False], [False, False, True]]
    assert groups.occluded.tolist() == [[False, False, True], [False, True, False]]
    unrooted = split(visible, root=None)
    assert (unrooted.visible ^ unrooted.occluded).all()
    torch.testing.assert_close(unrooted.visible, visible)
