"""Train a method.

    python -m trainer.train --run runs/mine
    python -m trainer.train --method prohmr --supervision 2d-vis --run runs/prohmr
    torchrun --nproc-per-node 8 -m -- trainer.train --accelerator cuda --run runs/many

One process on a CPU, or many GPUs on many nodes: the same command with `--devices` and `--nodes`,
or under `torchrun`, which then decides how many (Lightning Fabric takes care of processes, devices
and gradients). What a step draws depends on the seed and the step only, so neither the number of
processes nor a kill changes the result, but for dropout, which each process draws for its own rows.
A run folder holds the configuration, the commit, TensorBoard logs with pictures, and `last.pt`,
from which a run that was killed goes on.
"""

import copy
import dataclasses
import logging
import math
import os
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.augment import RawRecords
from trainer.data.exact import with_landmark_source
from trainer.data.noise import with_noise
from trainer.data.pool import Pool
from trainer.data.rng import StepRng
from trainer.data.samples import Batch, encode, read
from trainer.data.unlabelled import load_video
from trainer.evaluation.logger import TrainingLogger
from trainer.evaluation.score import Scores
from trainer.methods.method import Losses, Priors
from trainer.methods.registry import build
from trainer.model.pose_prior import PosePrior
from trainer.runs import folder
from trainer.runs.config import TrainConfig, differences

log = logging.getLogger(__name__)


