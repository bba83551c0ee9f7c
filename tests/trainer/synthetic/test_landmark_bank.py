"""Limbs that are partly occluded are answered from entries of a bank that look alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, MIRRORED_LANDMARKS
from tests.support.pose_banks import pose_bank
from tests.support.random_samples import random_records
from trainer.landmark_bank import LandmarkBankConfig, main
from trainer.synthetic.config import ErrorConfig, SyntheticConfig
from trainer.synthetic.landmark_bank import Answers, LandmarkBank, half_sizes, look_up, normalised
from trainer.synthetic.landmark_errors import ErrorModel
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE
from trainer.synthetic.projection import half_size_of
from trainer.synthetic.source import SyntheticSource

SHOULDER, ELBOW, WRIST, THUMB, RIGHT_WRIST, KNEE = 11, 13, 15, 21, 16, 25


def bank(count: int = 6, seed: int = 0) -> LandmarkBank:
    """Entries of which everything is visible."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    state = torch.full((count, 33), VISIBLE)
    true = 0.3 * normal(count, 33, 2)
    found = true + 0.1 * normal(count, 33, 2)
    return LandmarkBank(true, found, state, normal(count, 33), normal(count, 33), torch.ones(count))


def answers(true: torch.Tensor) -> Answers:
    return Answers(true + 0.5, torch.zeros(len(true), 33), torch.zeros(len(true), 33))


def test_whole_limbs_are_left_alone() -> None:
    pool = bank()
    before = answers(pool.true)
    for a, b in zip(look_up(before, pool.true, pool.state, pool), before, strict=True):
        assert torch.equal(a, b)


def test_a_guess_is_taken_relative_to_the_last_visible_landmark() -> None:
    pool = bank(1)
    pool.state[0, [WRIST, 17, 19, THUMB]] = OCCLUDED
    true = pool.true + 0.3 * torch.randn(1, 33, 2, generator=torch.Generator().manual_seed(1))
    found = look_up(answers(true), true, pool.state, pool)
    torch.testing.assert_close(
        found.points[0, THUMB] - true[0, ELBOW], pool.found[0, THUMB] - pool.true[0, ELBOW]
    )
    torch.testing.assert_close(  # what is visible errs as it did there
        found.points[0, ELBOW] - true[0, ELBOW], pool.found[0, ELBOW] - pool.true[0, ELBOW]
    )
    assert torch.equal(found.visibility[0, WRIST], pool.visibility[0, WRIST])
    assert torch.equal(found.points[0, RIGHT_WRIST], true[0, RIGHT_WRIST] + 0.5)


def test_without_anything_visible_above_the_shoulder_is_the_reference() -> None:
    pool = bank(1)
    pool.state[0, [ELBOW, WRIST, 17, 19, THUMB]] = OUTSIDE
    true = pool.true + 1.0
    found = look_up(answers(true), true, pool.state, pool)
    torch.testing.assert_close(
        found.points[0, WRIST] - true[0, SHOULDER], pool.found[0, WRIST] - pool.true[0, SHOULDER]
    )


def test_the_entry_has_the_same_visibility_and_then_the_most_similar_limb() -> None:
    pool = bank(4)
    pool.state[[1, 2], KNEE] = OCCLUDED
    state = torch.full((1, 33), VISIBLE)
    state[0, KNEE] = OCCLUDED
    near = pool.true[[2]] + 0.05
    found = look_up(answers(near), near, state, pool)
    assert torch.equal(found.visibility[0, KNEE], pool.visibility[2, KNEE])
    exact_but_visible = pool.true[[0]]
    found = look_up(answers(exact_but_visible), exact_but_visible, state, pool)
    assert found.visibility[0, KNEE] in pool.visibility[[1, 2], KNEE]


def test_the_mirrored_half_exchanges_left_and_right() -> None:
    pool = bank(3)
    both = pool.with_mirrored()
    assert len(both.true) == 6
    flipped = both.found[3:, list(MIRRORED_LANDMARKS)] * torch.tensor([-1.0, 1.0])
    assert torch.equal(flipped, pool.found)
    assert torch.equal(both.visibility[3:, RIGHT_WRIST], pool.visibility[:, WRIST])


