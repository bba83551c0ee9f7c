"""A run in memory: the method, its averaged weights, the optimiser, and the training step."""

import copy
import logging
import math
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError, check_at_least
from trainer.data.augment import RawRecords
from trainer.data.noise import with_noise
from trainer.data.pool import Pool
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Losses, Priors
from trainer.methods.registry import build
from trainer.model.pose_prior import PoseMixture
from trainer.runs.config import TrainConfig

PREPARE = 5000
"""Samples that a method takes its scales from."""
log = logging.getLogger(__name__)


class Training:
    """Everything that a checkpoint must hold, and the step.

    The numbers drawn in a step depend on (seed, step) only, so a run that was killed goes on as if
    nothing had happened.
    """

    def __init__(
        self,
        config: TrainConfig,
        records: RawRecords,
        body: BodyModel,
        fabric: Fabric,
        unlabelled: Batch | None = None,
    ) -> None:
        """Build the method and its optimiser.

        Args:
            config: of the run.
            records: training split, as stored.
            body: that the records were made with.
            fabric: launched.
            unlabelled: video without 3D labels, which supervises as under `2d-vis`.

        Raises:
            PenumbraError: if the configuration cannot be trained.
        """
        check(config, fabric.world_size)
        torch.manual_seed(config.seed)
        self.config = config
        self.records = records
        self.body = body
        self.fabric = fabric
        self.unlabelled = unlabelled
        self.done = 0
        self.skipped = 0
        self.epoch = 0
        self.pool = self._make_pool(0)
        priors = Priors(body, PoseMixture.load())
        method = build(config.method, config.supervision, priors, config.methods, config.encoder)
        method.prepare(self.pool.batch(torch.arange(min(PREPARE, len(records["rotvec"])))))
        self.average = copy.deepcopy(method).eval().requires_grad_(False).to(fabric.device)
        optimiser = torch.optim.AdamW(
            method.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.method, self.optimiser = fabric.setup(method, optimiser)

    def step(self) -> Losses:
        """Take one optimiser step on a random batch.

        A step whose gradient is not finite is skipped, counted and logged.

        Returns:
            The parts of the loss, and the gradient's norm, without gradients.
        """
        rng = self._seed_step()
        share = learning_rate_factor(self.done, self.config.warmup, self.config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * share
        self.method.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._backward(rng)
        gradients = {
            name: p.grad for name, p in self.method.module.named_parameters() if p.grad is not None
        }
        norm = torch.nn.utils.get_total_norm(gradients.values())
        losses["gradient"] = norm
        if torch.isfinite(norm):
            torch.nn.utils.clip_grads_with_norm_(self.method.parameters(), self.config.clip, norm)
            self.optimiser.step()
            self._update_average()
        else:
            self._skip(losses | gradients)
        self.done += 1
        return losses

    def _seed_step(self) -> StepRng:
        """Return this step's random numbers; seed torch's own generator, which dropout uses."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        torch.manual_seed(self.config.seed * 1_000_003 + self.done * world + rank)
        return StepRng(self.config.seed, self.done, rank, world, self.fabric.device)

    def _backward(self, rng: StepRng) -> Losses:
        """Compute the gradients of a labelled batch, and of an unlabelled one if there is any."""
        config = self.config
        pool = self._pool()
        index = rng.rows(pool.size, config.batch // self.fabric.world_size)
        batch = self._with_noise(pool.batch(index), rng)
        with self.fabric.no_backward_sync(self.method, enabled=self.unlabelled is not None):
            total, losses = self.method(batch, rng)
            self.fabric.backward(total)
        if self.unlabelled is not None:
            index = rng.rows(
                self.unlabelled.size, config.unlabelled_batch // self.fabric.world_size
            )
            batch = self._with_noise(self.unlabelled.rows(index), rng)
            total, unlabelled = self.method(batch, rng, "2d-vis")
            self.fabric.backward(config.unlabelled_weight * total)
            losses |= {f"unlabelled_{name}": value for name, value in unlabelled.items()}
        return Losses({name: value.detach() for name, value in losses.items()})

    def _with_noise(self, batch: Batch, rng: StepRng) -> Batch:
        batch = batch.to(self.fabric.device)
        return batch._replace(features=with_noise(batch.features, self.config.noise, rng))

    def _pool(self) -> Pool:
        """Return the samples of the current epoch, perturbed anew when it begins."""
        epoch = self.done // self.config.epoch
        if epoch != self.epoch:
            self.pool = self._make_pool(epoch)
            self.epoch = epoch
        return self.pool

    def _make_pool(self, epoch: int) -> Pool:
        config = self.config
        return Pool(
            self.records, self.body, config.augment, config.seed, epoch, config.landmark_source
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the averaged weights towards the current ones; faster in the first steps."""
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        weights = self.method.module.parameters()
        for mean, weight in zip(self.average.parameters(), weights, strict=True):
            mean.lerp_(weight, 1 - decay)

    def _skip(self, values: dict[str, Tensor]) -> None:
        self.skipped += 1
        bad = [name for name, value in values.items() if not torch.isfinite(value).all()]
        norm = values["gradient"].item()
        log.warning(
            "step %d skipped: gradient is %s, not finite: %s", self.done, norm, ", ".join(bad)
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint from the first process.

        A kill in the middle leaves the previous checkpoint.
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
                f"run: {path.parent} was imported and cannot go on; name it as `start` of a new "
                "run."
            )
        self.method.module.load_state_dict(state["method"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]
        self.skipped = state["skipped"]

    def start_from(self, path: Path) -> None:
        """Take another run's averaged weights and nothing else.

        Raises:
            PenumbraError: if there are none, or they belong to another method or other sizes.
        """
        if not path.exists():
            raise PenumbraError(f"start: there is no {path}; name the folder of a run.")
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)["average"]
        try:
            self.method.module.load_state_dict(state)
        except RuntimeError as error:
            raise PenumbraError(
                f"start: {path.parent} has another method or other sizes than this run; name a run "
                "with the same."
            ) from error
        self.average.load_state_dict(state)


def check(config: TrainConfig, processes: int) -> None:
    """Refuse a configuration that cannot be trained.

    Raises:
        PenumbraError: if a number is too small, a batch does not divide among the processes, or
            unlabelled video is given where it cannot be used.
    """
    names = ("evaluate_every", "evaluate_samples", "checkpoint_every")
    check_at_least(1, config, "steps", "epoch", "batch", "unlabelled_batch", *names)
    batches = (("batch", config.batch), ("unlabelled_batch", config.unlabelled_batch))
    for name, batch in batches:
        if batch % processes != 0:
            raise PenumbraError(
                f"{name}: {batch} does not divide among {processes} processes; choose a multiple."
            )
    if config.unlabelled is not None and config.method != "mhentropy":
        raise PenumbraError(
            f"unlabelled: {config.method} cannot learn from unlabelled video; leave it out."
        )
    if config.landmark_source == "exact" and config.unlabelled is not None:
        raise PenumbraError(
            "unlabelled: there is no video with exact landmarks; leave it out, or choose the "
            "rendered landmark_source."
        )


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Share of the learning rate: a linear start, then half a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / max(warmup, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return rise * (0.01 + 0.99 * cosine)