class Training:
    """A run: everything that a checkpoint must hold, and the step."""

    def __init__(
        self,
        config: TrainConfig,
        train: RawRecords,
        body: BodyModel,
        fabric: Fabric,
        unlabelled: Batch | None = None,
    ) -> None:
        _check(config, fabric.world_size)
        torch.manual_seed(config.seed)
        self.config, self.fabric, self.body, self.unlabelled = config, fabric, body, unlabelled
        self.train = train
        self.pool, self.epoch = None, -1
        known = Priors(body, PosePrior.load())
        method = build(config.method, config.supervision, known, config.methods, config.encoder)
        method.prepare(self._pool(0).batch(torch.arange(min(5000, len(train["rotvec"])))))
        self.average = copy.deepcopy(method).eval().requires_grad_(False).to(fabric.device)
        optimiser = torch.optim.AdamW(
            method.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
        )
        self.method, self.optimiser = fabric.setup(method, optimiser)
        self.done, self.skipped = 0, 0

    def step(self) -> Losses:
        """One optimiser step on a random batch; a step whose gradient is not finite is skipped,
        counted and logged.
        """
        config, fabric = self.config, self.fabric
        rng = StepRng(config.seed, self.done, fabric.global_rank, fabric.world_size, fabric.device)
        torch.manual_seed(
            config.seed * 1_000_003 + self.done * fabric.world_size + fabric.global_rank
        )  # dropout
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate(self.done, config.warmup, config.steps)
        self.method.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._backward(rng)
        gradients = {
            name: p.grad for name, p in self.method.module.named_parameters() if p.grad is not None
        }
        norm = torch.nn.utils.get_total_norm(gradients.values())
        losses["gradient"] = norm
        if torch.isfinite(norm):
            torch.nn.utils.clip_grads_with_norm_(self.method.parameters(), config.clip, norm)
            self.optimiser.step()
            self._follow()
        else:
            self.skipped += 1
            bad = [
                name
                for name, value in (losses | gradients).items()
                if not torch.isfinite(value).all()
            ]
            log.warning(
                "step %d skipped: gradient is %s, not finite: %s",
                self.done,
                norm.item(),
                ", ".join(bad),
            )
        self.done += 1
        return losses

    def _backward(self, rng: StepRng) -> Losses:
        """Gradients of the labelled batch, and of the unlabelled one if there is one."""
        config = self.config
        rows = config.batch // self.fabric.world_size
        pool = self._pool(self.done // config.epoch)
        batch = self._noisy(pool.batch(rng.rows(pool.size, rows)), rng)
        with self.fabric.no_backward_sync(self.method, enabled=self.unlabelled is not None):
            total, losses = self.method(batch, rng)
            self.fabric.backward(total)
        if self.unlabelled is not None:
            count = config.unlabelled_batch // self.fabric.world_size
            unlabelled = self._noisy(
                self.unlabelled.rows(rng.rows(self.unlabelled.size, count)), rng
            )
            total, more = self.method(unlabelled, rng, "2d-vis")
            self.fabric.backward(config.unlabelled_weight * total)
            losses |= {f"unlabelled_{name}": value for name, value in more.items()}
        return Losses({name: value.detach() for name, value in losses.items()})

    def _noisy(self, batch: Batch, rng: StepRng) -> Batch:
        batch = batch.to(self.fabric.device)
        return batch._replace(features=with_noise(batch.features, self.config.noise, rng))

    def _pool(self, epoch: int) -> Pool:
        if self.pool is None or epoch != self.epoch:
            config = self.config
            self.pool = Pool(
                self.train,
                self.body,
                config.augment,
                config.seed,
                epoch,
                config.landmark_source,
            )
            self.epoch = epoch
        return self.pool

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights."""
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        for mean, now in zip(
            self.average.parameters(), self.method.module.parameters(), strict=True
        ):
            mean.lerp_(now, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint from the first process; a kill in the middle leaves the previous
        one.
        """
        if not self.fabric.is_global_zero:
            return
        state = {
            "method": self.method.module.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "skipped": self.skipped,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, whatever number of processes wrote it.

        Raises:
            PenumbraError: if no training wrote it.
        """
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)
        if "optimiser" not in state:
            raise PenumbraError(
                f"--run: {path.parent} was imported and cannot go on; give it as --start of a new run."
            )
        self.method.module.load_state_dict(state["method"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done, self.skipped = state["done"], state["skipped"]

    def start_from(self, path: Path) -> None:
        """Take another run's averaged weights and nothing else.

        Raises:
            PenumbraError: if there are none, or they belong to another method or other sizes.
        """
        if not path.exists():
            raise PenumbraError(f"--start: there is no {path}; name the folder of a run.")
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)["average"]
        try:
            self.method.module.load_state_dict(state)
        except RuntimeError as error:
            raise PenumbraError(
                f"--start: {path.parent} has another method or other sizes than this run."
            ) from error
        self.average.load_state_dict(state)


def _fabric(config: TrainConfig) -> Fabric:
    """The engine for as many processes as torchrun started, else as the configuration asks for."""
    devices, nodes = config.devices, config.nodes
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    strategy = DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto"
    return Fabric(
        accelerator=config.accelerator, strategy=strategy, devices=devices, num_nodes=nodes
    )


def _check(config: TrainConfig, processes: int) -> None:
    """Refuse what cannot be trained.

    Raises:
        PenumbraError: if a batch does not divide among the processes, or the method cannot use
            unlabelled video.
    """
    for name, batch in (("--batch", config.batch), ("--unlabelled-batch", config.unlabelled_batch)):
        if batch % processes != 0:
            raise PenumbraError(
                f"{name} {batch} does not divide among {processes} processes; choose a multiple."
            )
    if config.unlabelled is not None and config.method != "mhentropy":
        raise PenumbraError(
            f"--weak: {config.method} cannot learn from unlabelled video; leave it out."
        )
    if config.landmark_source == "exact" and config.unlabelled is not None:
        raise PenumbraError(
            "--landmark-source exact: there is no video with exact landmarks; leave --weak out."
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


def rate(step: int, warmup: int, steps: int) -> float:
    """Share of the learning rate: a linear start, then half a cosine down to a hundredth."""
    return min(1.0, (step + 1) / max(warmup, 1)) * (
        0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    )


def run(config: TrainConfig) -> Scores:
    """Train, or go on; returns the last scores of the averaged weights on the validation split.

    Raises:
        PenumbraError: if the run was begun with other settings, or something is missing or does not
            fit.
    """
    last = config.run / "last.pt"
    if last.exists():
        _check_same(config)
    torch.set_num_threads(config.threads)
    fabric = _fabric(config)
    fabric.launch()
    body = BodyModel.load(config.body)
    train = read(config.dataset / "train", body, config.train_shards)
    unlabelled = load_video(config.unlabelled, body) if config.unlabelled else None
    training = Training(config, train, body, fabric, unlabelled)
    config.run.mkdir(parents=True, exist_ok=True)
    if last.exists():
        training.resume(last)
    elif config.start is not None:
        training.start_from(config.start / "last.pt")
    if fabric.is_global_zero:
        folder.record(config, config.run, len(train["rotvec"]), training.done)
    watch = TrainingLogger(config.run, _validation(config, body)) if fabric.is_global_zero else None
    bar = tqdm(
        range(training.done, config.steps),
        initial=training.done,
        total=config.steps,
        unit="step",
        disable=watch is None,
    )
    for _ in bar:
        losses = training.step()
        if watch is not None and training.done % 50 == 0:
            bar.set_postfix({name: f"{value.item():.2f}" for name, value in losses.items()})
            watch.losses(
                training.done, Losses(losses | {"skipped": torch.tensor(training.skipped)})
            )
        if training.done % config.checkpoint_every == 0 or training.done == config.steps:
            training.save(last)
        if (
            watch is not None
            and training.done % config.evaluate_every == 0
            and training.done < config.steps
        ):
            tqdm.write(f"step {training.done}: {watch.scores(training.done, training.average)}")
        fabric.barrier()
    if watch is None:
        return Scores.unknown()
    scores = watch.scores(training.done, training.average)
    tqdm.write(f"step {training.done}: {scores}")
    folder.write_scores(config.run, dataclasses.asdict(scores))
    return scores


def _validation(config: TrainConfig, body: BodyModel) -> Batch:
    """The validation pairs that are scored during training, evenly spread."""
    raw = with_landmark_source(read(config.dataset / "val", body), body, config.landmark_source)
    val = encode(raw, body)
    return val.rows(torch.linspace(0, val.size - 1, min(config.evaluate_samples, val.size)).long())


if __name__ == "__main__":
    start(run, TrainConfig)
