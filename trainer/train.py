"""Train the flow.

    python -m trainer.train --pairs runs/pairs --run runs/first

The objective is MHEntropy's three terms on samples of the flow (visible 2D, prior, entropy), the likelihood of the true body,
a distance for the flow's centre (the best estimate that users read) and a cross-entropy for visibility. A run folder holds the
configuration, the commit, TensorBoard logs and `last.pt`, from which a run that was killed goes on.
"""

import dataclasses
import json
import logging
import math
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from engines.body import BodyModel
from trainer import losses
from trainer.augment import AugmentConfig, Raw
from trainer.data import Pairs, batches, encode, load, read
from trainer.evaluate import Scores, evaluate
from trainer.flow import DIM, FlowConfig, PoseFlow
from trainer.kinematics import Skeleton, project, view_joints
from trainer.pose_prior import PosePrior

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossConfig:
    """Weights, all per picture."""

    likelihood: float = 1.0
    mhentropy: float = 0.1
    """Of reprojection + prior + negative entropy together: their ratio is fixed by the theory."""
    laplace_scale: float = 0.05
    """Noise of a visible 2D joint, in units of half the person's size: what the landmark network gets wrong where it sees."""
    samples: int = 3
    """Bodies drawn a picture."""
    center: float = 40.0
    """Of the flow's centre, per metre of mean joint distance."""
    visible: float = 4.0


