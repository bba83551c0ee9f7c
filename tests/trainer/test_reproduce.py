"""Which runs make the tables, with which commands, and when they need nothing more."""

import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import pytest
import torch
import tyro

from engines.errors import PenumbraError
from trainer import reproduce
from trainer.experiments.method_runs import FIRST, Job, RunsConfig, command, finished, jobs
from trainer.experiments.sweep import chosen_weights
from trainer.methods.registry import METHOD_NAMES
from trainer.reproduce import ReproduceConfig
from trainer.runs.config import TrainConfig


def test_every_run_is_listed_once_and_the_papers_comparison_first() -> None:
    for seeds in (1, 3):
        listed = jobs(seeds)
        assert set(Counter(listed).values()) == {1}
        both = {Job(m, s, seed) for m in FIRST for s in ("2d-vis", "3d") for seed in range(seeds)}
        other = {
            Job(m, "3d", seed) for m in METHOD_NAMES if m not in FIRST for seed in range(seeds)
        }
        exact = {
            replace(job, landmark_source="exact")
            for job in both
            if job.method in ("prohmr", "mhentropy")
        }
        assert len(both) == 6 * seeds and len(other) == 5 * seeds
        assert set(listed[: len(both)]) == both and set(listed[len(both) : -len(exact)]) == other
        assert set(listed[-len(exact) :]) == exact
    # A seed at a time: after the first few runs there is something to look at.
    assert [job.seed for job in jobs(2)] == [0] * 6 + [1] * 6 + [0] * 5 + [1] * 5 + [0] * 4 + [
        1
    ] * 4
    assert {"prohmr", "mhentropy"} == {job.method for job in jobs(2)[:2]}
    assert len({job.folder(Path("out")) for job in jobs(3)}) == 45


def test_a_run_is_finished_when_it_is_scored_after_its_last_step(tmp_path: Path) -> None:
    assert not finished(tmp_path, 10)
    (tmp_path / "scores.json").write_text("{}")
    assert not finished(tmp_path, 10)  # its checkpoint was deleted
    torch.save({"done": 9}, tmp_path / "last.pt")
    assert not finished(tmp_path, 10) and finished(tmp_path, 9)
    torch.save({"done": 10}, tmp_path / "last.pt")
    assert finished(tmp_path, 10)
    (tmp_path / "scores.json").unlink()
    assert not finished(tmp_path, 10)  # killed while it was scored


