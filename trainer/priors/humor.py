"""Training HuMoR: the evidence lower bound of one step, over windows that follow its own steps.

For each of the K steps of a window

    loss = -log p(y_t | x_{t-1}, z) + beta KL(q(z | x_{t-1}, y_t) || p(z | x_{t-1}))
           + joints + contacts + speed of joints in contact

with z from q. beta is annealed from near zero to one (HuMoR: epochs 0 to 50). A first part trains
on recorded states alone. Then each next state is, with a probability that grows to one, the body
that the network itself has just stepped to, so that y_t also says how to come back from its own
errors (scheduled sampling).
"""

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from engines.priors.motion.layout import CONTACTS, FPS
from trainer.priors.humor_data import MotionData
from trainer.priors.humor_network import HumorNetwork, Widths
from trainer.priors.humor_state import Frames, state_of, step_between, stepped, world_joints


@dataclass(frozen=True)
class HumorTraining:
    """How it is trained."""

    widths: Widths = field(default_factory=Widths)
    epochs: int = 70
    recorded_epochs: int = 20
    """Epochs on single steps from recorded states."""
    own_epochs: int = 20
    """Epochs after those in which the probability of own states grows to one."""
    annealed_epochs: int = 20
    """Epochs in which the divergence's weight grows to one."""
    first_beta: float = 0.01
    batch: int = 1024
    """Steps in a batch."""
    window: int = 8
    """Steps of a window of own states."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    joints: float = 0.1
    """Weight of squared errors of joints, in units of `joint_m`."""
    joint_m: float = 0.01
    contact: float = 0.5
    """Weight of the contacts' cross entropy."""
    contact_speed: float = 0.1
    """Weight of the squared speed, per 0.1 m/s, of joints in contact."""
    input_noise: float = 0.02
    """Standard deviation of what is added to the standardised states."""
    clip_norm: float = 100.0