@dataclass(frozen=True)
class NoiseConfig:
    """Standard deviations added to the input: renders are cleaner than the world."""

    points: float = 0.012
    """Of half the person's size."""
    depth: float = 0.05
    world: float = 0.015
    """Metres."""
    confidence: float = 0.1
    """Of visibility and presence, in [-1, 1]."""


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    pairs: Path = Path("runs/pairs")
    run: Path = Path("runs/first")
    steps: int = 12_000
    batch: int = 256
    learning_rate: float = 6e-4
    warmup: int = 300
    weight_decay: float = 0.02
    clip: float = 20.0
    """Largest gradient norm."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that are evaluated and shipped."""
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    """Of torch. NumPy makes the batches in the same process: set OPENBLAS_NUM_THREADS=1, or the two fight over the cores."""
    evaluate_every: int = 1000
    evaluate_pairs: int = 1500
    """Validation pairs that are scored during training."""
    checkpoint_every: int = 250
    train_shards: int | None = None
    flow: FlowConfig = field(default_factory=FlowConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class Terms(dict[str, Tensor]):
    """Named parts of the loss, batch means, before their weights."""


def objective(
    flow: PoseFlow, prior: PosePrior, skeleton: Skeleton, batch: Pairs, config: LossConfig, generator: torch.Generator
) -> tuple[Tensor, Terms]:
    """The loss of a batch, and its parts."""
    context = flow.encoder(batch.features)
    z = torch.randn(batch.size, 1 + config.samples, DIM, generator=generator).to(batch.half.device)
    z[:, 0] = 0.0
    bodies, log_q = flow.sample(context, z)
    joints = view_joints(skeleton, batch.R_anchor, batch.half, bodies)
    drawn = type(bodies)(*(part[:, 1:] for part in bodies))
    projected = project(joints[:, 1:], batch.half)
    terms = Terms(
        likelihood=losses.likelihood(flow.log_prob(context, batch.bodies())[:, 0]),
        reprojection=losses.reprojection(projected, batch.target, batch.visible, config.laplace_scale),
        pose_prior=losses.pose_prior(prior.log_prob(drawn.y[..., 1:, :])),
        shape_prior=losses.shape_prior(drawn.betas),
        negative_entropy=losses.negative_entropy(log_q[:, 1:]),
        center=losses.joint_distance(joints[:, 0], batch.joints),
        visible=losses.visibility(context.visible_logits, batch.visible),
    )
    terms = Terms({name: value.mean() for name, value in terms.items()})
    kl = terms["reprojection"] + terms["pose_prior"] + terms["shape_prior"] + terms["negative_entropy"]
    total = (
        config.likelihood * terms["likelihood"]
        + config.mhentropy * kl
        + config.center * terms["center"]
        + config.visible * terms["visible"]
    )
    return total, terms


def with_noise(features: Tensor, config: NoiseConfig, generator: torch.Generator) -> Tensor:
    """Perturb features (their order is `engines.features.observe`'s); each picture has its own strength."""
    widths = ((66, config.points), (33, config.depth), (66, config.confidence), (33, 0.0), (99, config.world), (3, 0.0))
    std = torch.cat([torch.full((width,), value) for width, value in widths]).to(features.device)
    strength = 2 * torch.rand(len(features), 1, generator=generator).to(features.device)
    return features + strength * std * torch.randn(features.shape, generator=generator).to(features.device)


class Training:
    """A run: everything that a checkpoint must hold, and the step."""

    def __init__(self, config: TrainConfig, train: Raw, body: BodyModel) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.rng = np.random.default_rng(config.seed)
        self.batches = batches(train, body, config.batch, config.augment, self.rng)
        self.flow = PoseFlow(config.flow).to(config.device)
        self.flow.standardise(encode({key: value[:5000] for key, value in train.items()}, body).bodies())
        self.average = PoseFlow(config.flow).to(config.device).eval()
        self.average.load_state_dict(self.flow.state_dict())
        self.prior = PosePrior.load().to(config.device)
        self.skeleton = skeleton_of(body, config.device)
        self.optimiser = torch.optim.AdamW(
            self.flow.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        warm, last = config.warmup, config.steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser,
            lambda step: (
                min(1.0, (step + 1) / warm) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / last))))
            ),
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.done = 0
        self.skipped = 0

    def step(self) -> Terms:
        """One optimiser step on a random batch; a step whose gradient is not finite is skipped, counted and logged."""
        config = self.config
        batch = Pairs(*(part.to(config.device) for part in next(self.batches)))
        batch = batch._replace(features=with_noise(batch.features, config.noise, self.generator))
        self.flow.train()
        total, terms = objective(self.flow, self.prior, self.skeleton, batch, config.loss, self.generator)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), config.clip)
        terms["gradient"] = norm
        if torch.isfinite(norm):
            self.optimiser.step()
            self._follow()
        else:
            self.skipped += 1
            bad = [name for name, value in terms.items() if not torch.isfinite(value)]
            log.warning("step %d skipped: gradient is %s, not finite: %s", self.done, norm.item(), bad)
        self.schedule.step()
        self.done += 1
        return terms

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights."""
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        for mean, now in zip(self.average.parameters(), self.flow.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill in the middle leaves the previous one."""
        state = {
            "flow": self.flow.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": json.dumps(self.rng.bit_generator.state),
            "done": self.done,
            "skipped": self.skipped,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.flow.load_state_dict(state["flow"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        self.rng.bit_generator.state = json.loads(state["numpy_rng"])
        self.done, self.skipped = state["done"], state["skipped"]


def skeleton_of(body: BodyModel, device: str = "cpu") -> Skeleton:
    """The joints-only part of a body model as tensors."""
    return Skeleton(
        torch.tensor(body.J_template, dtype=torch.float32, device=device),
        torch.tensor(body.J_shapedirs, dtype=torch.float32, device=device),
    )


def run(config: TrainConfig) -> Scores:
    """Train, or go on; returns the last evaluation of the averaged weights on the validation split."""
    torch.set_num_threads(config.threads)
    body = BodyModel.load()
    train = read(config.pairs / "train", config.train_shards)
    val = load(config.pairs / "val", body)
    val = val.rows(torch.linspace(0, val.size - 1, min(config.evaluate_pairs, val.size)).long())
    training = Training(config, train, body)
    config.run.mkdir(parents=True, exist_ok=True)
    last = config.run / "last.pt"
    if last.exists():
        training.resume(last)
    record(config, len(train["rotvec"]), training.done)
    writer = SummaryWriter(str(config.run))
    scores = None
    bar = tqdm(range(training.done, config.steps), initial=training.done, total=config.steps, unit="step")
    for _ in bar:
        terms = training.step()
        if training.done % 50 == 0:
            bar.set_postfix({name: f"{value.item():.2f}" for name, value in terms.items()})
            for name, value in terms.items():
                writer.add_scalar(f"train/{name}", value.item(), training.done)
        if training.done % config.checkpoint_every == 0 or training.done == config.steps:
            training.save(last)
        if training.done % config.evaluate_every == 0 or training.done == config.steps:
            scores = evaluate(training.average, training.skeleton, val)
            tqdm.write(f"step {training.done}: {scores}")
            for name, value in dataclasses.asdict(scores).items():
                writer.add_scalar(f"val/{name}", value, training.done)
    if scores is None:
        scores = evaluate(training.average, training.skeleton, val)
    (config.run / "scores.json").write_text(json.dumps(dataclasses.asdict(scores), indent=2))
    return scores


def record(config: TrainConfig, pairs: int, done: int) -> None:
    """Write what makes this run beside it, every time it is started or goes on."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    path = config.run / "config.json"
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    facts = {"at_step": done, "training_pairs": pairs, "commit": git("rev-parse", "HEAD")}
    starts.append(facts | {"config": dataclasses.asdict(config)})
    path.write_text(json.dumps({"starts": starts}, indent=2, default=str))
    (config.run / "uncommitted.diff").write_text(git("diff", "HEAD") + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    run(tyro.cli(TrainConfig))
