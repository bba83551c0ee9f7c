"""Each method's own weights: the same number of tries, the lowest error on validation subjects."""

from pathlib import Path

import pytest
import tyro

from engines.errors import PenumbraError
from tests.support.random_samples import random_batch
from trainer.data.samples import Batch
from trainer.evaluation.tables import Measurement
from trainer.experiments import sweep as module
from trainer.experiments.method_runs import Job, Run, RunsConfig, command, jobs
from trainer.experiments.sweep import (
    CRITERION,
    SweepConfig,
    Tried,
    candidates,
    choose,
    chosen_weights,
    own,
    sweep,
    table,
)
from trainer.runs.config import TrainConfig, differences

IN_THE_TABLES = sorted({(job.supervision, job.method) for job in jobs(1)})


@pytest.mark.parametrize(("supervision", "method"), IN_THE_TABLES)
def test_candidates_are_five_that_differ_in_the_methods_own_weights_only(
    supervision: str, method: str
) -> None:
    tried = candidates(method, supervision)
    assert len(tried) == len(set(tried)) == 5 and tried[0] == ()
    runs = [Job(method, supervision, 0, settings=one) for one in tried]
    words = [command(job, Path("run"), 9, RunsConfig())[3:] for job in runs]
    configs = [tyro.cli(TrainConfig, args=one) for one in words]
    for config in configs[1:]:
        assert differences(config, configs[0]) == ["methods"]


def _tried(number: int, error: float) -> Tried:
    settings = candidates("mhentropy", "3d")[number]
    values = {CRITERION: error, "pa_best_1": 9.0, "ah_px": None, "pjd_2d_visible_px": 1.0}
    return Tried(Job("mhentropy", "3d", 0, settings=settings), values | {"energy_body_mm": 3.0})


def test_the_lowest_error_is_chosen_for_each_method_and_stands_in_bold() -> None:
    tried = [_tried(0, 70.0), _tried(1, 66.04), _tried(2, 68.0)]
    other = Tried(Job("hmr", "3d", 0), {**tried[0].values, CRITERION: 99.0})
    best = choose([*tried, other])
    assert best == [tried[1].job, other.job]
    lines = table([*tried, other], best).splitlines()
    assert "**66.0**" in lines[3] and "**" not in lines[2] and "as it stands" in lines[2]
    assert own(best[0]) == {"kl": 0.03}


def test_what_is_chosen_is_written_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Run] = []

    def measured(
        folder: Path, benchmarks: dict[str, Batch], config: object, body: object
    ) -> list[Measurement]:
        assert {name: one.size for name, one in benchmarks.items()} == {module.BENCHMARK: 12}
        supervision, method, number = folder.name.split("_")
        error = abs(int(number) - 3) + 50.0
        return [
            Measurement(method, supervision, 0, "validation", dict.fromkeys(module._SHOWN, error))
        ]

    monkeypatch.setattr(module, "train_all", lambda runs, shared: trained.extend(runs))
    monkeypatch.setattr(module, "measure_run", measured)
    monkeypatch.setattr(module, "read", lambda folder, body, writer: {})
    monkeypatch.setattr(module, "encode", lambda records, body: random_batch(30, 0, body))
    config = SweepConfig(out=tmp_path / "out", tables=tmp_path / "tables", images=12)
    text = sweep(config, RunsConfig())
    assert len({run.folder for run in trained}) == 5 * len(IN_THE_TABLES)
    assert {run.steps for run in trained} == {config.steps}
    chosen = chosen_weights(tmp_path / "tables" / "weights.json")
    assert chosen == {(s, m): candidates(m, s)[3] for s, m in IN_THE_TABLES}
    assert (tmp_path / "tables" / "sweep.md").read_text() == text + "\n"


@pytest.mark.parametrize(
    "stored",
    ["", "[]", '{"3d": 3}', '{"2d-vis": {"hmr": {}}, "3d": {}}', '{"2d-vis": {"hmr": {"x": "y"}}}'],
)
def test_a_damaged_file_of_weights_is_named(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(stored)
    with pytest.raises(PenumbraError, match=r"weights: .*weights.json cannot be read"):
        chosen_weights(path)
