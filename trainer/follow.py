"""Train the live flow on pairs without end.

    OPENBLAS_NUM_THREADS=1 python -m trainer.follow --run runs/follow --steps 30000

Every step makes its pairs anew (`trainer.endless`); a share of them are painted ones
(`trainer.synthesize`), perturbed, for what the landmark network really says of hidden limbs. The
loss is the likelihood of the true body, beside it the distance of the flow's centre, which users
read as best estimate. A run that was killed goes on from `last.pt`; `log.jsonl` has the learning
curve, real footage included where `trainer.heard` has been there.
"""

import copy
import dataclasses
import hashlib
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engines.body import BodyModel
from engines.features import NUM_POINT_FEATURES, observe_points
from engines.rotations import exp_so3, log_so3
from engines.sampler import FlowModel, open_sampler
from engines.types import LIMB_JOINTS, PARENTS
from trainer import quaternions as quat
from trainer import real_score
from trainer.command import start
from trainer.endless import Endless, EndlessConfig, bank
from trainer.metrics import pa_mpjpe
from trainer.model import losses, so3
from trainer.model.anchored_flow import AnchoredConfig, AnchoredFlow, Look, OnePicture
from trainer.model.bodies import Bodies
from trainer.model.flow import DIM
from trainer.model.kinematics import camera_from_pelvis, pelvis_in_view, project
from trainer.pairs.augment import AugmentConfig, Raw, joints_in_camera, mirror, perturb
from trainer.pairs.data import Pairs, read

OUTPUTS = ("tangent", "betas", "camera", "log_q", "visible", "anchor")


@dataclass(frozen=True)
class FollowConfig:
    """One run."""

    run: Path = Path("runs/follow")
    poses: Path = Path("runs/poses.npz")
    painted: Path | None = None
    """Folder of `trainer.synthesize`'s training shards."""
    painted_share: float = 0.2
    start: Path | None = None
    """A checkpoint whose averaged weights to start from."""
    steps: int = 100_000
    minutes: float | None = None
    """Wall-clock time after which to stop, whatever `steps` says; the learning rate then follows
    the clock.
    """
    batch: int = 1024
    """Of each process."""
    processes: int = 1
    learning_rate: float = 1e-3
    warmup: int = 500
    weight_decay: float = 0.01
    clip: float = 20.0
    ema: float = 0.9995
    likelihood: float = 1.0
    center: float = 100.0
    """Of the centre, per metre of mean joint distance."""
    reprojection: float = 20.0
    """Of the centre's visible joints in the picture, per half of the person's size."""
    anchor: float = 2.0
    visible: float = 4.0
    entropy: float = 0.0
    """Of MHEntropy's terms on one drawn body, beside the likelihood."""
    seed: int = 0
    threads: int = 1
    evaluate_every: int = 1000
    checkpoint_every: int = 250
    multiview: Path = real_score.DATA
    heard: Path = Path("runs/heard")
    model: AnchoredConfig = field(default_factory=AnchoredConfig)
    pairs: EndlessConfig = field(default_factory=EndlessConfig)


class Painted:
    """Painted pairs in the form that `Endless` has."""

    def __init__(self, folder: Path, body: BodyModel, seed: int) -> None:
        self._raw, self._body, self._seed = read(folder, body, with_map=False), body, seed

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._raw["rotvec"])

    def batch(self, step: int, count: int) -> Pairs:
        """Some, straight or mirrored, their truth moved a little."""
        rng = np.random.default_rng([self._seed, step])
        rows = rng.integers(self.size, size=count)
        raw = {key: value[rows] for key, value in self._raw.items()}
        if step % 2:
            raw = mirror(raw)
        return encode_points(perturb(raw, self._body, AugmentConfig(), rng), self._body)


def encode_points(raw: Raw, body: BodyModel) -> Pairs:
    """`trainer.pairs.data.encode` without depth, world coordinates and anchor."""
    size, focal = raw["size"][:, None, :].astype(np.float64), raw["focal"].astype(np.float64)
    rays = (raw["points"] - size / 2) / focal[:, None, None]
    low, high = raw["window"][:, None, :2], raw["window"][:, None, 2:]
    inside = ((raw["points"] >= low) & (raw["points"] < high)).all(-1)
    features, view = observe_points(rays, inside, raw["visibility"], raw["presence"])
    y = raw["rotvec"].astype(np.float64)
    y[:, 0] = log_so3(np.swapaxes(view.R_cam_view, -1, -2) @ exp_so3(y[:, 0]))
    joints_cam = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
    joints, half = (
        torch.tensor(part, dtype=torch.float32)
        for part in (joints_cam @ view.R_cam_view, view.half)
    )
    eye = torch.eye(3).expand(len(half), 3, 3)
    return Pairs(
        features=torch.from_numpy(features),
        map=torch.zeros(len(half), 0),
        R_anchor=eye,
        half=half,
        crop_from_view=eye,
        y=torch.tensor(y, dtype=torch.float32),
        betas=torch.tensor(raw["betas"], dtype=torch.float32),
        camera=camera_from_pelvis(joints[:, 0], half),
        joints=joints,
        target=project(joints[:, None], half)[:, 0],
        visible=torch.tensor(raw["joint_visible"], dtype=torch.float32),
    )


