r"""Distance fields: the network, its samples and its training.

Pose-NDF learns the mean distance to five neighbours, and that its gradient has length one where
poses are noisy (the eikonal term); NRDF the distance to the nearest, without that term.
`neighbours.py` says which poses are recorded and how distances are meant.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from engines.arrays import read_npz
from engines.priors.distance_field import COUNT, FEATURES, LEVELS, SHARPNESS, TREE
from trainer.priors.neighbours import (
    Distance,
    PartNeighbours,
    mirrored_quaternions,
    ndf_distance,
    ndf_noise,
    nrdf_distance,
    nrdf_noise,
    quaternions_of,
)
from trainer.priors.samples import PoseSamples, PoseSource
from trainer.priors.training import Run, StepsConfig, half, train_steps, training_facts

_CHUNK = 4096


@dataclass(frozen=True)
class FieldConfig:
    """What both distance fields share."""

    samples: int = 120_000
    """Perturbed poses; mirrored ones double them."""
    references: int = 25_000
    """Recorded poses of each part among which neighbours are sought."""
    candidates: int = 24
    joint_hidden: int = 10
    hidden: tuple[int, ...] = (128, 256, 256, 128, 64)
    batch: int = 512
    recombined: float = 0.5
    """Probability of each limb, the head and the trunk to come from another frame."""
    steps: StepsConfig = field(default_factory=lambda: StepsConfig(steps=10_000))


@dataclass(frozen=True)
class NdfConfig:
    """Pose-NDF."""

    field: FieldConfig = field(default_factory=lambda: FieldConfig(steps=StepsConfig(steps=5000)))
    noise: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5)
    """Standard deviations of the noise on quaternions, each as often."""
    neighbours: int = 5
    weight: float = 63.0
    """Of the energy; of 1, 4, 16, 24, 32, 63, 100 and 256 the one with which SMPLify errs least on
    320 rendered validation images."""
    distance: float = 1.0
    manifold: float = 1.0
    eikonal: float = 1.0
    eikonal_batch: int = 128
    """How many of a batch have their gradient looked at; it takes three times as long."""


@dataclass(frozen=True)
class NrdfConfig:
    """NRDF."""

    field: FieldConfig = field(default_factory=FieldConfig)
    angle_rad: float = 0.785
    """Standard deviation of the mean angle of the joints."""
    weight: float = 0.5
    """Of the energy; chosen as Pose-NDF's from 0.15 to 256. It is smaller, because f is nearly 0
    for real poses, and sigma less than what the network errs by elsewhere."""
    distance: float = 0.5
    manifold: float = 0.1


class FieldSamples(NamedTuple):
    """Perturbed poses and how far they are from the recorded ones."""

    quaternions: Float[Tensor, "N 21 4"]
    distance: Float[Tensor, "N"]


class DistanceNetwork(nn.Module):
    """The distance field; see `engines.priors.distance_field`."""

    def __init__(self, config: FieldConfig) -> None:
        """Initialise."""
        super().__init__()
        inputs, hidden = 4 + FEATURES, config.joint_hidden
        self.first_weight = _uniform(COUNT, inputs, hidden, fan_in=inputs)
        self.first_bias = _uniform(COUNT, hidden, fan_in=inputs)
        self.second_weight = _uniform(COUNT, hidden, FEATURES, fan_in=hidden)
        self.second_bias = _uniform(COUNT, FEATURES, fan_in=hidden)
        widths = pairwise((COUNT * FEATURES, *config.hidden, 1))
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in widths)

    def forward(self, q: Float[Tensor, "B 21 4"]) -> Float[Tensor, "B"]:
        """Return distances of unit quaternions with w >= 0."""
        zero = q.new_zeros(len(q), FEATURES)
        features: list[Tensor] = [zero] * COUNT
        for level in LEVELS:
            joints = list(level)
            above = torch.stack([features[TREE[j]] if TREE[j] >= 0 else zero for j in joints])
            x = torch.cat([q[:, joints].transpose(0, 1), above], -1)
            x = _softplus(x @ self.first_weight[joints] + self.first_bias[joints, None])
            x = _softplus(x @ self.second_weight[joints] + self.second_bias[joints, None])
            for row, joint in enumerate(joints):
                features[joint] = x[row]
        x = torch.cat(features, -1)
        for layer in self.layers:
            x = _softplus(layer(x))
        return x[:, 0]

    def arrays(self) -> dict[str, np.ndarray]:
        """The file's arrays, by name, but those of its energy's scale."""
        names = ("first_weight", "first_bias", "second_weight", "second_bias")
        arrays = {f"joint_{name}": half(getattr(self, name)) for name in names}
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            arrays[f"layer{i}_weight"] = half(layer.weight)
            arrays[f"layer{i}_bias"] = half(layer.bias)
        return arrays


def train_ndf(
    config: NdfConfig, samples: PoseSamples, run: Run
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Make distances, train, take sigma from the validation poses.

    The step is kept that errs least on held-out perturbed poses and validation poses together.
    """

    def perturb(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return ndf_noise(clean, config.noise, rng)

    def loss(network: DistanceNetwork, noisy: FieldSamples, clean: Tensor) -> Tensor:
        error = (network(noisy.quaternions) - noisy.distance).abs().mean()
        some = noisy.quaternions[: config.eikonal_batch].clone().requires_grad_()
        return (
            config.distance * error
            + config.manifold * network(clean).mean()
            + config.eikonal * _eikonal(network(some), some)
        )

    def make(near: PartNeighbours) -> Distance:
        return ndf_distance(near, config.neighbours)

    return _train(config, samples, run, perturb, make, loss)


def train_nrdf(
    config: NrdfConfig, samples: PoseSamples, run: Run
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Make distances, train, take sigma from the validation poses; as `train_ndf`."""

    def perturb(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return nrdf_noise(clean, config.angle_rad, rng)

    def loss(network: DistanceNetwork, noisy: FieldSamples, clean: Tensor) -> Tensor:
        error = (network(noisy.quaternions) - noisy.distance).abs().mean()
        return config.distance * error + config.manifold * network(clean).mean()

    return _train(config, samples, run, perturb, nrdf_distance, loss)


def _eikonal(distance: Float[Tensor, "B"], q: Float[Tensor, "B 21 4"]) -> Float[Tensor, ""]:
    """(|grad f| - 1)^2 in the metric of sqrt(sum a^2 / 2), along the spheres of quaternions.

    There a = |dq|, so the gradient by q of a true distance has length 1 / sqrt 2.
    """
    (by_q,) = torch.autograd.grad(distance.sum(), q, create_graph=True)
    along = by_q - (by_q * q).sum(-1, keepdim=True) * q
    length = (2.0 * along.square().sum((-1, -2)) + 1e-12).sqrt()
    return (length - 1.0).square().mean()


def _train(
    kind: NdfConfig | NrdfConfig,
    samples: PoseSamples,
    run: Run,
    perturb: Any,
    make: Any,
    loss: Any,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    torch.manual_seed(run.seed)
    config = kind.field
    source = PoseSource(samples.splits["train"], config.recombined)
    pool = _distances(config, source, run, perturb, make)
    held_out = len(pool.distance) // 20
    test, train = (
        FieldSamples(*(part[rows] for part in pool))
        for rows in (slice(held_out), slice(held_out, None))
    )
    network = DistanceNetwork(config)

    def batch(rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(train.distance), (config.batch,), generator=rng)
        q = train.quaternions[rows]
        if torch.rand((), generator=rng) < 0.5:
            q = mirrored_quaternions(q)
        rotvec = source.draw(config.batch // 2, rng).numpy()
        clean = torch.from_numpy(quaternions_of(rotvec))
        return loss(network, FieldSamples(q, train.distance[rows]), clean)

    def error(part: FieldSamples) -> float:
        with torch.no_grad():
            return float((network(part.quaternions) - part.distance).abs().mean())

    val = torch.from_numpy(quaternions_of(samples.splits["val"]))

    def validate() -> float:
        with torch.no_grad():
            return error(test) + float(network(val).mean())

    curve = train_steps(network, batch, validate, config.steps, run)
    with torch.no_grad():
        sigma = float(network(val).square().mean().sqrt())
    scale = {"sigma": np.array(sigma, np.float32), "weight": np.array(kind.weight, np.float32)}
    arrays = network.arrays() | scale
    return arrays, training_facts(curve) | {
        "sigma": round(sigma, 4),
        "mean_distance": round(float(test.distance.mean()), 4),
        "mean_error": round(error(test), 4),
    }


def _distances(
    config: FieldConfig, source: PoseSource, run: Run, perturb: Any, make: Any
) -> FieldSamples:
    """Perturbed poses and their distances, kept in the folder of the training chunk by chunk."""
    rng = np.random.default_rng(run.seed)
    near: PartNeighbours | None = None
    parts: list[FieldSamples] = []
    for number in tqdm(range(-(-config.samples // _CHUNK)), unit="chunk", desc="distances"):
        path = run.folder / f"distances_{number:03d}.npz"
        if not path.exists():
            if near is None:
                every = source.rotvec.numpy()
                near = PartNeighbours(every, config.references, config.candidates, rng)
            own = np.random.default_rng((run.seed, number))
            draw = torch.Generator().manual_seed((run.seed << 32) + number)
            clean = quaternions_of(source.draw(_CHUNK, draw).numpy())
            noisy = perturb(clean, own)
            scratch = path.with_name("distances.tmp.npz")
            np.savez(scratch, noisy=noisy, distance=make(near)(noisy, clean).astype(np.float32))
            scratch.replace(path)
        arrays = read_npz(path)
        parts.append(
            FieldSamples(*(torch.from_numpy(arrays[name]) for name in ("noisy", "distance")))
        )
    return FieldSamples(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """As `nn.Linear` initialises."""
    bound = fan_in**-0.5
    return nn.Parameter((2.0 * torch.rand(shape) - 1.0) * bound)


def _softplus(x: Tensor) -> Tensor:
    return nn.functional.softplus(x, beta=SHARPNESS)
