"""One process or many: the same training. Real processes, which share gradients through gloo on the
CPU.
"""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from tests.support.paths import ROOT
from tests.support.random_samples import TINY, TINY_ENCODER, random_records, unlabelled
from trainer import train
from trainer.methods.mhentropy import MHEntropyConfig
from trainer.methods.registry import MethodConfigs
from trainer.runs.config import TrainConfig

pytestmark = pytest.mark.slow
FIRST, STEPS = 4, 7
"""Where the run is handed from one number of processes to the other, and where it ends."""
LEARNING_RATE = 1e-3
NOISE = 0.02 * LEARNING_RATE
"""What the order of a sum may change in a weight: a small part of one step."""


@pytest.fixture(scope="module")
def config(body: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Labelled samples and unlabelled video, perturbed anew after three steps.

    There is no dropout, which each process draws itself.
    """
    folder = tmp_path_factory.mktemp("distributed")
    for name, seed in (("dataset/train", 1), ("dataset/val", 2), ("video", 3)):
        (folder / name).mkdir(parents=True)
        people = random_records(20, seed, body)
        np.savez(folder / name / "00000.npz", **(unlabelled(people) if name == "video" else people))
    return TrainConfig(
        dataset=folder / "dataset",
        unlabelled=folder / "video",
        run=folder / "one",
        steps=FIRST,
        batch=8,
        unlabelled_batch=4,
        warmup=2,
        learning_rate=LEARNING_RATE,
        epoch=3,
        evaluate_samples=4,
        threads=torch.get_num_threads(),
        encoder=dataclasses.replace(TINY_ENCODER, dropout=0.0),
        methods=MethodConfigs(mhentropy=MHEntropyConfig(flow=TINY)),
    )


def command_line(config: TrainConfig) -> list[str]:
    """What a user types for this configuration."""
    options = {
        "dataset": config.dataset,
        "unlabelled": config.unlabelled,
        "run": config.run,
        "steps": config.steps,
        "batch": config.batch,
        "unlabelled-batch": config.unlabelled_batch,
        "warmup": config.warmup,
        "learning-rate": config.learning_rate,
        "epoch": config.epoch,
        "evaluate-samples": config.evaluate_samples,
        "encoder.width": config.encoder.width,
        "encoder.blocks": config.encoder.blocks,
        "encoder.dropout": config.encoder.dropout,
        "methods.mhentropy.flow.couplings": TINY.couplings,
        "methods.mhentropy.flow.hidden": TINY.hidden,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(*words: str) -> None:
    """Run Python, and say why it failed."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def weights(stored: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value
        for part in ("method", "average")
        for name, value in stored[part].items()
    }


def assert_same(actual: Path, expected: Path) -> None:
    """The same checkpoint, up to rounding."""
    theirs, ours = (torch.load(run / "last.pt", weights_only=True) for run in (actual, expected))
    assert (theirs["done"], theirs["skipped"]) == (ours["done"], ours["skipped"])
    assert weights(theirs).keys() == weights(ours).keys()
    for name, value in weights(ours).items():
        other = weights(theirs)[name]
        torch.testing.assert_close(
            other, value, atol=NOISE, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert theirs["optimiser"]["state"].keys() == ours["optimiser"]["state"].keys()
    for number, moments in ours["optimiser"]["state"].items():
        for name, value in moments.items():
            apart = (theirs["optimiser"]["state"][number][name] - value).norm() / value.norm()
            assert apart < 1e-3, (number, name)


@pytest.fixture(scope="module")
def one(config: TrainConfig) -> tuple[Path, Path]:
    """A run by one process: as it was after its first steps, and after it went on."""
    first = config.run.with_name("first")
    train.run(config)
    shutil.copytree(config.run, first)
    train.run(dataclasses.replace(config, steps=STEPS))
    return first, config.run


def test_two_processes_train_what_one_trains_and_one_goes_on_from_theirs(
    config: TrainConfig, one: tuple[Path, Path]
) -> None:
    first, end = one
    two = dataclasses.replace(config, run=config.run.with_name("two"))
    launch("-m", "trainer.train", *command_line(two), "--devices", "2")
    assert_same(two.run, first)
    train.run(dataclasses.replace(two, steps=STEPS))
    assert_same(two.run, end)


def test_two_processes_of_torchrun_go_on_from_a_checkpoint_of_one(
    config: TrainConfig, one: tuple[Path, Path]
) -> None:
    first, end = one
    more = dataclasses.replace(config, run=config.run.with_name("torchrun"), steps=STEPS)
    shutil.copytree(first, more.run)
    torchrun = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    )
    launch(*torchrun, "-m", "--", "trainer.train", *command_line(more))
    assert_same(more.run, end)
    assert (
        len(json.loads((more.run / "config.json").read_text())["starts"]) == 2
    )  # one process keeps the books
