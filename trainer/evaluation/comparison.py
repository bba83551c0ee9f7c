"""Trained runs on several benchmarks, as tables and as values.

Runs of one method and supervision share a row of the tables, so those that are compared in one call
must differ in nothing but their seed there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.data.samples import Batch
from trainer.evaluation import tables
from trainer.evaluation.measure import MeasureConfig, measure
from trainer.evaluation.predictions import surface_error
from trainer.evaluation.tables import Measurement
from trainer.runs.config import TrainConfig, differences
from trainer.runs.folder import load_config, load_method


def compare(
    runs: Sequence[Path],
    benchmarks: Mapping[str, Batch],
    config: MeasureConfig,
    body: BodyModel,
    out: Path,
) -> str:
    """Measure every run on every benchmark, and return the tables as Markdown.

    The tables go to `out/tables.md`, every run's values to `out/values.json`.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    measured: list[Measurement] = []
    for run in tqdm(runs, unit="run"):
        measured += measure_run(run, benchmarks, config, body)
        values = json.dumps([asdict(one) for one in measured], indent=2)
        (out / "values.json").write_text(values + "\n")
    text = report(measured)
    (out / "tables.md").write_text(text)
    return text


def measure_run(
    run: Path, benchmarks: Mapping[str, Batch], config: MeasureConfig, body: BodyModel
) -> list[Measurement]:
    """Measure one run on every benchmark."""
    facts = load_config(run)
    method = load_method(run)
    measured = []
    for name, samples in benchmarks.items():
        values = measure(method, samples, config)
        # Fitted bodies have no surface here, and of others it would stand beside fitted joints.
        pve = None if config.fit else round(surface_error(method, samples, body), 4)
        values |= {"pve": pve}
        measured.append(Measurement(facts.method, facts.supervision, facts.seed, name, values))
    return measured


def report(measured: Sequence[Measurement]) -> str:
    """Write all tables as Markdown."""
    names = list(dict.fromkeys(one.benchmark for one in measured))
    hardest = names[-1]
    titled = {
        "PA-MPJPE of the best hypothesis (mm)": tables.table_2(names),
        f"PA-MPJPE of the best of n on {hardest} (mm)": tables.table_best(hardest),
        "The best estimate (mm)": tables.table_estimate(names),
        f"Diversity on {hardest}, n = 25": tables.table_3(hardest),
        f"Uncertainty on {hardest}, before calibration": tables.table_uncertainty(hardest),
    }
    rendered = [tables.render(title, columns, measured) for title, columns in titled.items()]
    rendered.insert(1, tables.ratios(measured, hardest))
    return "\n".join(rendered)


def common_config(runs: Sequence[Path]) -> TrainConfig:
    """The configuration of the first run, with which the others share landmarks and body.

    Raises:
        PenumbraError: they do not share them, or two runs would share a cell of the tables.
    """
    if not runs:
        raise PenumbraError("runs: there is none; name at least one folder of trainer.train.")
    configs = [load_config(run) for run in runs]
    if len({facts.landmark_source for facts in configs}) > 1:
        raise PenumbraError(
            "runs: some learnt from rendered landmarks, others from exact ones; score them apart."
        )
    if len({facts.body for facts in configs}) > 1:
        raise PenumbraError("runs: they were trained for different bodies; score them apart.")
    _check_cells(runs, configs)
    _check_rows(runs, configs)
    return configs[0]


def _check_cells(runs: Sequence[Path], configs: Sequence[TrainConfig]) -> None:
    """Raise where two runs have the same method, supervision and seed."""
    first: dict[tuple[str, str, int], Path] = {}
    for run, facts in zip(runs, configs, strict=True):
        other = first.setdefault((facts.method, facts.supervision, facts.seed), run)
        if other is not run:
            raise PenumbraError(
                f"runs: {other} and {run} have the same method, supervision and seed; score them"
                " apart."
            )


def _check_rows(runs: Sequence[Path], configs: Sequence[TrainConfig]) -> None:
    """Raise where two runs that share a row differ in more than their seed."""
    first: dict[tuple[str, str], tuple[Path, TrainConfig]] = {}
    for run, facts in zip(runs, configs, strict=True):
        other, theirs = first.setdefault((facts.method, facts.supervision), (run, facts))
        if different := differences(facts, theirs, but={"seed"}):
            raise PenumbraError(
                f"runs: {other} and {run} share a row but differ in {', '.join(different)}; score"
                " them apart."
            )
