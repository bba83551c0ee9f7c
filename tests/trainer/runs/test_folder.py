"""A run folder says what made it, and gives its method back."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.random_samples import TINY, TINY_ENCODER, mhentropy, random_flow, stored_run
from trainer.live.folder import is_live
from trainer.methods.mhentropy import MHEntropyConfig
from trainer.methods.registry import MethodConfigs
from trainer.runs import folder as runs
from trainer.runs.config import TrainConfig
from trainer.runs.git import git


def test_the_configuration_survives_being_written(tmp_path: Path) -> None:
    config = TrainConfig(
        method="hmr",
        supervision="2d-vis",
        unlabelled=tmp_path / "video",
        train_shards=3,
        run=tmp_path,
        encoder=TINY_ENCODER,
        methods=MethodConfigs(mhentropy=MHEntropyConfig(flow=TINY, samples=5)),
    )
    runs.record(TrainConfig(run=tmp_path), tmp_path, samples=5, done=0)
    runs.record(config, tmp_path, samples=7, done=40)
    assert runs.load_config(tmp_path) == config
    first, second = json.loads((tmp_path / "config.json").read_text())["starts"]
    assert (first["at_step"], second["at_step"], second["training_samples"]) == (0, 40, 7)
    assert len(second["commit"]) == 40 or second["commit"] == "unknown"  # where there is no git


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        for read in (runs.load_config, is_live):
            with pytest.raises(PenumbraError, match=r"run: .*config\.json cannot be read"):
                read(tmp_path)


def test_a_run_is_made_in_an_empty_folder_only(tmp_path: Path) -> None:
    runs.check_new(tmp_path)
    runs.check_new(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file"):
        with pytest.raises(PenumbraError, match="is not an empty folder"):
            runs.check_new(out)


def test_a_kill_while_recording_a_start_leaves_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.record(TrainConfig(run=tmp_path), tmp_path, samples=5, done=0)
    whole = Path.write_text

    def dies(path: Path, text: str) -> None:
        whole(path, text[: len(text) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", dies)
        runs.record(TrainConfig(run=tmp_path), tmp_path, samples=5, done=3)
    assert runs.load_config(tmp_path) == TrainConfig(run=tmp_path)


def test_the_averaged_weights_are_loaded(body: BodyModel, tmp_path: Path) -> None:
    method = mhentropy(body, random_flow(3))
    config = stored_run(tmp_path / "run", method)
    loaded = runs.load_method(tmp_path / "run")
    assert runs.load_config(tmp_path / "run") == config
    assert not loaded.training and not any(
        parameter.requires_grad for parameter in loaded.parameters()
    )
    for name, value in method.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=0, rtol=0)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="holds no run"):
        runs.load_method(tmp_path)
    started = {"starts": [{"config": dataclasses.asdict(TrainConfig())}]}
    (tmp_path / "config.json").write_text(json.dumps(started, default=str))
    with pytest.raises(PenumbraError, match="holds no checkpoint yet"):
        runs.load_method(tmp_path)


def test_git_answers_for_this_checkout_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = git("rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path)  # of another repository, or of none
    assert git("rev-parse", "HEAD") == here
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git("rev-parse", "HEAD") == "unknown"
