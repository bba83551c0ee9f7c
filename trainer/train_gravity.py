"""Train the network that tells from one person where up is.

    python -m trainer.train_gravity --landmark-bank runs/landmark_bank.npz

The samples are people in front of cameras of known orientation, as the shipped flow estimates them
from synthetic landmarks; they are kept in `samples`, shard by shard, so a killed run goes on;
`made.json` there says what they are made of. The best epoch and the factor on sigma are chosen on
the validation subjects, the record beside the weights states the errors on the test subjects.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from engines.body import BodyModel
from engines.errors import check_at_least
from engines.flow.model import FlowModel
from engines.gravity.network import GravityNetwork
from engines.outputs import check_output, open_output
from trainer.command import start
from trainer.data.made import check_made
from trainer.gravity.fit import GravityTraining, fit, metrics
from trainer.gravity.samples import GravitySamples, SampleConfig, make_samples
from trainer.motion.poses import SPLITS, Poses, Split
from trainer.synthetic.config import SyntheticConfig
from trainer.synthetic.landmark_bank import LandmarkBank
from trainer.synthetic.people import PeopleConfig
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.source import SyntheticSource

_ASSET = Path(__file__).resolve().parents[1] / "engines" / "assets" / "gravity.npz"
_FIRST_SEED = {"train": 1, "val": 101, "test": 201}


@dataclass(frozen=True)
class GravityConfig:
    """Train the gravity network."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    landmark_bank: Path | None = None
    """Made by `python -m trainer.landmark_bank`. Without it landmarks have no heatmaps, and the
    flow estimates people otherwise than in the live system."""
    samples: Path = Path("runs/gravity")
    """Folder that keeps the samples."""
    out: Path = _ASSET
    train_shards: int = 10
    test_shards: int = 1
    """Of validation as well."""
    shard: int = 3000
    """Samples in each."""
    sampling: SampleConfig = field(default_factory=SampleConfig)
    synthetic: SyntheticConfig = field(
        default_factory=lambda: SyntheticConfig(PeopleConfig((0.0, 0.1), recombined=0.0))
    )
    """Bodies nearly as recorded: limbs of several frames do not say what holds a person up."""
    fit: GravityTraining = field(default_factory=GravityTraining)
    seed: int = 0


def main(config: GravityConfig) -> None:
    """Make the samples that are not there yet, train, write weights and record.

    Raises:
        PenumbraError: if the poses are missing, damaged or something else, a number is too small,
            or `samples` holds samples that are made of something else.
    """
    torch.set_num_threads(1)
    check_at_least(1, config, "train_shards", "test_shards", "shard")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    check_output(config.out, "out", ".npz", force=True)
    _check_samples(config)
    sets = {split: GravitySamples.load(_shards(config, split)) for split in SPLITS}
    network, scale, losses = fit(sets["train"], sets["val"], config.fit, config.seed)
    with open_output(config.out, "out", ".npz", force=True) as output:
        np.savez(output.file, **network.arrays(scale))
        output.commit()
    shipped = GravityNetwork.load(config.out)
    record = {
        "what": "up from one estimated person: direction and covariance; angles in degrees",
        "command": "python -m trainer.train_gravity",
        "config": json.loads(json.dumps(asdict(config), default=lambda path: path.name)),
        "data": "CMU Graphics Lab motion capture, split by subject, in front of synthetic cameras. "
        "The data used in this project was obtained from mocap.cs.cmu.edu. The database was "
        "created with funding from NSF EIA-0196217.",
        "best_epoch": int(np.argmin(losses)) + 1,
        "validation_loss_nats": round(min(losses), 4),
        "scale": round(scale, 4),
        "metrics": {split: metrics(shipped, sets[split]) for split in SPLITS},
    }
    config.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _check_samples(config: GravityConfig) -> None:
    """Refuse to go on with samples of other people, or of another flow.

    Raises:
        PenumbraError: the folder holds such, or there are no poses.
    """
    Poses.load(config.poses)
    flow = FlowModel.load().onnx.with_suffix(".json")
    made = {
        "poses": hashlib.sha256(config.poses.read_bytes()).hexdigest(),
        "landmark_bank": _sha256_of_bank(config.landmark_bank),
        "flow": hashlib.sha256(flow.read_bytes()).hexdigest(),
        "shard": config.shard,
        "sampling": asdict(config.sampling),
        "synthetic": asdict(config.synthetic),
    }
    check_made(config.samples, made, "samples")


def _sha256_of_bank(path: Path | None) -> str | None:
    if path is None:
        return None
    LandmarkBank.load(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shards(config: GravityConfig, split: Split) -> list[Path]:
    """Files with the samples of a split, made where they are missing."""
    count = config.train_shards if split == "train" else config.test_shards
    seeds = range(_FIRST_SEED[split], _FIRST_SEED[split] + count)
    paths = [config.samples / f"{split}_{seed}.npz" for seed in seeds]
    if all(path.exists() for path in paths):
        return paths
    body = BodyModel.load()
    poses = PoseBank.load(config.poses, split, body)
    bank = LandmarkBank.load(config.landmark_bank) if config.landmark_bank else None
    for seed, path in zip(seeds, paths, strict=True):
        if not path.exists():
            source = SyntheticSource(body, poses, config.synthetic, seed, bank)
            made = make_samples(source, config.shard, config.sampling, seed)
            scratch = path.with_name(f"{path.stem}.tmp.npz")
            np.savez(scratch, **made._asdict())
            scratch.replace(path)
    return paths


if __name__ == "__main__":
    start(main, GravityConfig)
