"""The pairs of an epoch: straight and mirrored, a function of seed and epoch."""

import pytest
import torch

from engines.body import BodyModel
from engines.types import LIMB_LANDMARKS
from tests.support.random_samples import random_records
from trainer.data import pool
from trainer.data.augment import AugmentConfig, RawRecords, mirror
from trainer.data.pool import Pool
from trainer.data.samples import Batch, encode

COUNT = 9
STILL = AugmentConfig(0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def records(body: BodyModel) -> RawRecords:
    return random_records(COUNT, 2, body)


def everything(made: Pool) -> Batch:
    return made.batch(torch.arange(made.size))


def assert_same(one: Batch, other: Batch, atol: float = 0.0) -> None:
    for name, value in one._asdict().items():
        torch.testing.assert_close(getattr(other, name), value, atol=atol, rtol=0, msg=name)


def test_half_are_mirrored(records: RawRecords, body: BodyModel) -> None:
    batch = everything(Pool(records, body, STILL, 0, 0))
    assert batch.size == 2 * COUNT
    half = torch.arange(COUNT)
    assert_same(batch.rows(half), encode(records, body), atol=1e-3)
    assert_same(batch.rows(half + COUNT), encode(mirror(records), body), atol=1e-3)


def test_seed_and_epoch_decide(records: RawRecords, body: BodyModel) -> None:
    first = everything(Pool(records, body, AugmentConfig(), 3, 1))
    assert_same(first, everything(Pool(records, body, AugmentConfig(), 3, 1)))
    for seed, epoch in ((3, 2), (4, 1), (1, 3)):
        other = everything(Pool(records, body, AugmentConfig(), seed, epoch))
        assert (
            (first.rotvec - other.rotvec).abs().amax((1, 2)) > 1e-3
        ).all()  # every pair is perturbed anew


def test_a_pool_is_made_in_parts_without_losing_anybody(
    records: RawRecords, body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CHUNK", 4)
    batch = everything(Pool(records, body, STILL, 0, 0))
    assert_same(batch.rows(torch.arange(COUNT)), encode(records, body), atol=1e-3)


def test_exact_pairs_are_exact_after_they_were_moved(records: RawRecords, body: BodyModel) -> None:
    """What is seen lies where the moved joint is; depths and world coordinates stay unknown."""
    batch = everything(Pool(records, body, AugmentConfig(), 0, 0, landmark_source="exact"))
    marks = batch.features[:, :66].unflatten(1, (33, 2))
    seen = (
        batch.visible[:, list(LIMB_LANDMARKS.values())].bool()
        & (batch.joints[..., 2].amin(1) > 0.3)[:, None]
    )
    apart = (
        (marks[:, list(LIMB_LANDMARKS)] - batch.target[:, list(LIMB_LANDMARKS.values())])
        .abs()
        .amax(-1)
    )
    inside = (
        batch.target[:, list(LIMB_LANDMARKS.values())].abs().amax(-1) < 7
    )  # the input is bounded
    assert seen.sum() > 50 and apart[seen & inside].max() < 1e-3
    assert not batch.features[:, 66:99].any() and not batch.features[:, 198:297].any()
