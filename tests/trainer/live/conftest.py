"""A small run of the live flow."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from tests.support.pose_banks import write_poses
from tests.support.random_samples import TINY_ANCHORED, prior, random_records
from trainer.live.config import LiveConfig
from trainer.model.pose_prior import PoseMixture


@pytest.fixture(autouse=True)
def known_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoseMixture, "load", staticmethod(prior))
    monkeypatch.setattr("trainer.live.training.PREPARE", 200)


@pytest.fixture
def config(tmp_path: Path, body: BodyModel) -> LiveConfig:
    (tmp_path / "rendered").mkdir()
    np.savez(tmp_path / "rendered" / "00000.npz", **random_records(12, 1, body))
    return LiveConfig(
        run=tmp_path / "run",
        poses=write_poses(tmp_path / "poses.npz"),
        rendered=tmp_path / "rendered",
        steps=6,
        batch=20,
        warmup=2,
        threads=torch.get_num_threads(),
        evaluate_every=4,
        evaluate_samples=20,
        checkpoint_every=3,
        flow=TINY_ANCHORED,
    )
