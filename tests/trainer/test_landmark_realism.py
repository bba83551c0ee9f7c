"""The check of simulated landmarks tells what differs and cannot tell what does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.random_samples import random_records
from trainer.landmark_bank import LandmarkBankConfig
from trainer.landmark_bank import main as collect
from trainer.landmark_realism import (
    GIVEN,
    Described,
    Pairs,
    RealismConfig,
    described_pairs,
    main,
    tell_apart,
)
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.known_landmarks import landmark_positions, landmark_states
from trainer.synthetic.landmark_bank import LandmarkBank
from trainer.synthetic.landmark_errors import ErrorModel
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

CONFIG = RealismConfig((), (), steps=150, width=32, batch=128)


def described(seed: int, shift: float = 0.0, count: int = 600) -> Described:
    rng = torch.Generator().manual_seed(seed)
    away, visibility, presence, known = (
        torch.randn(count, *shape, generator=rng) for shape in ((33, 3), (33,), (33,), (165,))
    )
    return Described(away, visibility + shift, presence, known)


def test_a_classifier_tells_what_differs_and_nothing_else() -> None:
    train, test = (Pairs(described(seed), described(seed + 1)) for seed in (0, 2))
    assert abs(tell_apart(train, test, "everything", CONFIG) - 0.5) < 0.1
    train, test = (Pairs(described(seed), described(seed + 1, 1.0)) for seed in (0, 2))
    assert tell_apart(train, test, "visibility", CONFIG) > 0.9
    assert abs(tell_apart(train, test, "displacements", CONFIG) - 0.5) < 0.1


def test_people_who_score_alike_are_not_told_apart() -> None:
    one = Described(*(part[:1].repeat_interleave(40, 0) for part in described(0)))
    train = Pairs(described(0), described(1))
    assert tell_apart(train, Pairs(one, one), "everything", CONFIG) == 0.5


def test_a_classifier_is_given_what_its_name_says() -> None:
    people = described(0, count=4)
    widths = [people.features(name).shape[1] - 165 for name in GIVEN]
    assert widths == [165, 99, 36, 33, 33]


def test_simulated_landmarks_are_of_the_same_people(body: BodyModel) -> None:
    records = random_records(40, 0, body)
    real, simulated = described_pairs(records, body, ErrorModel(ErrorConfig()), 0)
    assert torch.equal(real.known, simulated.known)
    assert torch.isfinite(real.features("everything")).all()
    assert not torch.equal(real.displacements, simulated.displacements)


def test_a_bank_of_the_same_people_answers_with_the_truth(body: BodyModel, tmp_path: Path) -> None:
    shards = tmp_path / "train"
    shards.mkdir()
    np.savez(shards / "00000.npz", **(records := random_records(40, 0, body)))
    collect(LandmarkBankConfig(rendered=(shards,), out=tmp_path / "bank.npz"))
    bank = LandmarkBank.load(tmp_path / "bank.npz")
    model = ErrorModel(ErrorConfig(banked=1.0), bank)
    real, simulated = described_pairs(records, body, model, 0)
    torch.testing.assert_close(real.visibility, simulated.visibility, atol=1e-3, rtol=0)
    torch.testing.assert_close(real.displacements, simulated.displacements, atol=0.02, rtol=0)


def test_landmarks_of_limbs_are_joints_and_have_their_visibility(body: BodyModel) -> None:
    records = random_records(5, 1, body)
    marks = landmark_positions(records["rotvec"], records["betas"], records["pelvis"], body)
    shaped = body.shaped(records["betas"][0])
    posed = shaped.posed(records["rotvec"][0], records["pelvis"][0] - shaped.rest_joints[0])
    np.testing.assert_allclose(marks[0, 15], posed.joints[20], atol=1e-5)  # left wrist
    records["window"][:] = (0, 0, 100, 100)
    records["joint_visible"][:] = 1
    records["joint_visible"][:, 20] = 0
    px = np.full((5, 33, 2), 50.0)
    px[:, 16] = 200.0
    state = landmark_states(records, px)
    assert (state[:, 15] == OCCLUDED).all() and (state[:, 16] == OUTSIDE).all()
    assert (state[:, 11] == VISIBLE).all() and (state[:, 0] == VISIBLE).all()


def test_too_few_people_are_refused(body: BodyModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "00000.npz", **random_records(5, 1, body))
    with pytest.raises(PenumbraError, match="rendered: holds fewer than 100 samples"):
        main(RealismConfig((tmp_path,), (tmp_path,)))
