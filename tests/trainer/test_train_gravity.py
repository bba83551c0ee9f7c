"""Training of the gravity network: samples of other settings are not taken for those asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from tests.support.pose_banks import random_poses
from trainer import train_gravity
from trainer.gravity.fit import GravityTraining
from trainer.gravity.samples import SampleConfig
from trainer.motion.poses import SPLITS
from trainer.train_gravity import GravityConfig, main


@pytest.fixture
def config(tmp_path: Path) -> GravityConfig:
    rotvec = random_poses(24).astype(np.float32)
    third = np.repeat(range(len(SPLITS)), 8)
    np.savez(
        tmp_path / "poses.npz",
        rotvec=rotvec,
        transl=np.zeros((24, 3), np.float32),
        clip=third,
        split=third.astype(np.int8),
        clip_names=np.array(["a", "b", "c"]),
    )
    return GravityConfig(
        poses=tmp_path / "poses.npz",
        samples=tmp_path / "samples",
        out=tmp_path / "gravity.npz",
        train_shards=1,
        shard=12,
        sampling=SampleConfig(hypotheses=3),
        fit=GravityTraining(hidden=(4,), epochs=1, batch=8),
    )


def test_kept_samples_are_only_taken_with_the_same_settings(
    config: GravityConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(config)
    assert config.out.exists() and config.out.with_suffix(".json").exists()
    made = {path.name for path in config.samples.iterdir()}
    assert made == {"made.json", "train_1.npz", "val_101.npz", "test_201.npz"}
    with monkeypatch.context() as patch:
        patch.setattr(train_gravity, "make_samples", None)  # none is made again
        main(replace(config, seed=1))
    other = replace(config, sampling=SampleConfig(hypotheses=4), shard=10)
    with pytest.raises(PenumbraError, match=r"samples: .* with another shard, sampling; name"):
        main(other)


def test_a_name_that_is_no_npz_is_refused_first(config: GravityConfig) -> None:
    with pytest.raises(PenumbraError, match=r"out: .* does not end in \.npz"):
        main(replace(config, out=config.out.with_suffix("")))