def fit(
    train: MotionData,
    val: MotionData,
    config: HumorTraining,
    seed: int,
    state_file: Path,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> tuple[HumorNetwork, list[dict[str, float]]]:
    """Train, or go on where `state_file` says; keep the epoch that is best on validation.

    Args:
        train: the training subjects.
        val: those that the epoch is chosen on.
        config: of the training.
        seed: of everything random.
        state_file: written after every epoch.
        after_epoch: is called then, with the epoch's number.

    Returns:
        The network, and the losses of every epoch, nats a step.
    """
    steps = max(1, len(train.windows(3)) // config.batch)
    run = _Run.begin(train, config, steps, seed)
    if state_file.exists():
        run.restore(state_file)
    progress = tqdm(range(len(run.log), config.epochs), initial=len(run.log), total=config.epochs)
    for epoch in progress:
        began = time.monotonic()
        loss = _train_epoch(run, train, config, epoch, steps)
        run.log.append({"train": loss, **validate(run.network, val, config)})
        if run.log[-1]["own"] <= min(entry["own"] for entry in run.log):
            run.best = copy.deepcopy(run.network.state_dict())
        run.log[-1]["seconds"] = time.monotonic() - began
        progress.set_postfix({key: f"{value:.2f}" for key, value in run.log[-1].items()})
        run.save(state_file)
        after_epoch(epoch)
    run.network.load_state_dict(run.best)
    return run.network.requires_grad_(False), run.log


@dataclass
class _Run:
    """A training as it is after an epoch, with all that it needs to go on."""

    network: HumorNetwork
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    best: dict[str, Tensor]
    """Parameters after the best epoch."""
    log: list[dict[str, float]]

    @staticmethod
    def begin(train: MotionData, config: HumorTraining, steps: int, seed: int) -> "_Run":
        """Make what is there before the first epoch, of `steps` batches."""
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        network = _fresh(train, config, rng)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, steps * config.epochs, pct_start=0.1
        )
        return _Run(network, optimiser, schedule, rng, copy.deepcopy(network.state_dict()), [])

    def restore(self, path: Path) -> None:
        """Go back to where `save` was called; the generators of random numbers too."""
        saved = torch.load(path, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.best = saved["best"]
        self.log = saved["log"]
        self.rng.bit_generator.state = saved["rng"]
        torch.set_rng_state(saved["torch_rng"])

    def save(self, path: Path) -> None:
        """Write the state in one step."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "log": self.log,
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        torch.save(state, scratch)
        os.replace(scratch, path)


def _train_epoch(
    run: _Run, train: MotionData, config: HumorTraining, epoch: int, steps: int
) -> float:
    """Take the steps of an epoch; their mean loss."""
    length = 1 if epoch < config.recorded_epochs else config.window
    starts = train.windows(length + 2)
    total = 0.0
    for _ in range(steps):
        rows = run.rng.choice(starts, config.batch // length)
        batch = train.take(rows, length + 2, run.rng.random(len(rows)) < 0.5)
        loss = _losses(run.network, *batch, config, epoch)["loss"]
        run.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_norm)
        if norm.isfinite():  # a turn that is thrown near half a revolution has no gradient
            run.optimiser.step()
        run.schedule.step()
        total += float(loss.detach()) / steps
    return total


def validate(network: HumorNetwork, data: MotionData, config: HumorTraining) -> dict[str, float]:
    """Measure the bound (nats a step) from recorded states and from own ones, on every window."""
    out = {}
    noise = torch.get_rng_state()
    for name, length, own in (("recorded", 1, 0.0), ("own", config.window, 1.0)):
        torch.manual_seed(0)
        starts = data.windows(length + 2)[:: max(1, length)]
        parts = []
        for rows in np.array_split(starts, max(1, len(starts) * length // 4096)):
            frames, contact = data.take(rows, length + 2, None)
            with torch.no_grad():
                losses = _losses(network, frames, contact, config, config.epochs, own)
            parts.append((len(rows), losses))
        whole = sum(count for count, _ in parts)
        keys = ("bound", "divergence", "joint_mm") if name == "recorded" else ("bound", "joint_mm")
        for key in keys:
            mean = sum(count * float(losses[key]) for count, losses in parts) / whole
            out[name if key == "bound" else f"{name}_{key}"] = mean
    torch.set_rng_state(noise)
    return out


def _fresh(train: MotionData, config: HumorTraining, rng: np.random.Generator) -> HumorNetwork:
    starts = rng.choice(train.windows(3), 8192)
    frames, _ = train.take(starts, 3, rng.random(len(starts)) < 0.5)
    states = state_of(train.rest, frames.at(0), frames.at(1))
    return HumorNetwork(config.widths, train.rest, states, step_between(frames.at(1), frames.at(2)))


def _losses(
    network: HumorNetwork,
    frames: Frames,
    contact: Float[Tensor, "B T 4"],
    config: HumorTraining,
    epoch: int,
    own: float | None = None,
) -> dict[str, Tensor]:
    """Follow windows and average their losses over their steps.

    Args:
        network: what is trained.
        frames: windows, two frames longer than their steps.
        contact: of each frame.
        config: weights.
        epoch: of the schedules; from `epochs` on nothing is random but the latent.
        own: probability of own states; that of the epoch when None.
    """
    if own is None:
        own = min(1.0, max(0.0, (epoch + 1 - config.recorded_epochs) / config.own_epochs))
    noise = config.input_noise if epoch < config.epochs else 0.0
    beta = min(1.0, config.first_beta ** (1 - epoch / max(1, config.annealed_epochs)))
    length = frames.pelvis.shape[1] - 2
    before, now = frames.at(0), frames.at(1)
    sums: dict[str, Tensor] = {}
    for k in range(length):
        target = frames.at(k + 2)
        after, losses = _step(network, (before, now, target), contact[:, k + 2], config, noise)
        for key, value in losses.items():
            sums[key] = sums.get(key, torch.zeros(())) + value / length
        follow = torch.rand(len(frames.pelvis)) < own
        before = now.where(follow, frames.at(k + 1))
        now = after.where(follow, target)
    sums["bound"] = sums["normal"] + sums["divergence"]
    sums["loss"] = (
        sums["normal"]
        + beta * sums["divergence"]
        + sums["joints"]
        + sums["contact"]
        + sums["contact_speed"]
    )
    return sums


def _step(
    network: HumorNetwork,
    bodies: tuple[Frames, Frames, Frames],
    touching: Float[Tensor, "B 4"],
    config: HumorTraining,
    noise: float,
) -> tuple[Frames, dict[str, Tensor]]:
    """Step on from two bodies.

    Args:
        network: what is trained.
        bodies: the two, and the recorded third.
        touching: contacts of the third.
        config: weights.
        noise: standard deviation of what is added to the standardised states.

    Returns:
        The third body by the network, and the losses, means over the batch.
    """
    before, now, target = bodies
    rest = network.rest
    state = state_of(rest, before, now)
    x = network.standardised(state)
    if noise:
        x = x + noise * torch.randn_like(x)
    step = step_between(now, target)
    encoded, expected = network.encode(x, step), network.prior(x)
    predicted, logits = network.decode(state, x, encoded.sample())
    after = stepped(now, predicted)
    sigma = network.sigma
    square = ((step - predicted) / sigma).square().sum(-1)
    normal = 0.5 * square + sigma.log().sum() + 0.5 * len(sigma) * math.log(2 * math.pi)
    joints, joints_now = world_joints(rest, after), world_joints(rest, now)
    off = (joints - world_joints(rest, target)).square().sum(-1)
    speed = (joints - joints_now)[:, list(CONTACTS)].square().sum(-1) * (FPS / 0.1) ** 2
    entropy = functional.binary_cross_entropy_with_logits(logits, touching)
    return after, {
        "normal": normal.mean(),
        "divergence": encoded.divergence(expected).mean(),
        "joint_mm": 1000 * off.clamp_min(1e-12).sqrt().mean(),
        "joints": 0.5 * config.joints * off.sum(-1).mean() / config.joint_m**2,
        "contact": config.contact * entropy * len(CONTACTS),
        "contact_speed": 0.5 * config.contact_speed * (touching * speed).sum(-1).mean(),
    }
