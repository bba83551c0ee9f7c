"""Train a prior over body poses, or over motion, and measure it on other people.

    python -m trainer.prior --kind gmm --poses runs/poses.npz

It is fitted to the training subjects, what is chosen is chosen on the validation subjects, and the
record beside the weights states the figures of the test subjects. A killed training goes on from
its folder. The kinds are in `trainer.priors`; what a fit does with them is in `engines.priors`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from engines.priors.load import read_prior
from trainer.command import start
from trainer.motion.poses import SPLITS
from trainer.priors.distance_field import NdfConfig, NrdfConfig, train_ndf, train_nrdf
from trainer.priors.flow import FlowPriorConfig, train_flow
from trainer.priors.humor_prior import HumorConfig, Recordings, train_humor
from trainer.priors.measure import metrics
from trainer.priors.mixture import MixtureConfig, train_mixture
from trainer.priors.samples import PoseSamples
from trainer.priors.training import Run
from trainer.priors.vposer import VPoserConfig, train_vposer

Kind = Literal["gmm", "vposer", "ndf", "nrdf", "flow", "humor"]
_ASSETS = Path(__file__).resolve().parents[1] / "engines" / "assets" / "priors"
_DATA = (
    "CMU Graphics Lab motion capture, split by subject. The data used in this project was obtained "
    "from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)


@dataclass(frozen=True)
class PriorConfig:
    """Train a prior."""

    kind: Kind
    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    run: Path = Path("runs/priors")
    """Folder that keeps the state of a training, one for each kind below it."""
    out: Path | None = None
    """The file to write; that of the shipped prior when None."""
    step_rad: float = 0.3
    """Take a frame of a clip only when some joint has turned by this much since the last one."""
    seed: int = 0
    gmm: MixtureConfig = field(default_factory=MixtureConfig)
    vposer: VPoserConfig = field(default_factory=VPoserConfig)
    ndf: NdfConfig = field(default_factory=NdfConfig)
    nrdf: NrdfConfig = field(default_factory=NrdfConfig)
    flow: FlowPriorConfig = field(default_factory=FlowPriorConfig)
    humor: HumorConfig = field(default_factory=HumorConfig)


class Trained(NamedTuple):
    """What a training gives."""

    arrays: dict[str, np.ndarray]
    """Of the file."""
    facts: dict[str, Any]
    """For the record."""


def _train_gmm(config: PriorConfig, samples: PoseSamples) -> Trained:
    mixture, facts = train_mixture(config.gmm, samples, config.seed)
    return Trained(mixture.arrays(), facts)


def _train_flow(config: PriorConfig, samples: PoseSamples) -> Trained:
    return Trained(*train_flow(config.flow, samples, _run(config)))


def _train_vposer(config: PriorConfig, samples: PoseSamples) -> Trained:
    return Trained(*train_vposer(config.vposer, samples, _run(config)))


def _train_ndf(config: PriorConfig, samples: PoseSamples) -> Trained:
    return Trained(*train_ndf(config.ndf, samples, _run(config)))


def _train_nrdf(config: PriorConfig, samples: PoseSamples) -> Trained:
    return Trained(*train_nrdf(config.nrdf, samples, _run(config)))


def _run(config: PriorConfig) -> Run:
    poses = hashlib.sha256(config.poses.read_bytes()).hexdigest()
    settings = (getattr(config, config.kind), config.step_rad, poses)
    run = Run(config.run / config.kind, config.seed, settings)
    run.claim()
    return run


_TRAIN: dict[str, Callable[[PriorConfig, PoseSamples], Trained]] = {
    "gmm": _train_gmm,
    "flow": _train_flow,
    "vposer": _train_vposer,
    "ndf": _train_ndf,
    "nrdf": _train_nrdf,
}


def main(config: PriorConfig) -> None:
    """Train, write file and record, print the record.

    Raises:
        PenumbraError: if the poses are missing, damaged or something else.
    """
    if config.kind == "humor":
        recorded = Recordings.load(config.poses)
        trained = Trained(*train_humor(config.humor, recorded, _run(config)))
        _write(config, trained, recorded.metrics)
        return
    samples = PoseSamples.load(config.poses, config.step_rad)
    _write(config, _TRAIN[config.kind](config, samples), partial(_pose_metrics, samples))


def _write(
    config: PriorConfig, trained: Trained, measured: Callable[[Path], dict[str, object]]
) -> None:
    """Write the file, and the record with what is measured of it."""
    out = config.out or _ASSETS / f"{config.kind}.npz"
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f"{out.stem}.tmp.npz")
    np.savez(scratch, kind=np.array(config.kind), **trained.arrays)
    os.replace(scratch, out)
    record = _record(config, trained, measured(out), out)
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _pose_metrics(samples: PoseSamples, out: Path) -> dict[str, object]:
    prior = read_prior(out)
    return {split: metrics(prior, samples.splits[split]) for split in SPLITS}


def _record(
    config: PriorConfig, trained: Trained, measured: dict[str, object], out: Path
) -> dict[str, Any]:
    """Say how the prior was made, and what the file that was written reaches."""
    settings = {
        name: value
        for name, value in asdict(config).items()
        if name in ("kind", "step_rad", "seed", config.kind)
    }
    return {
        "what": f"prior over {'motion' if config.kind == 'humor' else 'body poses'}; "
        "see engines/priors",
        "command": f"python -m trainer.prior {' '.join(sys.argv[1:])}".strip(),
        "config": settings,
        "data": _DATA,
        "bytes": out.stat().st_size,
        "numbers": sum(array.size for array in trained.arrays.values()),
        **trained.facts,
        "metrics": measured,
    }


if __name__ == "__main__":
    start(main, PriorConfig)
