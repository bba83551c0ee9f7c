"""The pose bank: clips and kinds of poses are balanced, and every pose has its mirror image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES
from tests.support.pose_banks import pose_bank, random_poses, write_poses
from trainer.model import quaternions as quat
from trainer.motion.anatomy import mirror_pose
from trainer.synthetic.poses import PARTS, PoseBank, classify


def test_who_sits_and_who_reaches(body: BodyModel) -> None:
    rotvec = np.zeros((4, 24, 3))
    rotvec[1, 1:3, 0] = -1.5  # thighs forward
    rotvec[2, JOINT_NAMES.index("left_shoulder"), 2] = 1.5  # an arm up
    rotvec[3, 0, 0] = 1.0  # leaning over
    seated, reaching = classify(rotvec, body)
    assert seated.tolist() == [False, True, False, False]
    assert reaching.tolist() == [False, False, True, True]


def test_seated_poses_and_short_clips_are_drawn_more_often(body: BodyModel) -> None:
    rotvec = np.zeros((10, 24, 3))
    rotvec[9, 1:3, 0] = -1.5
    bank = PoseBank.of(rotvec, np.array([0] * 8 + [1, 1]), body)
    weight = torch.diff(bank.cumulative, prepend=torch.zeros(1))
    torch.testing.assert_close(weight[:10], weight[10:])  # the mirrored half
    assert weight[9] / weight[8] == pytest.approx(5.0, rel=1e-3)
    assert weight[8] / weight[0] == pytest.approx(2.0, rel=1e-3)  # 8 frames to 2
    assert bank.seated.tolist() == [9, 19] and bank.cumulative[-1] == pytest.approx(1.0)


def test_the_second_half_is_mirrored(body: BodyModel) -> None:
    bank, rotvec = pose_bank(body), random_poses()
    back = quat.log(bank.quaternions.permute(2, 0, 1)).permute(1, 2, 0)
    np.testing.assert_allclose(back[: len(rotvec)], rotvec, atol=1e-6)
    np.testing.assert_allclose(back[len(rotvec) :], mirror_pose(rotvec), atol=1e-6)


def test_draws_are_poses_of_the_bank(body: BodyModel) -> None:
    bank, rng = pose_bank(body), torch.Generator().manual_seed(0)
    seated = torch.arange(200) < 50
    drawn = bank.draw(seated, 0.0, (0.0, 0.0), rng).permute(2, 0, 1)
    match = (drawn[:, None] - bank.quaternions[None]).abs().amax((2, 3)).argmin(1)
    torch.testing.assert_close(drawn, bank.quaternions[match])
    assert set(match[:50].tolist()) <= set(bank.seated.tolist())
    assert len(set(match[50:].tolist())) > 20


def test_limbs_come_from_other_frames_as_wholes(body: BodyModel) -> None:
    bank, nobody = pose_bank(body), torch.zeros(400, dtype=torch.bool)
    plain, mixed = (
        bank.draw(nobody, share, (0.0, 0.0), torch.Generator().manual_seed(0))
        for share in (0.0, 0.5)
    )
    assert torch.equal(mixed[0], plain[0])  # the orientation stays
    assert sorted([0, *(joint for part in PARTS for joint in part)]) == list(range(24))
    other = []
    for part in PARTS:
        changed = (mixed[list(part)] != plain[list(part)]).any(1)  # (joints, 400)
        assert (changed == changed[0]).all(0).float().mean() > 0.9
        other.append(changed[0].float())
        assert changed[0].float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.corrcoef(torch.stack(other)).fill_diagonal_(0).abs().max() < 0.2


def test_every_pose_is_turned_by_its_own_amount(body: BodyModel) -> None:
    bank, nobody = pose_bank(body), torch.zeros(400, dtype=torch.bool)

    def draw(low: float, high: float) -> torch.Tensor:
        return bank.draw(nobody, 0.0, (low, high), torch.Generator().manual_seed(0))

    plain, turned, spread = draw(0.0, 0.0), draw(0.1, 0.1), draw(0.0, 0.2)
    knee = JOINT_NAMES.index("left_knee")
    away = (spread - plain).norm(dim=1)[1:].mean(0)
    assert away.quantile(0.9) > 5 * away.quantile(0.1)
    assert torch.equal(turned[0], plain[0])
    inverse = plain[knee] * torch.tensor([1.0, -1.0, -1.0, -1.0])[:, None]
    turn = quat.log(quat.multiply(inverse, turned[knee]))
    assert turn.std() == pytest.approx(0.1, rel=0.1)


def test_a_bank_is_read_from_the_poses_of_a_split(body: BodyModel, tmp_path: Path) -> None:
    path = write_poses(tmp_path / "poses.npz")
    assert len(PoseBank.load(path, "train", body).quaternions) == 40
    with pytest.raises(PenumbraError, match="poses: cannot read"):
        PoseBank.load(tmp_path / "missing.npz", "train", body)
