"""Train a method.

    python -m trainer.train --run runs/mine
    python -m trainer.train --method prohmr --supervision 2d-vis --run runs/prohmr
    torchrun --nproc-per-node 8 -m -- trainer.train --accelerator cuda --run runs/many

The same command runs one process on a CPU, or many GPUs on many nodes: with `--devices` and
`--nodes`, or under `torchrun`, which then decides how many (Lightning Fabric takes care of
processes, devices and gradients). The numbers drawn in a step depend on the seed and the step only,
so neither the number of processes nor a kill changes the result, but for dropout, which each
process draws for its own rows.

A run folder holds the configuration, the commit, TensorBoard logs with figures, and `last.pt`, from
which a killed run goes on.
"""

import dataclasses
import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.exact import with_landmark_source
from trainer.data.samples import Batch, encode, read
from trainer.data.unlabelled import load_video
from trainer.evaluation.logger import TrainingLogger
from trainer.evaluation.score import Scores
from trainer.methods.method import Losses
from trainer.runs import folder
from trainer.runs.config import TrainConfig, differences
from trainer.runs.training import Training

LOG_EVERY = 50
"""Steps between two entries of the losses in the log."""


def run(config: TrainConfig) -> Scores:
    """Train, or go on with a run that was stopped.

    Returns:
        The last scores of the averaged weights on the validation split; unknown in all processes
        but the first.

    Raises:
        PenumbraError: if the run was begun with other settings, or something is missing or does not
            fit.
    """
    if (config.run / "last.pt").exists():
        _check_same(config)
    torch.set_num_threads(config.threads)
    fabric = _fabric(config)
    fabric.launch()
    body = BodyModel.load(config.body)
    training = _open_training(config, body, fabric)
    if not fabric.is_global_zero:
        _train(training, None)
        return Scores.unknown()
    folder.record(config, config.run, len(training.records["rotvec"]), training.done)
    with TrainingLogger(config.run, _validation(config, body)) as logger:
        _train(training, logger)
        scores = _evaluate(training, logger)
    folder.write_scores(config.run, dataclasses.asdict(scores))
    return scores


def _open_training(config: TrainConfig, body: BodyModel, fabric: Fabric) -> Training:
    """Read the data, and take the weights of the run's checkpoint or of the run to start from."""
    records = read(config.dataset / "train", body, config.train_shards)
    unlabelled = load_video(config.unlabelled, body) if config.unlabelled else None
    training = Training(config, records, body, fabric, unlabelled)
    config.run.mkdir(parents=True, exist_ok=True)
    last = config.run / "last.pt"
    if last.exists():
        training.resume(last)
    elif config.start is not None:
        training.start_from(config.start / "last.pt")
    return training


def _train(training: Training, logger: TrainingLogger | None) -> None:
    """Take the steps that are left; the process that has the logger logs and evaluates."""
    config = training.config
    steps = tqdm(
        range(training.done, config.steps),
        initial=training.done,
        total=config.steps,
        unit="step",
        disable=logger is None,
    )
    for _ in steps:
        losses = training.step()
        done = training.done
        if logger is not None and done % LOG_EVERY == 0:
            steps.set_postfix({name: f"{value.item():.2f}" for name, value in losses.items()})
            logger.losses(done, Losses(losses | {"skipped": torch.tensor(training.skipped)}))
        if done % config.checkpoint_every == 0 or done == config.steps:
            training.save(config.run / "last.pt")
        if logger is not None and done % config.evaluate_every == 0 and done < config.steps:
            _evaluate(training, logger)
        training.fabric.barrier()


def _evaluate(training: Training, logger: TrainingLogger) -> Scores:
    scores = logger.scores(training.done, training.average)
    tqdm.write(f"step {training.done}: {scores}")
    return scores


def _validation(config: TrainConfig, body: BodyModel) -> Batch:
    """Load the validation samples that are scored during training, evenly spread."""
    stored = read(config.dataset / "val", body)
    val = encode(with_landmark_source(stored, body, config.landmark_source), body)
    return val.rows(torch.linspace(0, val.size - 1, min(config.evaluate_samples, val.size)).long())


def _fabric(config: TrainConfig) -> Fabric:
    """Fabric for as many processes as torchrun started, else as the configuration asks for."""
    devices = config.devices
    nodes = config.nodes
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto"
    return Fabric(
        accelerator=config.accelerator, strategy=strategy, devices=devices, num_nodes=nodes
    )


def _check_same(config: TrainConfig) -> None:
    """Refuse to go on with other settings than the run was begun with.

    Raises:
        PenumbraError: if something differs that the result depends on.
    """
    differ = differences(config, folder.load_config(config.run), but={"steps", "start"})
    if differ:
        raise PenumbraError(
            f"--run: {config.run} was begun with another {', '.join(differ)}; name a new folder."
        )


if __name__ == "__main__":
    start(run, TrainConfig)
