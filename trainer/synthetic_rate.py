"""Measure how fast synthetic samples are made on one core.

python -m trainer.synthetic_rate --poses runs/poses.npz
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engines.body import BodyModel
from trainer.command import start
from trainer.synthetic.config import SyntheticConfig
from trainer.synthetic.landmark_bank import LandmarkBank
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.source import SyntheticSource


@dataclass(frozen=True)
class RateConfig:
    """What to measure."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    batch: int = 4096
    batches: int = 20
    landmark_bank: Path | None = None
    """Made by `python -m trainer.landmark_bank`."""
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


def main(config: RateConfig) -> None:
    """Print samples per second: of the clock, and of the time that the process had a core.

    Raises:
        PenumbraError: if a file is missing, damaged or something else.
    """
    torch.set_num_threads(1)
    body = BodyModel.load()
    bank = None if config.landmark_bank is None else LandmarkBank.load(config.landmark_bank)
    poses = PoseBank.load(config.poses, "train", body)
    source = SyntheticSource(body, poses, config.synthetic, bank=bank)
    source.batch(0, config.batch)
    clock, cpu = time.perf_counter(), time.process_time()
    for step in range(config.batches):
        source.batch(step, config.batch)
    samples = config.batch * config.batches
    print(
        f"{samples / (time.perf_counter() - clock):.0f} samples a second, "
        f"{samples / (time.process_time() - cpu):.0f} a second of one core"
    )


if __name__ == "__main__":
    start(main, RateConfig)