class Recorder:
    """Stands for `subprocess.run`: finishes a run at once, and remembers the command."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.configs: list[TrainConfig] = []
        self.lock = Lock()  # tyro is not made for threads
        self.failing: str | None = None

    def __call__(self, words: list[str], env: dict[str, str], check: bool, **streams: Any) -> None:
        assert (
            env["OMP_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "1" and check and "PATH" in env
        )
        self.commands.append(words)
        with self.lock:
            config = tyro.cli(TrainConfig, args=words[3:])
        self.configs.append(config)
        if config.method == self.failing:
            raise subprocess.CalledProcessError(1, words)
        streams["stdout"].write("trained\n")
        (config.run / "scores.json").write_text(json.dumps({}))
        torch.save({"done": config.steps}, config.run / "last.pt")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(subprocess, "run", recorder)
    return recorder


class Comparison(NamedTuple):
    runs: set[Path]
    benchmarks: object
    """Stands for the benchmarks: their form of landmarks."""
    out: Path


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Comparison]:
    """The comparisons that were asked for, in place of scoring."""
    calls: list[Comparison] = []

    def compare(runs: list[Path], sets: object, config: object, body: object, out: Path) -> str:
        calls.append(Comparison(set(runs), sets, out))
        return "tables"

    monkeypatch.setattr(reproduce, "compare", compare)
    monkeypatch.setattr(reproduce, "check_benchmarks", lambda: None)
    monkeypatch.setattr(reproduce, "read_benchmarks", lambda clear, ambiguous, body, form: form)
    return calls


def test_all_is_trained_with_the_same_sizes_and_then_scored(
    tmp_path: Path, recorder: Recorder, compared: list[Comparison]
) -> None:
    config = ReproduceConfig(
        dataset=Path("some"),
        out=tmp_path,
        tables=tmp_path / "tables",
        seeds=1,
        steps=7,
        steps_of_all=5,
        batch=3,
    )
    reproduce.main(config)
    configs = recorder.configs
    assert {words[2] for words in recorder.commands} == {"trainer.train"}
    assert Counter(
        Job(c.method, c.supervision, c.seed, c.landmark_source) for c in configs
    ) == Counter(jobs(1))
    for c in configs:
        assert (c.dataset, c.steps, c.batch) == (
            Path("some"),
            5 if (c.supervision, c.landmark_source) == ("3d", "rendered") else 7,
            3,
        )
        assert (c.encoder, c.learning_rate, c.ema) == (
            configs[0].encoder,
            configs[0].learning_rate,
            configs[0].ema,
        )
        assert (
            c.run == Job(c.method, c.supervision, c.seed, c.landmark_source).folder(tmp_path)
            and c.unlabelled is None
        )
        assert (c.run / "log.txt").read_text() == "trained\n"
    # Forms are scored apart.
    forms = ("rendered", "exact")
    assert [one.runs for one in compared] == [
        {c.run for c in configs if c.landmark_source == form} for form in forms
    ]
    assert [one.benchmarks for one in compared] == list(forms)
    assert [one.out for one in compared] == [tmp_path / "tables" / form for form in forms]
    # Once more: nothing is left to train.
    recorder.commands.clear()
    reproduce.main(config)
    assert recorder.commands == [] and len(compared) == 4


def test_a_missing_benchmark_is_noticed_before_the_training(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PenumbraError, match=r"clear: .* no benchmark; .* --no-tracked --clear"):
        reproduce.main(ReproduceConfig())
    assert recorder.commands == []


def test_a_run_that_fails_stops_the_rest_and_nothing_is_scored(
    tmp_path: Path, recorder: Recorder, compared: list[Comparison]
) -> None:
    recorder.failing = FIRST[0]
    config = ReproduceConfig(out=tmp_path, seeds=1, processes=1)
    with pytest.raises(PenumbraError, match=r"training of .*prohmr_0 failed; its log.txt says why"):
        reproduce.main(config)
    assert len(recorder.commands) < len(jobs(1)) and compared == []


def test_every_run_is_given_the_weights_that_were_chosen(
    tmp_path: Path, recorder: Recorder, compared: list[Comparison]
) -> None:
    weights = tmp_path / "weights.json"
    own = {"methods.prohmr.samples-2d": 0.7, "methods.prohmr.loss-2d.laplace-scale": 0.01}
    stored: dict[str, dict[str, dict[str, float]]] = {"2d-vis": {}, "3d": {}}
    for job in jobs(1):
        stored[job.supervision][job.method] = {}
    stored["2d-vis"]["prohmr"] = own
    weights.write_text(json.dumps(stored))
    reproduce.main(ReproduceConfig(out=tmp_path, seeds=1, weights=weights))
    for c in recorder.configs:
        swept = (c.method, c.supervision) == ("prohmr", "2d-vis")
        assert c.methods.prohmr.samples_2d == (
            0.7 if swept else TrainConfig().methods.prohmr.samples_2d
        )
        assert (c.methods.prohmr.loss_2d.laplace_scale == 0.01) == swept


def test_the_command_runs_the_interpreter_that_was_started() -> None:
    words = command(Job("mdn", "3d", 2), Path("here"), 70, RunsConfig())
    assert words[1] == "-m" and Path(words[0]).name.startswith("python")
    config = tyro.cli(TrainConfig, args=words[3:])
    assert (config.method, config.seed, config.steps) == ("mdn", 2, 70)
    assert config.methods.mhentropy.flow.couplings == 6 and config.encoder.width == 384


def test_weights_are_stored_for_every_method_and_supervision_of_the_tables() -> None:
    assert set(chosen_weights()) == {(job.supervision, job.method) for job in jobs(1)}
