"""A run of the live flow in memory: the weights, their average, the optimiser, and the step."""

import copy
import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from engines.body import BodyModel
from engines.errors import PenumbraError, check_at_least
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.live.config import LiveConfig
from trainer.live.folder import fresh_live_method
from trainer.live.jitter import jittered
from trainer.live.rendered import RenderedSource
from trainer.methods.method import Losses
from trainer.synthetic.landmark_bank import LandmarkBank
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.source import SyntheticSource

PREPARE = 8000
"""Samples that the flow takes its scales from."""
_PREPARE_STEP = 10**6
"""Step whose samples these are."""
log = logging.getLogger(__name__)


class LiveTraining:
    """Everything that a checkpoint must hold, and the step.

    The samples of a step depend on (seed, step) only, so a run that was killed goes on as if
    nothing had happened.
    """

    def __init__(self, config: LiveConfig, body: BodyModel) -> None:
        """Open the sources; build the flow and its optimiser.

        Raises:
            PenumbraError: if poses or rendered samples are missing or do not fit.
        """
        check(config)
        torch.manual_seed(config.seed)
        self.config = config
        poses = PoseBank.load(config.poses, "train", body)
        bank = None if config.landmark_bank is None else LandmarkBank.load(config.landmark_bank)
        self._synthetic = SyntheticSource(body, poses, config.synthetic, config.seed, bank)
        self._rendered = None
        if config.rendered is not None:
            self._rendered = RenderedSource(config.rendered, body, config.augment, config.seed)
        self.method = fresh_live_method(config, body)
        self.method.prepare(self._synthetic.batch(_PREPARE_STEP, PREPARE))
        self.average = copy.deepcopy(self.method).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.method.flow.parameters(),
            config.learning_rate,
            (0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.done = 0
        self.skipped = 0
        self.spent = 0.0
        """Seconds."""

    @property
    def num_rendered(self) -> int:
        """Number of rendered samples."""
        return 0 if self._rendered is None else self._rendered.size

    @property
    def progress(self) -> float:
        """Share of the run that is over."""
        by_clock = self.spent / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(self.done / self.config.steps, by_clock)

    def step(self) -> Losses:
        """Take one optimiser step; one whose gradient is not finite is skipped and counted.

        Returns:
            The parts of the loss, and the gradient's norm, without gradients.
        """
        began = time.monotonic()
        config = self.config
        share = learning_rate_factor(self.done, config.warmup, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * share
        self.method.train()
        self.optimiser.zero_grad(set_to_none=True)
        total, losses = self.method(self._batch())
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.method.flow.parameters(), config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self._update_average()
        else:
            self.skipped += 1
            log.warning("step %d skipped: gradient is %s, not finite", self.done, norm.item())
        self.done += 1
        self.spent += time.monotonic() - began
        return Losses({name: value.detach() for name, value in losses.items()} | {"gradient": norm})

    def _batch(self) -> Batch:
        """Make this step's samples, blurred."""
        rng = StepRng(self.config.seed, self.done)
        return jittered(self._exact_batch(), self.config.jitter, rng)

    def _exact_batch(self) -> Batch:
        """Make this step's samples: synthetic ones and a share of rendered ones."""
        config = self.config
        count = int(config.rendered_share * config.batch)
        if self._rendered is None or count == 0:
            return self._synthetic.batch(self.done, config.batch)
        parts = (
            self._synthetic.batch(self.done, config.batch - count),
            self._rendered.batch(self.done, count),
        )
        return Batch(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the averaged weights towards the current ones; faster in the first steps."""
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        weights = self.method.flow.parameters()
        for mean, weight in zip(self.average.flow.parameters(), weights, strict=True):
            mean.lerp_(weight, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill in the middle leaves the previous one."""
        state = {
            "flow": self.method.flow.state_dict(),
            "average": self.average.flow.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "skipped": self.skipped,
            "spent": self.spent,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            PenumbraError: if no training wrote it, or its flow has other sizes.
        """
        state = torch.load(path, weights_only=True)
        if "optimiser" not in state:
            raise PenumbraError(
                f"run: {path.parent} was imported or averaged and cannot go on; name it as `start` "
                "of a new run."
            )
        self._load(state["flow"], state["average"], path)
        self.optimiser.load_state_dict(state["optimiser"])
        self.done, self.spent = state["done"], state["spent"]
        self.skipped = state.get("skipped", 0)

    def start_from(self, path: Path) -> None:
        """Take another run's averaged weights and nothing else.

        Raises:
            PenumbraError: if there are none, or their flow has other sizes.
        """
        if not path.exists():
            raise PenumbraError(f"start: there is no {path}; name the folder of a run.")
        average = torch.load(path, weights_only=True).get("average", {})
        self._load(average, average, path)

    def _load(self, flow: dict[str, Tensor], average: dict[str, Tensor], path: Path) -> None:
        try:
            self.method.flow.load_state_dict(flow)
            self.average.flow.load_state_dict(average)
        except RuntimeError as error:
            raise PenumbraError(
                f"start: {path} holds a flow of another kind or of other sizes than this run's; "
                "name a run with the same."
            ) from error


def check(config: LiveConfig) -> None:
    """Refuse a configuration that cannot be trained.

    Raises:
        PenumbraError: if a number is out of range.
    """
    check_at_least(2, config, "batch")
    check_at_least(1, config, "steps", "evaluate_every", "evaluate_samples", "checkpoint_every")
    if config.minutes is not None and not config.minutes > 0:
        raise PenumbraError(f"minutes: must be more than 0, not {config.minutes}; ask for more.")
    if not 0 <= config.rendered_share < 1:
        raise PenumbraError(
            f"rendered_share: must be at least 0 and less than 1, not {config.rendered_share}; "
            "choose a share."
        )


def learning_rate_factor(step: int, warmup: int, progress: float) -> float:
    """Share of the learning rate: a linear start, then half a cosine to zero at `progress` 1."""
    rise = min(1.0, (step + 1) / max(warmup, 1))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