def test_entries_are_drawn_by_weight() -> None:
    pool = bank(2)._replace(weight=torch.tensor([0.0, 1.0]))
    drawn = pool.pool(50, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.true, pool.true[[1] * 50])


def test_units_are_those_of_the_projection() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 33, 2))
    joints = np.zeros((24, 2, 5), np.float32)
    joints[list(LIMB_LANDMARKS.values())] = points[:, list(LIMB_LANDMARKS)].transpose(1, 2, 0)
    np.testing.assert_allclose(
        half_sizes(points), half_size_of(torch.from_numpy(joints)).numpy(), rtol=1e-4
    )
    moved = normalised(3 * points + 7, 3 * points + 7)
    np.testing.assert_allclose(moved, normalised(points, points))


def test_the_error_model_answers_from_the_bank() -> None:
    count = 300
    none = ErrorConfig(*(0.0,) * 10, banked=1.0, swaps=(0.0, 0.0, 0.0))
    pool = bank(50)
    pool.state[:, KNEE] = OCCLUDED
    state = torch.full((33, count), VISIBLE)
    state[KNEE] = OCCLUDED
    flat = torch.randn(33, 2, count, generator=torch.Generator().manual_seed(3))
    half_size = torch.full((count,), 0.5)

    def simulate(config: ErrorConfig):
        return ErrorModel(config, pool)(flat, state, half_size, torch.Generator().manual_seed(0))

    found = simulate(none)
    logits = torch.logit(found.visibility[KNEE])
    nearest = (logits[:, None] - pool.visibility[:, KNEE]).abs().amin(1)
    assert nearest.max() < 1e-4
    torch.testing.assert_close(found.points[WRIST], flat[WRIST])  # a whole limb, without errors
    assert (found.points[KNEE] - flat[KNEE]).norm(dim=0).min() > 0
    never = simulate(replace(none, banked=0.0))
    torch.testing.assert_close(never.points, flat)


def test_a_source_with_a_bank_is_still_a_function_of_seed_and_step(body: BodyModel) -> None:
    poses = pose_bank(body)
    sources = [SyntheticSource(body, poses, SyntheticConfig(), 1, bank(200)) for _ in range(2)]
    plain = SyntheticSource(body, poses, SyntheticConfig(), 1).batch(4, 64)
    first, second = (source.batch(4, 64) for source in sources)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.rotvec[:, 1:], plain.rotvec[:, 1:])
    assert not torch.equal(first.features, plain.features)


def test_a_bank_of_rendered_people_is_written_and_read(body: BodyModel, tmp_path: Path) -> None:
    shards = tmp_path / "train"
    shards.mkdir()
    np.savez(shards / "00000.npz", **random_records(20, 1, body))
    main(LandmarkBankConfig(rendered=(shards,), out=tmp_path / "bank.npz"))
    read = LandmarkBank.load(tmp_path / "bank.npz")
    assert read.true.shape == (40, 33, 2)  # mirrored ones included
    trunk = read.true[:, [11, 12, 23, 24]].mean(1)
    torch.testing.assert_close(trunk, torch.zeros(40, 2), atol=1e-5, rtol=0)
    assert (read.found - read.true).norm(dim=-1).median() < 0.2
    assert read.weight.sum() == pytest.approx(2.0, rel=1e-4)


def test_nothing_to_collect_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="videos: there is nothing to collect"):
        main(LandmarkBankConfig(out=tmp_path / "bank.npz"))
    np.savez(tmp_path / "other.npz", true=np.zeros(3))
    with pytest.raises(PenumbraError, match="is no bank"):
        LandmarkBank.load(tmp_path / "other.npz")


@pytest.mark.parametrize("name", ["frames", "coverings"])
def test_numbers_that_are_too_small_are_refused(name: str) -> None:
    config = replace(LandmarkBankConfig(videos=(Path("a.mp4"),)), **{name: 0})
    with pytest.raises(PenumbraError, match=f"{name}: must be at least 1"):
        main(config)
