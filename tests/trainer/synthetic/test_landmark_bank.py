"""People are answered from entries of a bank that look alike."""

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
from trainer.synthetic.known_landmarks import landmark_positions
from trainer.synthetic.landmark_bank import LandmarkBank, half_sizes, look_up, normalised
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
    said = (normal(count, 33) for _ in range(3))
    return LandmarkBank(true, found, state, *said, torch.ones(count))


def test_errors_that_belong_together_are_taken_over_together() -> None:
    pool = bank()
    true = pool.true[[4, 2]] + 0.01
    found = look_up(true, pool.state[:2], pool)
    torch.testing.assert_close(found.points - true, (pool.found - pool.true)[[4, 2]])
    assert torch.equal(found.visibility, pool.visibility[[4, 2]])
    assert torch.equal(found.presence, pool.presence[[4, 2]])
    assert torch.equal(found.peak, pool.peak[[4, 2]])


@pytest.mark.parametrize(("state", "share"), [(OCCLUDED, 0.4), (OUTSIDE, 0.25)])
def test_a_guess_is_taken_relative_to_the_last_visible_landmark(state: int, share: float) -> None:
    pool = bank(1)
    hand = [WRIST, 17, 19, THUMB]
    pool.state[0, hand] = state
    arm_moved, hand_moved = pool.true.clone(), pool.true.clone()
    arm_moved[0, [ELBOW, *hand]] += 0.2
    hand_moved[0, hand] += 0.2  # of which the network sees nothing itself
    same, arm, alone = (
        look_up(true, pool.state, pool).points[0] for true in (pool.true, arm_moved, hand_moved)
    )
    torch.testing.assert_close(same, pool.found[0])
    torch.testing.assert_close(arm[[ELBOW, *hand]], same[[ELBOW, *hand]] + 0.2)
    torch.testing.assert_close(alone[hand], same[hand] + share * 0.2)
    torch.testing.assert_close(alone[ELBOW], same[ELBOW])


def test_without_anything_visible_above_the_shoulder_is_the_reference() -> None:
    pool = bank(1)
    arm = [ELBOW, WRIST, 17, 19, THUMB]
    pool.state[0, arm] = OUTSIDE
    true = pool.true.clone()
    true[0, [SHOULDER, *arm]] += 1.0
    found = look_up(true, pool.state, pool)
    torch.testing.assert_close(found.points[0, arm], pool.found[0, arm] + 1.0)


def test_a_limb_of_which_not_the_same_is_visible_comes_from_another_entry() -> None:
    pool = bank(2)
    pool.state[1, [KNEE, 27, 29, 31]] = OCCLUDED
    pool.true[1, :23] += 5.0  # whose arms are nobody else's
    state = torch.full((1, 33), VISIBLE)
    state[0, [KNEE, 27, 29, 31]] = OCCLUDED
    found = look_up(pool.true[[0]], state, pool)
    assert torch.equal(found.visibility[0, KNEE], pool.visibility[1, KNEE])
    assert torch.equal(found.visibility[0, RIGHT_WRIST], pool.visibility[0, RIGHT_WRIST])
    torch.testing.assert_close(found.points[0, RIGHT_WRIST], pool.found[0, RIGHT_WRIST])


def test_the_entry_has_the_same_visibility_and_then_the_most_similar_limb() -> None:
    pool = bank(4)
    pool.state[[1, 2], KNEE] = OCCLUDED
    state = torch.full((1, 33), VISIBLE)
    state[0, KNEE] = OCCLUDED
    near = pool.true[[2]] + 0.05
    found = look_up(near, state, pool)
    assert torch.equal(found.visibility[0, KNEE], pool.visibility[2, KNEE])
    exact_but_visible = pool.true[[0]]
    found = look_up(exact_but_visible, state, pool)
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


def test_the_error_model_answers_a_share_of_the_images_from_the_bank() -> None:
    count = 400
    config = ErrorConfig(*(0.0,) * 10, banked=0.7, swaps=(0.0, 0.0, 0.0))
    entries = bank(50)
    entries.found[:] = entries.true + 0.25
    state = torch.full((33, count), VISIBLE)
    rng = torch.Generator().manual_seed(3)
    flat = torch.randn(33, 2, count, generator=rng)
    half_size = 0.5 + torch.rand(count, generator=rng)
    found = ErrorModel(config, entries)(flat, state, half_size, torch.Generator().manual_seed(0))
    away = (found.points - flat) / half_size
    banked = away.abs().amax((0, 1)) > 0.1
    assert 0.6 < banked.float().mean() < 0.8
    torch.testing.assert_close(away[..., banked], torch.full_like(away[..., banked], 0.25))
    torch.testing.assert_close(found.points[..., ~banked], flat[..., ~banked])
    logits = torch.logit(found.visibility[KNEE, banked])
    assert (logits[:, None] - entries.visibility[:, KNEE]).abs().amin(1).max() < 1e-3
    assert torch.equal(found.peak.isnan(), ~banked.expand(33, count))  # tables know no heatmaps
    for share, expected in ((0.0, 0.0), (1.0, 0.25)):
        model = ErrorModel(replace(config, banked=share), entries)
        away = (model(flat, state, half_size, rng).points - flat) / half_size
        torch.testing.assert_close(away, torch.full_like(away, expected))


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


def test_how_well_errors_are_known_is_printed(
    body: BodyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "train"
    shards.mkdir()
    records = random_records(60, 1, body)
    marks = landmark_positions(*(records[n] for n in ("rotvec", "betas", "pelvis")), body)
    true = marks[..., :2] / marks[..., 2:] * records["focal"][:, None, None].astype(float)
    true += records["size"][:, None] / 2
    away = np.linalg.norm(records["points"] - true, axis=-1) / half_sizes(true)[:, None]
    records["peak"] = np.exp(-away).astype(np.float32)
    records["visibility"] = (0.5 + 0.4 * np.tanh(away)).astype(np.float32)
    np.savez(shards / "00000.npz", **records)
    main(LandmarkBankConfig(rendered=(shards,), out=tmp_path / "bank.npz"))
    line = "60 answers: rank correlation of a visible limb landmark's error with its peak -1.00"
    assert f"{line}, with its visibility 1.00" in capsys.readouterr().out


def test_nothing_to_collect_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="videos: there is nothing to collect"):
        main(LandmarkBankConfig(out=tmp_path / "bank.npz"))
    with pytest.raises(PenumbraError, match=r"out: .*does not end in \.npz"):
        main(LandmarkBankConfig(rendered=(tmp_path / "missing",), out=tmp_path / "bank"))
    np.savez(tmp_path / "other.npz", true=np.zeros(3))
    with pytest.raises(PenumbraError, match=r"is no bank \(No such file"):
        LandmarkBank.load(tmp_path / "missing.npz")
    with pytest.raises(PenumbraError, match="is no bank"):
        LandmarkBank.load(tmp_path / "other.npz")


@pytest.mark.parametrize("name", ["frames", "coverings"])
def test_numbers_that_are_too_small_are_refused(name: str) -> None:
    config = replace(LandmarkBankConfig(videos=(Path("a.mp4"),)), **{name: 0})
    with pytest.raises(PenumbraError, match=f"{name}: must be at least 1"):
        main(config)
