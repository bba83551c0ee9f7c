"""The kind `humor` of `trainer.prior`: from recorded motion to the prior's file and its figures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.body import BodyModel
from engines.priors.motion.prior import MotionPrior
from trainer.motion.poses import SPLITS, Split
from trainer.priors.humor import HumorTraining, fit
from trainer.priors.humor_contact import fit_contacts
from trainer.priors.humor_data import MotionData, sole_heights
from trainer.priors.humor_measure import measure
from trainer.priors.humor_start import best_sigma, file_arrays, fit_start
from trainer.priors.training import Run


@dataclass(frozen=True)
class HumorConfig:
    """The networks' training, and what is fitted after it."""

    training: HumorTraining = field(default_factory=HumorTraining)
    components: int = 8
    """Of the mixture over how motion begins."""
    pairs: int = 20_000
    """Of frames, that it is fitted to."""
    contact_steps: int = 40_000
    """Steps that the network of contacts is trained on."""


@dataclass(frozen=True)
class Recordings:
    """Recorded motion of all splits, of the default body."""

    splits: dict[Split, MotionData]
    body: BodyModel

    @staticmethod
    def load(poses: Path) -> "Recordings":
        """Read the poses that `python -m trainer.mocap` wrote.

        Raises:
            PenumbraError: if the file is missing, damaged or something else.
        """
        body = BodyModel.load()
        return Recordings({split: MotionData.load(poses, split, body) for split in SPLITS}, body)

    def metrics(self, path: Path) -> dict[str, object]:
        """Measure the prior in a file on every split."""
        prior, soles = MotionPrior.load(path), sole_heights(self.body)
        return {split: measure(prior, data, soles) for split, data in self.splits.items()}


def train_humor(
    config: HumorConfig, recorded: Recordings, run: Run
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train, or go on; what follows the networks takes a minute and is done anew.

    Returns:
        The file's arrays; facts for the record.
    """
    train, val = recorded.splits["train"], recorded.splits["val"]
    network, log = fit(train, val, config.training, run.seed, run.folder / "state.pt")
    arrays = file_arrays(
        network,
        best_sigma(network, val, run.seed),
        fit_start(train, config.components, config.pairs, run.seed),
        fit_contacts(network, train, config.contact_steps, run.seed),
    )
    best = min(range(len(log)), key=lambda epoch: log[epoch]["own"])
    facts = {
        "best_epoch": best + 1,
        "validation_nats_per_step": {
            "recorded_states": round(log[best]["recorded"], 2),
            "own_states": round(log[best]["own"], 2),
            "divergence": round(log[best]["recorded_divergence"], 2),
        },
        "minutes": round(sum(entry["seconds"] for entry in log) / 60),
    }
    return arrays, facts
