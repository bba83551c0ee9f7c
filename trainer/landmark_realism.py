"""Check the simulated landmarks: can a classifier tell them from those of the real network?

    python -m trainer.landmark_realism --rendered runs/everyday/train runs/near/train

Both are landmarks of the same rendered people: the network's, and those that the error model makes
of the same true positions. A small network is trained to tell one from the other by displacements,
visibility and presence, knowing what is visible. An area under the ROC curve of 0.5 on other people
means that it cannot.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.data.samples import read
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.known_landmarks import landmark_positions, landmark_states
from trainer.synthetic.landmark_errors import ErrorModel, SimulatedLandmarks
from trainer.synthetic.projection import half_size_of

_ENOUGH = 100
_LOGITS = 10.0
"""Bound on the logits of probabilities."""


@dataclass(frozen=True)
class RealismConfig:
    """Which people, and how hard to try."""

    rendered: tuple[Path, ...]
    """Folders of `trainer.synthesize`'s shards."""
    body: Path | None = None
    """That they were rendered with; the default body when None."""
    errors: ErrorConfig = field(default_factory=ErrorConfig)
    steps: int = 1500
    batch: int = 512
    width: int = 256
    held_out: float = 0.25
    """Share of the people that the result is measured on."""
    seed: int = 0


def auroc(positive: Float[np.ndarray, "P"], negative: Float[np.ndarray, "Q"]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative."""
    ranks = np.argsort(np.argsort(np.concatenate([positive, negative]))) + 1
    count = len(positive)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(negative)))


def described_pairs(
    records: RawRecords, body: BodyModel, errors: ErrorConfig, seed: int
) -> tuple[Float[Tensor, "N F"], Float[Tensor, "N F"]]:
    """Describe the network's landmarks and the simulated ones, of the same people."""
    focal = records["focal"].astype(np.float64)[:, None, None]
    middle = records["size"][:, None].astype(np.float64) / 2
    known = (records["rotvec"], records["betas"], records["pelvis"], body)
    joints, marks = joints_in_camera(*known), landmark_positions(*known)
    flat = _batch_last(marks[..., :2] / marks[..., 2:])
    px = marks[..., :2] / marks[..., 2:] * focal + middle
    state = torch.from_numpy(landmark_states(records, px).T)
    half_size = half_size_of(_batch_last(joints[..., :2] / joints[..., 2:]))
    real = SimulatedLandmarks(
        _batch_last((records["points"] - middle) / focal),
        _batch_last(records["visibility"]),
        _batch_last(records["presence"]),
    )
    rng = torch.Generator().manual_seed(seed)
    simulated = ErrorModel(errors)(flat, state, half_size, rng)
    return _describe(real, flat, half_size, state), _describe(simulated, flat, half_size, state)


def _batch_last(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, 0, -1).astype(np.float32))


def _describe(
    found: SimulatedLandmarks,
    flat: Float[Tensor, "33 2 N"],
    half_size: Float[Tensor, "N"],
    state: Int[Tensor, "33 N"],
) -> Float[Tensor, "N F"]:
    """Put displacements, their log lengths, logits and states into one row for each person."""
    away = (found.points - flat) / half_size
    logits = [
        torch.logit(part.clamp(1e-6, 1 - 1e-6)).clamp(-_LOGITS, _LOGITS) / _LOGITS
        for part in (found.visibility, found.presence)
    ]
    states = torch.nn.functional.one_hot(state.long(), 3).permute(0, 2, 1).flatten(0, 1)
    length = away.norm(dim=1).clamp_min(1e-4).log()
    return torch.cat([10 * away.flatten(0, 1).clamp(-1, 1), length, *logits, states]).T


def tell_apart(
    real: Float[Tensor, "N F"], simulated: Float[Tensor, "N F"], config: RealismConfig
) -> float:
    """Train a classifier on some people; return its area under the ROC curve on the others."""
    torch.manual_seed(config.seed)
    count = round((1 - config.held_out) * len(real))
    order = torch.randperm(len(real))
    train, test = order[:count], order[count:]
    model = nn.Sequential(
        nn.LazyLinear(config.width),
        nn.SiLU(),
        nn.Linear(config.width, config.width),
        nn.SiLU(),
        nn.Dropout(0.2),
        nn.Linear(config.width, 1),
    )
    model(real[:2])
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    for _ in range(config.steps):
        rows = train[torch.randint(count, (config.batch,))]
        logits = model(torch.cat([real[rows], simulated[rows]]))[:, 0]
        truth = torch.cat([torch.ones(config.batch), torch.zeros(config.batch)])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        return auroc(model(real[test])[:, 0].numpy(), model(simulated[test])[:, 0].numpy())


def main(config: RealismConfig) -> None:
    """Print the area under the ROC curve.

    Raises:
        PenumbraError: a folder holds no samples, or all together hold too few.
    """
    body = BodyModel.load(config.body)
    parts = [read(folder, body) for folder in config.rendered]
    if sum(len(part["score"]) for part in parts) < _ENOUGH:
        raise PenumbraError(f"rendered: holds fewer than {_ENOUGH} samples; render more.")
    shared = set.intersection(*(set(part) for part in parts))
    records = {key: np.concatenate([part[key] for part in parts]) for key in shared}
    real, simulated = described_pairs(records, body, config.errors, config.seed)
    area = tell_apart(real, simulated, config)
    print(f"{len(real)} people: area under the ROC curve {area:.3f} (0.5: cannot be told apart)")


if __name__ == "__main__":
    start(main, RealismConfig)