class Posing:
    """Forward kinematics with gradients, batch last: a few large operations for each level of the
    tree.
    """

    def __init__(self, body: BodyModel) -> None:
        self._template = torch.tensor(body.J_template)
        self._shapedirs = torch.tensor(body.J_shapedirs)
        depth = [0] * len(PARENTS)
        for k, parent in enumerate(PARENTS[1:], start=1):
            depth[k] = depth[parent] + 1
        self._levels = [
            [k for k in range(len(PARENTS)) if depth[k] == d] for d in range(1, max(depth) + 1)
        ]

    def __call__(
        self,
        R_anchor: Float[Tensor, "B 3 3"],
        y: Float[Tensor, "B 24 3"],
        betas: Float[Tensor, "B 10"],
        pelvis: Float[Tensor, "B 3"],
    ) -> Float[Tensor, "B 24 3"]:
        """Joints in the view, metres."""
        rest = self._template[..., None] + torch.einsum("jci,ni->jcn", self._shapedirs, betas)
        q = quat.exp(y.permute(2, 1, 0))  # (4, 24, B)
        root = quat.multiply(quat.from_matrix(R_anchor.permute(1, 2, 0)), q[:, 0])
        world: list[Tensor] = [root] * len(PARENTS)
        joints: list[Tensor] = [pelvis.T] * len(PARENTS)
        for level in self._levels:
            parents = [PARENTS[k] for k in level]
            above = torch.stack([world[p] for p in parents], 1)
            offset = (rest[level] - rest[parents]).permute(1, 0, 2)
            placed = torch.stack([joints[p] for p in parents], 1) + quat.rotate(above, offset)
            turned = quat.multiply(above, q[:, level])
            for k, R, at in zip(level, turned.unbind(1), placed.unbind(1), strict=True):
                world[k], joints[k] = R, at
        return torch.stack(joints).permute(2, 0, 1)


