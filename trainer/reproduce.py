"""Train every method under the supervisions of the paper with three seeds, and score them all.

    python -m trainer.reproduce
    python -m trainer.reproduce --table sweep     each method's own weights, on validation subjects
    python -m trainer.reproduce --table temperature   what the spread of hypotheses costs and gains
    python -m trainer.reproduce --table priors    the experiments on priors, see trainer.experiments

Every run trains on the same samples with the same encoder, those that are compared for the same
number of steps; those that the paper's claim rests on also on exact landmarks
(`trainer.data.exact`). What is finished is not trained again, what was killed goes on, and the
scoring starts when the last run ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from engines.body import BodyModel
from trainer.command import start
from trainer.data.exact import LandmarkSource
from trainer.evaluation.benchmarks import AMBIGUOUS, CLEAR, check_benchmarks, read_benchmarks
from trainer.evaluation.comparison import compare
from trainer.evaluation.measure import MeasureConfig
from trainer.experiments.compare_priors import PriorTableConfig, compare_priors
from trainer.experiments.method_runs import Run, RunsConfig, jobs, train_all
from trainer.experiments.sweep import CHOSEN, SweepConfig, chosen_weights, sweep
from trainer.experiments.temperature import TemperatureConfig, vary_temperature


@dataclass(frozen=True)
class ReproduceConfig:
    """How much of it."""

    table: Literal["methods", "sweep", "temperature", "priors"] = "methods"
    dataset: Path = Path("runs/dataset")
    out: Path = Path("runs/table")
    tables: Path = Path("runs/tables")
    """A folder for each form."""
    seeds: int = 3
    steps: int = 6000
    steps_of_all: int = 2000
    """Under `3d` as rendered, where all methods are trained, not only those of the claim."""
    batch: int = 128
    processes: int = 2
    """Runs at a time, one core each."""
    only_train: bool = False
    weights: Path = CHOSEN
    """Each method's own weights, as `--table sweep` chose them."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    """Of `--table sweep`."""
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    """Of `--table temperature`."""
    priors: PriorTableConfig = field(default_factory=PriorTableConfig)
    """Of `--table priors`."""


def plan(config: ReproduceConfig) -> list[Run]:
    """List all runs of the methods' tables, with the weights that were chosen."""
    weights = chosen_weights(config.weights)
    planned = []
    for job in jobs(config.seeds):
        every_method = (job.supervision, job.landmark_source) == ("3d", "rendered")
        steps = config.steps_of_all if every_method else config.steps
        own = replace(job, settings=weights[job.supervision, job.method])
        planned.append(Run(own, job.folder(config.out), steps))
    return planned


def main(config: ReproduceConfig) -> None:
    """Train all, then score all; or make one of the other tables.

    Raises:
        PenumbraError: there is nothing to score on, or a run failed; its `log.txt` says why.
    """
    if config.table == "priors":
        print(compare_priors(config.priors))
        return
    shared = RunsConfig(config.dataset, config.batch, config.processes)
    if config.table == "sweep":
        print(sweep(config.sweep, shared))
        return
    if not config.only_train:
        check_benchmarks()  # before hours of training
    runs = plan(config)
    if config.table == "temperature":
        print(vary_temperature(config.temperature, runs))
        return
    train_all(runs, shared)
    if not config.only_train:
        _score(runs, config)


def _score(runs: Sequence[Run], config: ReproduceConfig) -> None:
    """Print the tables of each form of the landmarks."""
    body = BodyModel.load()
    for landmark_source in get_args(LandmarkSource):
        folders = [run.folder for run in runs if run.job.landmark_source == landmark_source]
        sets = read_benchmarks(CLEAR, AMBIGUOUS, body, landmark_source)
        print(compare(folders, sets, MeasureConfig(), body, config.tables / landmark_source))


if __name__ == "__main__":
    start(main, ReproduceConfig)
