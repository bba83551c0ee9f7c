"""An average of runs is their mean, is scored, says whose it is, and can be gone on from."""

import dataclasses
from pathlib import Path

import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.average import AverageConfig, main, mean_of
from trainer.export_onnx import lineage
from trainer.live import folder
from trainer.live.config import LiveConfig
from trainer.live.training import LiveTraining
from trainer.runs.folder import load_scores


@pytest.fixture
def runs(config: LiveConfig, body: BodyModel) -> tuple[Path, Path]:
    """Two runs that have not taken a step, of different seeds."""
    names = []
    for seed in (1, 2):
        one = dataclasses.replace(config, run=config.run.with_name(f"run{seed}"), seed=seed)
        training = LiveTraining(one, body)
        one.run.mkdir()
        folder.record_start(one, 0, 0)
        training.save(one.run / "last.pt")
        names.append(one.run)
    return names[0], names[1]


def average_weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.pt", weights_only=True)["average"]


def test_the_result_is_a_run_with_the_mean_of_the_weights(
    runs: tuple[Path, Path], config: LiveConfig, body: BodyModel, tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    main(AverageConfig(runs, out))
    first, second = (average_weights(run) for run in runs)
    for name, value in average_weights(out).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.5 * (first[name] + second[name]), msg=name)
    assert not torch.equal(first["anchor.weight"], second["anchor.weight"])
    assert load_scores(out)["estimate_pa"] > 0
    assert lineage(out)["average_of"] == [str(run) for run in runs]
    after = dataclasses.replace(config, run=tmp_path / "after", start=out)
    LiveTraining(after, body).start_from(out / "last.pt")


def test_what_cannot_be_averaged_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="runs: an average needs at least two"):
        main(AverageConfig(runs[:1], tmp_path / "mean"))
    with pytest.raises(PenumbraError, match="holds no weights of the live flow"):
        main(AverageConfig((runs[0], tmp_path), tmp_path / "mean"))
    with pytest.raises(PenumbraError, match="is not an empty folder; name another one"):
        main(AverageConfig(runs, runs[0]))
    one, other = {"w": torch.zeros(2)}, {"w": torch.zeros(3)}
    with pytest.raises(PenumbraError, match="different sizes"):
        mean_of([one, other])