def _average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """One exchange for all parameters."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        g.copy_(part.view_as(g))


def rate(step: int, warmup: int, progress: float) -> float:
    """Share of the learning rate: a linear start, then half a cosine to zero at `progress` 1."""
    return (
        min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    )


class Follow:
    """A run: what a checkpoint holds, and the step."""

    def __init__(self, config: FollowConfig, rank: int = 0) -> None:
        torch.manual_seed(config.seed)
        self.config, self.body = config, BodyModel.load()
        own_seed = config.seed + 1000 * rank
        self.source = Endless(self.body, bank(config.poses, "train"), config.pairs, own_seed)
        self.unseen = Endless(self.body, bank(config.poses, "val"), config.pairs, 77)
        self.painted = Painted(config.painted, self.body, own_seed) if config.painted else None
        self.flow = AnchoredFlow(config.model)
        some = self.source.batch(10**6, 8000)
        self.flow.take_scales(some.y, some.betas, some.camera)
        self.average = copy.deepcopy(self.flow).eval().requires_grad_(False)
        self.posing = Posing(self.body)
        self.optimiser = torch.optim.AdamW(
            self.flow.parameters(),
            config.learning_rate,
            (0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.done, self.spent = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is over."""
        by_clock = self.spent / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(self.done / self.config.steps, by_clock)

    def batch(self) -> Pairs:
        """This step's pairs."""
        count = self.config.batch
        if self.painted is None:
            return self.source.batch(self.done, count)
        few = int(self.config.painted_share * count)
        parts = self.source.batch(self.done, count - few), self.painted.batch(self.done, few)
        mixed = torch.randperm(count)
        return Pairs(*(torch.cat([a, b])[mixed] for a, b in zip(*parts, strict=True)))

    def step(self) -> dict[str, float]:
        """One optimiser step; skipped where the gradient is not finite."""
        config, began = self.config, time.monotonic()
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate(self.done, config.warmup, self.progress)
        self.flow.train()
        self.optimiser.zero_grad(set_to_none=True)
        total, terms = self.loss(self.batch())
        total.backward()
        if config.processes > 1:
            _average_gradients(list(self.flow.parameters()))
        norm = torch.nn.utils.clip_grad_norm_(self.flow.parameters(), config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self._follow()
        self.done, self.spent = self.done + 1, self.spent + time.monotonic() - began
        return {name: value.item() for name, value in (terms | {"gradient": norm}).items()}

    def loss(self, batch: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of a batch, and its parts."""
        config, flow = self.config, self.flow
        look = flow.look(batch.features)
        held = look.R_anchor.detach()
        truth = Bodies(
            flow.relative(held, batch.y)[:, None], batch.betas[:, None], batch.camera[:, None]
        )
        joints = self.joints(held, flow.center(look), batch.half)
        terms = {
            # Half a turn off the anchor there is a second branch; training leaves it out.
            "likelihood": losses.likelihood(flow.log_prob(look, truth, twins=False)[:, 0]).mean(),
            "center": _distance(joints, batch.joints),
            "reprojection": _misfit(joints, batch),
            "anchor": (look.R_anchor - so3.exp(batch.y[:, 0])).square().sum((-1, -2)).mean(),
            "visible": losses.visibility(look.visible_logits, batch.visible).mean(),
        }
        total = sum(getattr(config, name) * value for name, value in terms.items())
        if config.entropy:
            terms["drawn"] = self._drawn(look, held, batch)
            total = total + config.entropy * terms["drawn"]
        return total, terms

    def _drawn(self, look: Look, R_anchor: Tensor, batch: Pairs) -> Tensor:
        """MHEntropy's evidence and negative entropy of one drawn body for each of some pictures."""
        few = batch.size // 4
        look = Look(*(part[:few] for part in look))
        one, log_q = self.flow.sample(look, torch.randn(few, 1, DIM))
        flat = project(
            self.joints(R_anchor[:few], one, batch.half[:few])[:, None], batch.half[:few]
        )
        misfit = losses.reprojection(flat, batch.target[:few], batch.visible[:few], 0.03)
        return (misfit + log_q[:, 0]).mean()

    def joints(self, R_anchor: Tensor, one: Bodies, half: Tensor) -> Float[Tensor, "B 24 3"]:
        """Of one body a picture, in the view."""
        pelvis = pelvis_in_view(one.camera[:, 0], half)
        return self.posing(R_anchor, one.y[:, 0], one.betas[:, 0], pelvis)

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.flow.parameters()), 1 - decay
        )

    @torch.no_grad()
    def validate(self, count: int = 1000, hypotheses: int = 50) -> dict[str, float]:
        """Scores of the averaged weights on people that were not trained on."""
        batch, flow = self.unseen.batch(0, count), self.average
        look = flow.look(batch.features)
        R_anchor = look.R_anchor
        generator = torch.Generator().manual_seed(3)
        z = torch.randn(count, hypotheses, DIM, generator=generator)
        z[:, 0] = 0.0
        bodies, _ = flow.sample(look, z)
        flat = [part.flatten(0, 1) for part in bodies]
        half = batch.half.repeat_interleave(hypotheses)
        anchors = R_anchor.repeat_interleave(hypotheses, 0)
        joints = self.posing(anchors, flat[0], flat[1], pelvis_in_view(flat[2], half)).unflatten(
            0, (count, -1)
        )
        limbs = list(LIMB_JOINTS)
        pa = 1000 * pa_mpjpe(
            joints[:, :, limbs], batch.joints[:, None, limbs].expand(-1, hypotheses, -1, -1)
        )
        truth = Bodies(
            flow.relative(R_anchor, batch.y)[:, None], batch.betas[:, None], batch.camera[:, None]
        )
        clear = batch.visible[:, limbs].mean(1) > 0.85
        away = (project(joints, batch.half) - batch.target[:, None]).norm(dim=-1).mean(1)
        return {
            "nll": -flow.log_prob(look, truth).mean().item(),
            "pa": pa[:, 0].mean().item(),
            "pa_clear": pa[clear, 0].mean().item(),
            "best": pa.min(1).values.mean().item(),
            "best_clear": pa[clear].min(1).values.mean().item(),
            "mpjpe": 1000 * _distance(joints[:, 0], batch.joints).item(),
            "reprojection": 50 * away[batch.visible > 0].mean().item(),
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill in the middle leaves the previous one."""
        state = {
            "flow": self.flow.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "spent": self.spent,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.flow.load_state_dict(state["flow"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done, self.spent = state["done"], state["spent"]

    def start_from(self, path: Path) -> None:
        """Take another run's averaged weights."""
        state = torch.load(path, weights_only=True)["average"]
        self.flow.load_state_dict(state)
        self.average.load_state_dict(state)


def _length(v: Tensor) -> Tensor:
    return (v.square().sum(-1) + 1e-8).sqrt()


def _misfit(joints: Float[Tensor, "B 24 3"], batch: Pairs) -> Tensor:
    """Mean distance in the picture of what is seen, in halves of the person's size."""
    away = project(joints[:, None], batch.half)[:, 0] - batch.target
    return (_length(away) * batch.visible).sum() / batch.visible.sum()


def _distance(joints: Float[Tensor, "B 24 3"], truth: Float[Tensor, "B 24 3"]) -> Tensor:
    """Mean distance, metres, pelvises together: of all joints and of the limbs, half and half."""
    away = _length((joints - joints[:, :1]) - (truth - truth[:, :1]))
    return 0.5 * away.mean() + 0.5 * away[:, list(LIMB_JOINTS)].mean()


def export(flow: AnchoredFlow, out: Path, about: dict) -> None:
    """Write the graph and its record."""
    module = OnePicture(flow).eval()
    torch.manual_seed(0)
    out.parent.mkdir(parents=True, exist_ok=True)
    given = torch.randn(1, NUM_POINT_FEATURES), torch.randn(5, DIM)
    axes = {"z": {0: "K"}, **{name: {0: "K"} for name in OUTPUTS[:4]}}
    torch.onnx.export(
        module, given, str(out), dynamic_axes=axes, opset_version=17, dynamo=False,
        input_names=["features", "z"], output_names=list(OUTPUTS),
    )  # fmt: skip
    record = {
        "file": out.name,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "outputs": OUTPUTS,
    }
    record |= {"J_template": BodyModel.load().J_template.tolist()} | about
    out.with_suffix(".json").write_text(json.dumps(record, indent=2, default=str) + "\n")


def footage(model: Path, config: FollowConfig) -> dict[str, dict[str, dict[str, float]]]:
    """Scores on real people, by landmark network; empty where nothing was heard."""
    sampler = open_sampler(BodyModel.load(), 100, "onnxruntime", FlowModel.load(model))
    out = {}
    for network in ("full", "heavy"):
        real = real_score.RealConfig(data=config.multiview, heard=config.heard, network=network)
        out[network] = real_score.score_all(real_score.estimator(sampler), real_score.sets(real))
    return out


def _line(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    return " | ".join(
        f"{network} " + " ".join(f"{one['best']:.1f}/{one['of100']:.1f}" for one in some.values())
        for network, some in scores.items()
    )


def main(config: FollowConfig) -> None:
    """Train, or go on."""
    config.run.mkdir(parents=True, exist_ok=True)
    if config.processes == 1:
        _run(0, config, "")
        return
    meeting = config.run / f"meeting-{time.time_ns()}"
    torch.multiprocessing.spawn(_run, (config, str(meeting.resolve())), config.processes)


def _run(rank: int, config: FollowConfig, meeting: str) -> None:
    """One process: all take the same steps on pairs of their own; the first one writes."""
    torch.set_num_threads(config.threads)
    if meeting:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=config.processes
        )
    training, last = Follow(config, rank), config.run / "last.pt"
    if last.exists():
        training.resume(last)
    elif config.start:
        training.start_from(config.start)
    since, began = training.done, time.time()
    while not _over(training, rank):
        terms = training.step()
        if rank:
            continue
        if training.done % 50 == 0:
            speed = (
                (training.done - since) * config.batch * config.processes / (time.time() - began)
            )
            print(
                training.done,
                f"{speed:.0f}/s",
                {k: round(v, 3) for k, v in terms.items()},
                flush=True,
            )
            _log(config, {"step": training.done, "terms": terms})
        if training.done % config.checkpoint_every == 0:
            training.save(last)
        if training.done % config.evaluate_every == 0:
            _evaluate(training)
    if rank == 0:
        training.save(last)
        _evaluate(training)


def _over(training: Follow, rank: int) -> bool:
    """Whether the run is over, by the first process's clock; the others follow its progress."""
    if training.config.processes > 1:
        spent = torch.tensor(training.spent, dtype=torch.float64)
        torch.distributed.broadcast(spent, 0)
        training.spent = spent.item()
    return training.progress >= 1


def _log(config: FollowConfig, facts: dict) -> None:
    (config.run / "config.json").write_text(
        json.dumps(dataclasses.asdict(config), indent=2, default=str)
    )
    with (config.run / "log.jsonl").open("a") as log:
        log.write(json.dumps(facts) + "\n")


def _evaluate(training: Follow) -> None:
    """Score, export, and log."""
    config, model = training.config, training.config.run / "flow.onnx"
    scores = training.validate()
    about = {"trained": dataclasses.asdict(config), "done": training.done, "validation": scores}
    export(training.average, model, about)
    real = footage(model, config) if config.heard.exists() else {}
    print("  ", {k: round(v, 2) for k, v in scores.items()}, flush=True)
    print("   ", _line(real), flush=True)
    _log(config, {"step": training.done, "scores": scores, "footage": real})


if __name__ == "__main__":
    start(main, FollowConfig)
