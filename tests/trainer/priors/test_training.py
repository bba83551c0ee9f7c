"""The loop and the command: a killed training goes on as if it had not been."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.errors import PenumbraError
from engines.priors.load import read_prior
from trainer.prior import PriorConfig, main
from trainer.priors.distance_field import FieldConfig, NdfConfig, NrdfConfig
from trainer.priors.flow import FlowPriorConfig
from trainer.priors.mixture import MixtureConfig
from trainer.priors.training import Run, StepsConfig, train_steps
from trainer.priors.vposer import VPoserConfig

STEPS = StepsConfig(steps=20, validate_every=5)


class Killed(Exception):
    pass


def train(folder: Path, kill_at: int | None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    calls = 0

    def loss(rng: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        x = torch.randn(16, 3, generator=rng)
        return (model(x)[:, 0] - x.sum(-1)).square().mean()

    def validate() -> float:
        x = torch.eye(3)
        with torch.no_grad():
            return float((model(x)[:, 0] - 1).square().mean())

    train_steps(model, loss, validate, STEPS, Run(folder, 3, STEPS))
    return model.state_dict()


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    whole = train(tmp_path / "whole", None)
    with pytest.raises(Killed):
        train(tmp_path / "cut", 13)
    again = train(tmp_path / "cut", None)
    for name, weight in whole.items():
        assert torch.equal(weight, again[name]), name


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    Run(tmp_path, 0, STEPS).claim()
    Run(tmp_path, 0, STEPS).claim()
    with pytest.raises(PenumbraError, match="with other settings"):
        Run(tmp_path, 1, STEPS).claim()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rotvec = rng.normal(0, 0.3, (360, 24, 3)).astype(np.float32)
    rotvec[:, [13, 14, 22, 23]] = 0.0
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    clip = np.repeat([0, 1, 2], 120)
    np.savez(
        path,
        rotvec=rotvec,
        transl=np.zeros((360, 3), np.float32),
        clip=clip,
        split=clip.astype(np.int8),
        clip_names=np.array(["a", "b", "c"]),
    )
    return path


FIELD = FieldConfig(samples=200, references=50, candidates=8, hidden=(16,), batch=16, steps=STEPS)
SMALL: dict[str, Any] = {
    "gmm": MixtureConfig(components=1),
    "vposer": VPoserConfig(latent=4, hidden=16, batch=16, steps=STEPS),
    "ndf": NdfConfig(FIELD, eikonal_batch=4),
    "nrdf": NrdfConfig(FIELD),
    "flow": FlowPriorConfig(couplings=2, hidden=8, batch=16, steps=STEPS),
}


@pytest.mark.parametrize("kind", SMALL)
def test_command_writes_a_prior_and_its_record(
    kind: Any, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prior.npz"
    main(PriorConfig(kind, recordings, tmp_path / "run", out, **{kind: SMALL[kind]}))
    assert read_prior(out).name == kind
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["config"][kind]
    assert record["bytes"] == out.stat().st_size
    assert 0 <= record["metrics"]["test"]["auroc_0.3rad"] <= 1
    assert json.loads(capsys.readouterr().out) == record
    assert str(tmp_path) not in out.with_suffix(".json").read_text()


def test_other_poses_do_not_go_on(recordings: Path, tmp_path: Path) -> None:
    own = {"flow": SMALL["flow"]}
    config = PriorConfig("flow", recordings, tmp_path / "run", tmp_path / "prior.npz", **own)
    main(config)
    main(config)
    with pytest.raises(PenumbraError, match="with other settings"):
        main(replace(config, step_rad=0.5))
    arrays = dict(np.load(recordings))
    np.savez(tmp_path / "poses.npz", **arrays | {"rotvec": 0.9 * arrays["rotvec"]})
    with pytest.raises(PenumbraError, match="with other settings"):
        main(replace(config, poses=tmp_path / "poses.npz"))
