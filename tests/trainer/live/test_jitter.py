"""Blur changes what identifies a stored answer, by as much as it says, and nothing else."""

import pytest
import torch

from engines.flow.features import LAYOUT_2D, NUM_FEATURES_2D
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.live.jitter import JitterConfig, jittered

COUNT = 4000
BLURRED = ("points", "visibility", "presence", "peak")


def batch() -> Batch:
    rest = (torch.zeros(COUNT, 1) for _ in Batch._fields[1:])
    features = torch.full((COUNT, NUM_FEATURES_2D), 0.5)
    features[: COUNT // 2, LAYOUT_2D["peak"]] = 0.0  # not known
    return Batch(features, *rest)


def numbers(seed: int = 0) -> StepRng:
    return StepRng(seed, step=0)


def test_each_part_is_blurred_by_its_size() -> None:
    given, config = batch(), JitterConfig(points=0.01, logits=0.3)
    features = jittered(given, config, numbers()).features
    points = features[:, LAYOUT_2D["points"]]
    assert points.mean() == pytest.approx(0.5, abs=1e-3)
    assert points.std() == pytest.approx(0.01, rel=0.02)
    for name in ("visibility", "presence", "peak"):
        part = features[COUNT // 2 :, LAYOUT_2D[name]]
        logits = torch.logit(0.5 * (part + 1))
        assert logits.mean() == pytest.approx(torch.logit(torch.tensor(0.75)).item(), abs=0.01)
        assert logits.std() == pytest.approx(0.3, rel=0.02)


def test_nothing_else_changes_and_what_is_not_known_stays_so() -> None:
    given = batch()
    result = jittered(given, JitterConfig(), numbers())
    for name, part in LAYOUT_2D.items():
        if name not in BLURRED:
            assert torch.equal(result.features[:, part], given.features[:, part]), name
    assert (result.features[: COUNT // 2, LAYOUT_2D["peak"]] == 0).all()
    assert all(a is b for a, b in zip(result[1:], given[1:], strict=True))
    assert (given.features[:, LAYOUT_2D["points"]] == 0.5).all()


def test_the_same_step_gives_the_same_blur() -> None:
    a, b, c = (jittered(batch(), JitterConfig(), numbers(seed)).features for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_an_even_chance_is_no_missing_value() -> None:
    given = batch()
    given.features[:, LAYOUT_2D["visibility"]] = 0.0
    features = jittered(given, JitterConfig(), numbers()).features
    assert features[:, LAYOUT_2D["visibility"]].std() > 0.1


def test_certain_probabilities_stay_finite_and_within_bounds() -> None:
    given = batch()
    given.features[:, LAYOUT_2D["visibility"]] = 1.0
    given.features[:, LAYOUT_2D["presence"]] = -1.0
    features = jittered(given, JitterConfig(logits=2.0), numbers()).features
    assert features.isfinite().all()
    assert features[:, LAYOUT_2D["visibility"]].max() <= 1
    assert features[:, LAYOUT_2D["presence"]].min() >= -1
