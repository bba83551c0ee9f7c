r"""VPoser: a variational autoencoder of poses (Pavlakos et al., 2019), in the form of version 2.

    21 rotation vectors -> norm -> linear -> leaky ReLU -> norm -> dropout -> linear -> linear
        -> mean and standard deviation of the code
    code -> linear -> leaky ReLU -> dropout -> linear -> leaky ReLU -> linear -> 21 x 6 numbers
        -> Gram-Schmidt -> rotations

    loss = 0.005 KL + 4 |points|_1 + 2 angle + 2 |joints|_1

Version 2 compares vertices and drops angles and joints after 15 epochs, from when on its validation
error rises; here they stay. The points stand for the vertices: the ends of three needles of 10 cm
at each joint of our own skeleton, which a twist of a bone moves as it moves its skin. After the
first activation the encoder is linear, so file and engine have it as one layer, exactly.

What is encoded is smoothed by small random turns, what should come out is not. Recorded collars
never move and knees turn about one axis: an encoder of such poses divides by the little that they
vary, and 0.05 rad about another axis send it far off. Its energy would have a gradient a hundred
times as steep as that of the other priors, and a fit would stick.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.body import BodyModel
from engines.priors.turns import ARTICULATED
from engines.priors.vposer import VPoserPrior
from engines.types import NUM_JOINTS
from trainer.model import so3
from trainer.model.kinematics import bone_frames
from trainer.priors.measure import reconstruction
from trainer.priors.samples import UNMEASURED, PoseSamples, PoseSource, Smoothing
from trainer.priors.training import Run, StepsConfig, half, train_steps, training_facts

_KNOWN = len(ARTICULATED)
_NEEDLE_M = 0.1


@dataclass(frozen=True)
class VPoserConfig:
    """The autoencoder and its training."""

    latent: int = 32
    hidden: int = 256
    """Half of version 2's: it decodes three times as fast."""
    dropout: float = 0.1
    recombined: float = 0.3
    """Probability of each limb, the head and the trunk to come from another frame."""
    batch: int = 256
    kl: float = 0.005
    points: float = 4.0
    angle: float = 2.0
    joints: float = 2.0
    smoothing: Smoothing = field(default_factory=Smoothing)
    """Of what is encoded; also the least error of a reconstruction that the energy counts with."""
    steps: StepsConfig = field(default_factory=lambda: StepsConfig(steps=10_000, weight_decay=1e-5))


class Decoded(NamedTuple):
    """What the network says of poses."""

    mean: Float[Tensor, "B Z"]
    std: Float[Tensor, "B Z"]
    R: Float[Tensor, "B 21 3 3"]


class VPoser(nn.Module):
    """The network."""

    def __init__(self, config: VPoserConfig) -> None:
        """Initialise; it decodes to about the rest pose."""
        super().__init__()
        self.width = width = config.hidden
        self.first = nn.Sequential(nn.BatchNorm1d(3 * _KNOWN), nn.Linear(3 * _KNOWN, width))
        self.rest = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, 2 * config.latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, width),
            nn.LeakyReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, 6 * _KNOWN),
        )
        straight = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(_KNOWN)
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(straight)

    def encode(self, rotvec: Float[Tensor, "B 21 3"]) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the codes of poses."""
        out = self.rest(nn.functional.leaky_relu(self.first(rotvec.flatten(1))))
        mean, raw = out.chunk(2, -1)
        return mean, nn.functional.softplus(raw)

    def decode(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B 21 3 3"]:
        """Return the poses of codes."""
        return gram_schmidt(self.decoder(z).unflatten(-1, (_KNOWN, 2, 3)))

    def forward(
        self, rotvec: Float[Tensor, "B 21 3"], noise: Float[Tensor, "B Z"] | float
    ) -> Decoded:
        """Encode, and decode the mean plus `noise` standard deviations."""
        mean, std = self.encode(rotvec)
        return Decoded(mean, std, self.decode(mean + noise * std))

    def arrays(self) -> dict[str, np.ndarray]:
        """The file's arrays, by name, but those that are measured afterwards."""
        folded = {
            "first": _folded(self.first, 3 * _KNOWN),
            "heads": _folded(self.rest, self.width),
        }
        plain = [step for step in self.decoder if isinstance(step, nn.Linear)]
        names = ("decoder_first", "decoder_second", "decoder_last")
        folded |= {
            name: (step.weight.double(), step.bias.double())
            for name, step in zip(names, plain, strict=True)
        }
        arrays: dict[str, np.ndarray] = {}
        for name, (weight, bias) in folded.items():
            arrays[f"{name}_weight"], arrays[f"{name}_bias"] = half(weight), half(bias)
        return arrays


