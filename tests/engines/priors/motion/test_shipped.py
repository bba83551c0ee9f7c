"""The shipped motion prior."""

import json
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.priors.motion.prior import MotionPrior
from tests.support.paths import ROOT, SHARED
from trainer.mocap import MocapConfig, main
from trainer.priors.humor_data import MotionData
from trainer.priors.humor_measure import perturbed
from trainer.priors.measure import auroc

FILE = ROOT / "engines" / "assets" / "priors" / "humor.npz"
CLIPS = SHARED / "data" / "mocap" / "cmu"


def test_its_record_says_how_well_it_does() -> None:
    record = json.loads(FILE.with_suffix(".json").read_text())
    assert record["bytes"] == FILE.stat().st_size < 2.5e6
    test = record["metrics"]["test"]
    assert test["energy"]["auroc_0.3rad_each_frame"] >= 0.9
    assert test["energy"]["auroc_0.3rad_once"] >= 0.9
    assert test["one_step"]["humor"]["joint_mm"] < test["one_step"]["constant_velocity"]["joint_mm"]
    assert test["one_step"]["contact"]["accuracy"] >= 0.9
    for name in ("expected", "sampled", "from_start"):
        assert test["second"][name]["finite"]


def test_it_samples_people_on_the_floor() -> None:
    R, pelvis = MotionPrior.load().sample(40, 32, np.random.default_rng(0))
    assert np.isfinite(R).all() and np.isfinite(pelvis).all()
    assert 0.6 < np.median(pelvis[:, -1, 2]) < 1.1  # metres, of a standing body 0.9
    assert np.median(R[:, -1, 0, 2, 1]) > 0.8  # upright
    assert np.linalg.norm(pelvis[:, -1, :2], axis=-1).max() < 6.0  # in a second


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the motion capture clips are not on this machine")
def test_recorded_motion_costs_less_than_perturbed_motion(tmp_path: Path, body: BodyModel) -> None:
    table = (CLIPS / "clips.csv").read_text().splitlines()
    rows = [row for row in table[1:] if ",test," in row][:3]
    root = tmp_path / "cmu"
    root.mkdir()
    for entry in CLIPS.iterdir():
        if entry.name != "clips.csv":
            (root / entry.name).symlink_to(entry)
    (root / "clips.csv").write_text("\n".join([table[0], *rows]) + "\n")
    main(MocapConfig(root=root, out=tmp_path / "poses.npz"))
    data = MotionData.load(tmp_path / "poses.npz", "test", body)
    prior, rng = MotionPrior.load(), np.random.default_rng(0)
    sequences = [data.sequence(int(start), 30) for start in data.windows(30)[::60]]
    real = np.concatenate([prior.energy(one) for one in sequences])
    other = [prior.energy(perturbed(one, 0.3, one.count, rng)) for one in sequences]
    assert auroc(real, np.concatenate(other)) >= 0.95
