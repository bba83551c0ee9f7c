"""Check the simulated landmarks: can a classifier tell them from those of the real network?

    python -m trainer.landmark_realism --rendered runs/dataset/val --measured runs/dataset/test \
        --landmark-bank runs/landmark_bank.npz

Both are landmarks of the same rendered people: the network's, and those that the error model makes
of the same true bodies, cameras and occluders, so that nothing but the error model is judged. Where
people differ in what the network takes for a joint (`SyntheticConfig.misplaced_m`) is left out, for
all rendered people have the same body. A small network is trained to tell one from the other by
displacements, visibility and presence, knowing the true positions and what is visible; not by the
peaks of heatmaps, of which the tables know nothing. An area under the ROC curve of 0.5 on other
subjects means that it cannot. The bank must hold none of these people, or it answers with what it
is compared to.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS
from trainer.command import start
from trainer.data.augment import RawRecords, joints_in_camera
from trainer.data.samples import read
from trainer.priors.measure import auroc
from trainer.synthetic.config import ErrorConfig
from trainer.synthetic.known_landmarks import landmark_positions, landmark_states
from trainer.synthetic.landmark_bank import TRUNK, LandmarkBank
from trainer.synthetic.landmark_errors import ErrorModel, SimulatedLandmarks
from trainer.synthetic.projection import half_size_of

_ENOUGH = 100
_BLOCK = 1024
"""People that are simulated at a time, as in training: they share a choice of the bank."""
_LOGITS = 10.0
"""Bound on the logits of probabilities."""
_FARTHEST = 3.0
"""Bound on true positions, in half the person's size."""


@dataclass(frozen=True)
class RealismConfig:
    """Which people, and how hard to try."""

    rendered: tuple[Path, ...]
    """Folders of `trainer.synthesize`'s shards that the classifier learns from."""
    measured: tuple[Path, ...]
    """Folders of other subjects, whom the result is measured on."""
    landmark_bank: Path | None = None
    """Made by `python -m trainer.landmark_bank` of none of these people."""
    body: Path | None = None
    """That they were rendered with; the default body when None."""
    errors: ErrorConfig = field(default_factory=ErrorConfig)
    steps: int = 1000
    batch: int = 256
    width: int = 256
    seed: int = 0


class Described(NamedTuple):
    """Landmarks of N people as a classifier is given them."""

    displacements: Float[Tensor, "N 33 3"]
    """From the truth in half the person's size, and the log of their lengths."""
    visibility: Float[Tensor, "N 33"]
    presence: Float[Tensor, "N 33"]
    known: Float[Tensor, "N 165"]
    """True positions and states, the same whoever returned the landmarks."""

    def features(self, name: str) -> Float[Tensor, "N F"]:
        """Select what a classifier is given: one of `GIVEN`."""
        limbs = self.displacements[:, list(LIMB_LANDMARKS)]
        parts = {
            "everything": (self.displacements, self.visibility, self.presence),
            "displacements": (self.displacements,),
            "displacements of limbs": (limbs,),
            "visibility": (self.visibility,),
            "presence": (self.presence,),
        }[name]
        return torch.cat([*(part.flatten(1) for part in parts), self.known], 1)


GIVEN = ("everything", "displacements", "displacements of limbs", "visibility", "presence")


class Pairs(NamedTuple):
    """The same people twice."""

    real: Described
    simulated: Described


def described_pairs(records: RawRecords, body: BodyModel, model: ErrorModel, seed: int) -> Pairs:
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
        _batch_last(records["peak"]),
    )
    rng = torch.Generator().manual_seed(seed)
    blocks = zip(*(part.split(_BLOCK, -1) for part in (flat, state, half_size)), strict=True)
    parts = [model(points, seen, size, rng) for points, seen, size in blocks]
    simulated = SimulatedLandmarks(*(torch.cat(part, -1) for part in zip(*parts, strict=True)))
    return Pairs(*(_describe(found, flat, half_size, state) for found in (real, simulated)))


def _batch_last(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, 0, -1).astype(np.float32))


def _describe(
    found: SimulatedLandmarks,
    flat: Float[Tensor, "33 2 N"],
    half_size: Float[Tensor, "N"],
    state: Int[Tensor, "33 N"],
) -> Described:
    away = (found.points - flat) / half_size
    length = away.norm(dim=1, keepdim=True).clamp_min(1e-4).log()
    visibility, presence = (
        torch.logit(part.clamp(1e-6, 1 - 1e-6)).clamp(-_LOGITS, _LOGITS).T / _LOGITS
        for part in (found.visibility, found.presence)
    )
    true = ((flat - flat[TRUNK, :].mean(0)) / half_size).clamp(-_FARTHEST, _FARTHEST)
    states = torch.nn.functional.one_hot(state.T.long(), 3).flatten(1)
    displacements = torch.cat([10 * away.clamp(-1, 1), length], 1)
    known = torch.cat([true.movedim(-1, 0).flatten(1), states], 1)
    return Described(displacements.movedim(-1, 0), visibility, presence, known)


def tell_apart(train: Pairs, test: Pairs, given: str, config: RealismConfig) -> float:
    """Train a classifier on some people; return its area under the ROC curve on others."""
    real, simulated = (part.features(given) for part in train)
    torch.manual_seed(config.seed)
    model = nn.Sequential(
        nn.Linear(real.shape[1], config.width),
        nn.SiLU(),
        nn.Linear(config.width, config.width),
        nn.SiLU(),
        nn.Dropout(0.2),
        nn.Linear(config.width, 1),
    )
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    truth = torch.cat([torch.ones(config.batch), torch.zeros(config.batch)])
    for _ in range(config.steps):
        first, last = torch.randint(len(real), (2, config.batch))
        logits = model(torch.cat([real[first], simulated[last]]))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    model.eval()
    with torch.no_grad():
        real, simulated = (model(part.features(given))[:, 0].numpy() for part in test)
    return auroc(simulated, real)


def _read(folders: tuple[Path, ...], name: str, body: BodyModel) -> RawRecords:
    """Read folders' samples.

    Raises:
        PenumbraError: a folder holds no samples, or all together hold too few.
    """
    parts = [read(folder, body) for folder in folders]
    if sum(len(part["score"]) for part in parts) < _ENOUGH:
        raise PenumbraError(f"{name}: holds fewer than {_ENOUGH} samples; render more.")
    shared = set.intersection(*(set(part) for part in parts))
    return {key: np.concatenate([part[key] for part in parts]) for key in shared}


def main(config: RealismConfig) -> None:
    """Print areas under the ROC curve, of classifiers that are given ever fewer numbers.

    Raises:
        PenumbraError: a folder or the bank cannot be read, or there are too few samples.
    """
    body = BodyModel.load(config.body)
    bank = None if config.landmark_bank is None else LandmarkBank.load(config.landmark_bank)
    model = ErrorModel(config.errors, bank)
    folders = {"rendered": config.rendered, "measured": config.measured}
    train, test = (
        described_pairs(_read(paths, name, body), body, model, config.seed)
        for name, paths in folders.items()
    )
    print(f"{len(test.real.known)} people; area under the ROC curve (0.5: cannot be told apart)")
    for given in GIVEN:
        print(f"{tell_apart(train, test, given, config):.3f} by {given}", flush=True)


if __name__ == "__main__":
    start(main, RealismConfig)
