"""The check of simulated landmarks tells what differs and cannot tell what does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.random_samples import random_records
from trainer.landmark_realism import RealismConfig, auroc, described_pairs, main, tell_apart
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.known_landmarks import landmark_positions, landmark_states
from trainer.synthetic.occlusion import OCCLUDED, OUTSIDE, VISIBLE

CONFIG = RealismConfig(rendered=(), steps=150, width=32, batch=128)


def test_area_under_the_curve_by_hand() -> None:
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([1.0, 4.0]), np.array([2.0, 3.0])) == 0.5


def test_a_classifier_tells_what_differs_and_nothing_else() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 800, 20, generator=rng)
    assert abs(tell_apart(a, b, CONFIG) - 0.5) < 0.1
    assert tell_apart(a, b + 1.0, CONFIG) > 0.9


def test_simulated_landmarks_are_of_the_same_people(body: BodyModel) -> None:
    records = random_records(40, 0, body)
    real, simulated = described_pairs(records, body, ErrorConfig(), 0)
    assert real.shape == simulated.shape and torch.isfinite(real).all()
    assert torch.equal(real[:, -99:], simulated[:, -99:])  # what is visible
    assert not torch.equal(real[:, :66], simulated[:, :66])


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
        main(RealismConfig((tmp_path,)))
