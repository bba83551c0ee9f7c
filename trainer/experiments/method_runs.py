"""The training runs that the tables of the methods are made of, and how they are trained."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch
from tqdm import tqdm

from engines.errors import PenumbraError
from trainer.data.exact import LandmarkSource
from trainer.methods.method import Supervision
from trainer.methods.registry import METHOD_NAMES, MethodName

FIRST: tuple[MethodName, ...] = ("prohmr", "mhentropy", "hmr")
"""Methods that are trained under both supervisions; the others only under 3d."""
CLAIM: tuple[MethodName, ...] = ("prohmr", "mhentropy")
"""Methods whose comparison the paper's claim rests on; they are trained in both forms."""

Settings = tuple[tuple[str, float], ...]
"""Options of `trainer.train`, without dashes, and their values: a method's own weights."""


@dataclass(frozen=True)
class RunsConfig:
    """What all runs share."""

    dataset: Path = Path("runs/dataset")
    batch: int = 128
    processes: int = 2
    """Runs at a time, one core each."""


@dataclass(frozen=True)
class Job:
    """One run."""

    method: MethodName
    supervision: Supervision
    seed: int
    landmark_source: LandmarkSource = "rendered"
    settings: Settings = ()

    def folder(self, out: Path) -> Path:
        """Where it is kept."""
        return out / self.landmark_source / f"{self.supervision}_{self.method}_{self.seed}"


def jobs(seeds: int) -> list[Job]:
    """List all runs, a seed at a time: those of both supervisions, the others, the exact ones."""
    both = [Job(m, s, seed) for seed in range(seeds) for s in get_args(Supervision) for m in FIRST]
    others = [Job(m, "3d", seed) for seed in range(seeds) for m in METHOD_NAMES if m not in FIRST]
    exact = [replace(job, landmark_source="exact") for job in both if job.method in CLAIM]
    return both + others + exact


def command(job: Job, folder: Path, steps: int, config: RunsConfig) -> list[str]:
    """The command that trains a run, with the same sizes for every method."""
    own = [word for name, value in job.settings for word in (f"--{name}", str(value))]
    # fmt: off
    return [
        sys.executable, "-m", "trainer.train",
        "--method", job.method, "--supervision", job.supervision,
        "--landmark-source", job.landmark_source, "--seed", str(job.seed),
        "--dataset", str(config.dataset), "--run", str(folder),
        "--steps", str(steps), "--batch", str(config.batch), "--warmup", "200",
        "--learning-rate", "1e-3", "--ema", "0.995",
        "--evaluate-every", "2000", "--evaluate-samples", "500",
        "--encoder.width", "384", "--encoder.blocks", "2",
        "--methods.mhentropy.flow.couplings", "6", "--methods.mhentropy.flow.hidden", "128",
        *own,
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


@dataclass(frozen=True)
class Run:
    """A job, where it is kept, and how long it trains."""

    job: Job
    folder: Path
    steps: int


def train_all(runs: Sequence[Run], config: RunsConfig) -> None:
    """Train what is not finished, each in a process of its own with its output beside it.

    Raises:
        PenumbraError: a run failed; its `log.txt` says why.
    """
    with ThreadPoolExecutor(config.processes) as pool:
        for _ in tqdm(pool.map(lambda run: _train(run, config), runs), total=len(runs), unit="run"):
            pass


def _train(run: Run, config: RunsConfig) -> None:
    if finished(run.folder, run.steps):
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (run.folder / "log.txt").open("a") as log:
        words = command(run.job, run.folder, run.steps, config)
        try:
            subprocess.run(words, env=environment, stdout=log, stderr=log, check=True)
        except subprocess.CalledProcessError as error:
            raise PenumbraError(
                f"run: the training of {run.folder} failed; its log.txt says why."
            ) from error