def gram_schmidt(six: Float[Tensor, "*B 2 3"]) -> Float[Tensor, "*B 3 3"]:
    """The rotation whose first two columns span what two vectors span (Zhou et al., 2019)."""
    first = nn.functional.normalize(six[..., 0, :], dim=-1)
    second = six[..., 1, :]
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _folded(affine: nn.Module, inputs: int) -> tuple[Tensor, Tensor]:
    """Linear layers and normalisations, as in evaluation, as one layer in double precision."""
    exact = copy.deepcopy(affine).double().eval()
    with torch.no_grad():
        bias = exact(torch.zeros(1, inputs, dtype=torch.float64))
        weight = exact(torch.eye(inputs, dtype=torch.float64)) - bias
    return weight.T, bias[0]


class _Loss(nn.Module):
    """The loss on the default body's skeleton."""

    def __init__(self, config: VPoserConfig) -> None:
        super().__init__()
        self.config = config
        self.skeleton = torch.from_numpy(BodyModel.load().J_template.astype(np.float32))

    def forward(self, target: Float[Tensor, "B 21 3"], said: Decoded) -> Float[Tensor, ""]:
        config = self.config
        R = so3.exp(target)
        joints, points = self._posed(R)
        said_joints, said_points = self._posed(said.R)
        trace = (R * said.R).sum((-1, -2))
        angle = (0.5 * (trace - 1)).clamp(-1 + 1e-5, 1 - 1e-5).arccos()
        variance = said.std.square()
        kl = 0.5 * (said.mean.square() + variance - variance.log() - 1).sum(-1)
        return (
            config.kl * kl.mean()
            + config.points * (points - said_points).abs().mean()
            + config.angle * angle.mean()
            + config.joints * (joints - said_joints).abs().mean()
        )

    def _posed(
        self, R: Float[Tensor, "B 21 3 3"]
    ) -> tuple[Float[Tensor, "B 24 3"], Float[Tensor, "B 24 3 3"]]:
        """Joints, and the ends of needles along the axes of each joint's frame."""
        eye = torch.eye(3)
        whole = eye.repeat(len(R), NUM_JOINTS, 1, 1)
        whole[:, list(ARTICULATED)] = R
        frames, joints = bone_frames(self.skeleton.expand(len(R), -1, -1), eye, whole)
        return joints, joints[..., None, :] + _NEEDLE_M * frames.transpose(-1, -2)


def train_vposer(
    config: VPoserConfig, samples: PoseSamples, run: Run
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train on recombined poses; the step with the least loss of validation poses is kept."""
    torch.manual_seed(run.seed)
    network = VPoser(config)
    source = PoseSource(samples.splits["train"], config.recombined)
    loss = _Loss(config)
    val = torch.from_numpy(samples.splits["val"].astype(np.float32))[:, :_KNOWN]

    def batch(rng: torch.Generator) -> Tensor:
        rotvec = source.draw(config.batch, rng)
        smoothed = config.smoothing(rotvec, rng)[:, :_KNOWN]
        noise = torch.randn(config.batch, config.latent, generator=rng)
        return loss(rotvec[:, :_KNOWN], network(smoothed, noise))

    def validate() -> float:
        with torch.no_grad():
            return float(loss(val, network(val, 0.0)))

    curve = train_steps(network, batch, validate, config.steps, run)
    arrays = network.arrays()
    arrays["sigma"] = _sigma(network, val, config.smoothing)
    shipped = VPoserPrior.of(arrays)
    errors = {split: reconstruction(shipped, poses) for split, poses in samples.splits.items()}
    sigma = [round(float(one), 3) for one in arrays["sigma"]]
    return arrays, training_facts(curve) | {"reconstruction": errors, "sigma_rad": sigma}


def _sigma(
    network: VPoser, poses: Float[Tensor, "N 21 3"], least: Smoothing
) -> Float[np.ndarray, "21"]:
    """Standard deviation per axis of the reconstruction of each joint, radians."""
    with torch.no_grad():
        R = network(poses, 0.0).R
    error = so3.log(R.transpose(-1, -2) @ so3.exp(poses))
    floor = torch.full((_KNOWN,), least.smooth_rad)
    floor[[joint - 1 for joint in UNMEASURED if joint in ARTICULATED]] = least.unmeasured_rad
    sigma = (error.square().mean((0, 2)) + floor.square()).sqrt()
    return sigma.numpy()
