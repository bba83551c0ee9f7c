"""The rng of a step: a function of seed and step, whoever draws and however many share the work."""

import numpy as np
import pytest
import torch

from trainer.data.rng import StepRng


def draw(rng: StepRng, batch: int) -> list[torch.Tensor]:
    """What a step may ask for, in one order."""
    return [
        rng.rows(1000, batch),
        rng.normal(batch, 3, 2),
        rng.uniform(batch, 1),
        rng.rows(7, batch // 2),
    ]


@pytest.mark.parametrize("world", [2, 4])
def test_the_rows_of_many_processes_together_are_those_of_one(world: int) -> None:
    alone = draw(StepRng(5, 17), 8)
    shared = [draw(StepRng(5, 17, rank, world), 8 // world) for rank in range(world)]
    for whole, *parts in zip(alone, *shared, strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, atol=0, rtol=0)


def test_seed_and_step_decide_and_nothing_else() -> None:
    first = draw(StepRng(1, 2), 4)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # what others draw does not matter
    for one, other in zip(first, draw(StepRng(1, 2), 4), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    for seed, step in ((1, 3), (2, 2), (2, 1)):
        for one, other in zip(first[:3], draw(StepRng(seed, step), 4)[:3], strict=True):
            assert not torch.equal(one, other)


def test_numbers_have_their_distributions() -> None:
    rng = StepRng(0, 0)
    normal, uniform, rows = rng.normal(4000, 5), rng.uniform(4000, 5), rng.rows(10, 20_000)
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert torch.bincount(rows, minlength=10).min() > 1800 and rows.max() == 9
    # Steps beside each other, and what one step draws of both kinds, have nothing to do with one
    # another.
    next_step = StepRng(0, 1).normal(4000, 5)
    assert abs(torch.corrcoef(torch.stack([normal.flatten(), next_step.flatten()]))[0, 1]) < 0.03
