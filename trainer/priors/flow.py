r"""The flow: an exact density of 21 joint rotations, trained by maximum likelihood.

The same couplings and coordinates of $SO(3)$ as the posterior's (`trainer.model.flow`,
`trainer.model.so3`), without a context. The poses are smoothed by small random turns: recorded
knees are pure hinges, and collars do not move at all, so the recordings themselves have no density.
"""

import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engines.priors.flow import FlowPrior
from engines.priors.turns import ARTICULATED
from trainer.model import so3
from trainer.model.flow import AffineCoupling, FlowConfig
from trainer.priors.curvature import average_curvature
from trainer.priors.samples import PoseSamples, PoseSource, Smoothing
from trainer.priors.training import Run, StepsConfig, half, train_steps, training_facts

_KNOWN = len(ARTICULATED)


@dataclass(frozen=True)
class FlowPriorConfig:
    """The flow and its training."""

    couplings: int = 8
    hidden: int = 96
    recombined: float = 0.2
    """Probability of each limb, the head and the trunk to come from another frame."""
    batch: int = 512
    smoothing: Smoothing = field(default_factory=Smoothing)
    steps: StepsConfig = field(
        default_factory=lambda: StepsConfig(steps=4500, weight_decay=0.02, validate_every=500)
    )


class PriorFlow(nn.Module):
    """The density of J joint rotations."""

    mean: Tensor
    std: Tensor
    permutations: Tensor

    def __init__(self, sizes: FlowConfig, joints: int, seed: int) -> None:
        """Initialise to a standardised normal distribution.

        Args:
            sizes: of the couplings.
            joints: J.
            seed: of the order of the numbers between couplings.
        """
        super().__init__()
        dim = 3 * joints
        self._no_context = torch.zeros(1, 2, sizes.hidden)
        self.couplings = nn.ModuleList(AffineCoupling(sizes, dim) for _ in range(sizes.couplings))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        rng = torch.Generator().manual_seed(seed)
        order = [torch.randperm(dim, generator=rng) for _ in range(sizes.couplings)]
        self.register_buffer("permutations", torch.stack(order))

    def standardise(self, rotvec: Float[Tensor, "N J 3"]) -> None:
        """Take mean and spread of the coordinates from a sample."""
        x = _coordinates(rotvec)
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp_min(1e-2))

    def log_prob(self, rotvec: Float[Tensor, "N J 3"]) -> Float[Tensor, "N"]:
        """Return the exact log density of rotations against the Haar measure."""
        x = _coordinates(rotvec)
        u = (x - self.mean) / self.std
        volume = self.std.log().sum()
        for coupling, order in reversed(list(zip(self.couplings, self.permutations, strict=True))):
            coupling = cast(AffineCoupling, coupling)
            kept, moved = u[:, : coupling.kept], u[:, coupling.kept :]
            log_scale, shift = coupling.scale_and_shift(kept[None], self._no_context)
            u = torch.cat([kept, (moved - shift[0]) * (-log_scale[0]).exp()], -1)
            u = u[:, torch.argsort(order)]
            volume = volume + log_scale[0].sum(-1)
        radius = torch.tensor(math.pi)
        joints = so3.radial_tanh_log_det(x.unflatten(-1, (-1, 3)), radius) + so3.exp_log_det(rotvec)
        normal = -0.5 * u.square().sum(-1) - 0.5 * u.shape[-1] * math.log(2 * math.pi)
        return normal - volume - joints.sum(-1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The file's arrays, by name, but the curvature."""
        arrays = {"mean": self.mean.numpy(), "std": self.std.numpy()}
        arrays["permutations"] = self.permutations.numpy().astype(np.int16)
        couplings = [cast(AffineCoupling, coupling) for coupling in self.couplings]
        arrays["bound"] = np.array(couplings[0].bound, np.float32)
        for name in ("first", "second", "last"):
            layers = [getattr(coupling, name) for coupling in couplings]
            arrays[f"{name}_weight"] = half(torch.stack([layer.weight for layer in layers]))
            arrays[f"{name}_bias"] = half(torch.stack([layer.bias for layer in layers]))
        return arrays


def train_flow(
    config: FlowPriorConfig, samples: PoseSamples, run: Run
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train on recombined, smoothed poses; the step is chosen on smoothed validation poses."""
    torch.manual_seed(run.seed)
    source = PoseSource(samples.splits["train"], config.recombined)
    flow = PriorFlow(FlowConfig(config.couplings, config.hidden), _KNOWN, run.seed)

    def draw(count: int, rng: torch.Generator) -> Float[Tensor, "N 21 3"]:
        return config.smoothing(source.draw(count, rng), rng)[:, :_KNOWN]

    def smoothed(split: Any) -> Float[Tensor, "N 21 3"]:
        rng = torch.Generator().manual_seed(1)
        rotvec = torch.from_numpy(samples.splits[split].astype(np.float32))
        return config.smoothing(rotvec, rng)[:, :_KNOWN]

    def nats(rotvec: Float[Tensor, "N 21 3"]) -> float:
        with torch.no_grad():
            return -float(flow.log_prob(rotvec).mean())

    flow.standardise(draw(20_000, torch.Generator().manual_seed(2)))
    val = smoothed("val")
    curve = train_steps(
        flow,
        lambda rng: -flow.log_prob(draw(config.batch, rng)).mean(),
        lambda: nats(val),
        config.steps,
        run,
    )
    arrays = flow.arrays()
    plain = FlowPrior.of(arrays | {"curvature": np.eye(3 * _KNOWN)})
    own = so3.exp(draw(20_000, torch.Generator().manual_seed(3))).numpy()
    arrays["curvature"] = average_curvature(plain, own)
    density = {split: round(-nats(smoothed(split)), 2) for split in samples.splits}
    return arrays, training_facts(curve) | {"log_density_of_smoothed_poses_nats": density}


def _coordinates(rotvec: Float[Tensor, "N J 3"]) -> Float[Tensor, "N D"]:
    return so3.radial_atanh(rotvec, torch.tensor(math.pi)).flatten(1)
