"""Train every method under the supervisions of the paper with three seeds, and score them all.

    python -m trainer.reproduce
    python -m trainer.reproduce --table priors    the experiments on priors, see trainer.experiments

Every run trains on the same samples with the same encoder, those that are compared for the same
number of steps; those that the paper's claim rests on also on exact landmarks
(`trainer.data.exact`). What is finished is not trained again, what was killed goes on, and the
scoring starts when the last run ends.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from tqdm import tqdm

from engines.body import BodyModel
from trainer.command import start
from trainer.data.exact import LandmarkSource
from trainer.evaluation.benchmarks import AMBIGUOUS, CLEAR, check_benchmarks, read_benchmarks
from trainer.evaluation.comparison import compare
from trainer.evaluation.measure import MeasureConfig
from trainer.experiments.run import PriorTableConfig, compare_priors
from trainer.methods.method import Supervision
from trainer.methods.registry import METHOD_NAMES, MethodName

FIRST: tuple[MethodName, ...] = ("prohmr", "mhentropy", "hmr")
"""Methods that are trained under both supervisions; the others only under 3d."""
CLAIM: tuple[MethodName, ...] = ("prohmr", "mhentropy")
"""Methods whose comparison the paper's claim rests on; they are trained in both forms."""


@dataclass(frozen=True)
class ReproduceConfig:
    """How much of it."""

    table: Literal["methods", "priors"] = "methods"
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
    priors: PriorTableConfig = field(default_factory=PriorTableConfig)
    """Of `--table priors`."""


@dataclass(frozen=True)
class Job:
    """One run."""

    method: MethodName
    supervision: Supervision
    seed: int
    landmark_source: LandmarkSource = "rendered"

    def steps(self, config: ReproduceConfig) -> int:
        """How long it trains."""
        every_method = (self.supervision, self.landmark_source) == ("3d", "rendered")
        return config.steps_of_all if every_method else config.steps

    def folder(self, out: Path) -> Path:
        """Where it is kept."""
        return out / self.landmark_source / f"{self.supervision}_{self.method}_{self.seed}"


def jobs(seeds: int) -> list[Job]:
    """List all runs, a seed at a time: those of both supervisions, the others, the exact ones."""
    both = [Job(m, s, seed) for seed in range(seeds) for s in get_args(Supervision) for m in FIRST]
    others = [Job(m, "3d", seed) for seed in range(seeds) for m in METHOD_NAMES if m not in FIRST]
    exact = [replace(job, landmark_source="exact") for job in both if job.method in CLAIM]
    return both + others + exact


def command(job: Job, config: ReproduceConfig) -> list[str]:
    """The command that trains a run, with the same sizes for every method."""
    # MHEntropy's alone: hypotheses then stay within 5 px of one another at visible joints (PJD 2D).
    scale = 0.028 if (job.supervision, job.landmark_source) == ("2d-vis", "exact") else 0.03
    # fmt: off
    return [
        sys.executable, "-m", "trainer.train",
        "--method", job.method, "--supervision", job.supervision,
        "--landmark-source", job.landmark_source, "--seed", str(job.seed),
        "--dataset", str(config.dataset), "--run", str(job.folder(config.out)),
        "--steps", str(job.steps(config)), "--batch", str(config.batch), "--warmup", "200",
        "--learning-rate", "1e-3", "--ema", "0.995",
        "--evaluate-every", "2000", "--evaluate-samples", "500",
        "--encoder.width", "384", "--encoder.blocks", "2",
        "--methods.mhentropy.flow.couplings", "6", "--methods.mhentropy.flow.hidden", "128",
        "--methods.mhentropy.loss-2d.laplace-scale", str(scale),
    ]
    # fmt: on


def finished(run: Path, steps: int) -> bool:
    """Whether a run needs nothing more."""
    last = run / "last.pt"
    return (
        (run / "scores.json").exists()
        and last.exists()
        and torch.load(last, weights_only=True)["done"] >= steps
    )


def train(job: Job, config: ReproduceConfig) -> None:
    """Train one run in a process of its own, its output beside it."""
    run = job.folder(config.out)
    if finished(run, job.steps(config)):
        return
    run.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (run / "log.txt").open("a") as log:
        subprocess.run(command(job, config), env=environment, stdout=log, stderr=log, check=True)


def main(config: ReproduceConfig) -> None:
    """Train all, then score all; or compare the priors.

    Raises:
        PenumbraError: there is nothing to score on.
        subprocess.CalledProcessError: a run failed; its `log.txt` says why.
    """
    if config.table == "priors":
        print(compare_priors(config.priors))
        return
    if not config.only_train:
        check_benchmarks()  # before hours of training
    todo = jobs(config.seeds)
    with ThreadPoolExecutor(config.processes) as pool:
        for _ in tqdm(pool.map(lambda job: train(job, config), todo), total=len(todo), unit="run"):
            pass
    if not config.only_train:
        for landmark_source in get_args(LandmarkSource):
            runs = [
                job.folder(config.out) for job in todo if job.landmark_source == landmark_source
            ]
            body = BodyModel.load()
            sets = read_benchmarks(CLEAR, AMBIGUOUS, body, landmark_source)
            out = config.tables / landmark_source
            print(compare(runs, sets, MeasureConfig(), body, out))


if __name__ == "__main__":
    start(main, ReproduceConfig)
