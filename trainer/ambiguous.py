"""The benchmark *ambiguous CMU*: people whom nobody trained on, of whom much cannot be seen.

    python -m trainer.ambiguous --out runs/ambiguous

The default body with random shapes in front of random cameras, in poses of CMU's test subjects as they were recorded.
Pictures are cropped as in ambiguous H36M (legs; arms and head; arms, which that benchmark calls "head"; one in ten not at
all) and things are painted in front. Visibility is what the final picture shows. A pair exists in two forms: as the landmark
network saw the picture, and as exact projected landmarks with a visibility mask (`exact`). The same seed makes the same
benchmark. Pictures in which the landmark network finds nobody are left out, as the live system would leave them out.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.body import BodyModel
from trainer.augment import JOINT_OF_LANDMARK, Raw, joints_in_camera
from trainer.command import start
from trainer.scenes import SceneConfig
from trainer.synthesize import SynthesizeConfig, synthesize

AMBIGUOUS = SceneConfig(swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(0.1, 0.3, 0.3, 0.3))
CLEAR = SceneConfig(swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(1.0, 0.0, 0.0, 0.0), things=False)


@dataclass(frozen=True)
class AmbiguousConfig:
    """How much to make, and where."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path = Path("runs/ambiguous")
    split: str = "test"
    """Of subjects; `val` makes the set that calibrations are fitted on."""
    shards: int = 4
    """Of 500 pictures."""
    processes: int = 2
    seed: int = 2023
    clear: bool = False
    """Make the same without crops and things in front, as H36M beside ambiguous H36M."""


def exact(raw: Raw, body: BodyModel) -> Raw:
    """The same people as exact projected landmarks: no depth, no world coordinates, and hidden ones only masked out.

    A masked landmark is put in the middle of those that are seen, which says nothing about where it is.
    """
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)[:, JOINT_OF_LANDMARK]
    seen = raw["joint_visible"][:, JOINT_OF_LANDMARK].astype(bool)
    points = joints[..., :2] / np.maximum(joints[..., 2:], 0.1) * raw["focal"][:, None, None]
    points = points + raw["size"][:, None] / 2
    count = np.maximum(seen.sum(1), 1)[:, None]
    middle = (points * seen[..., None]).sum(1) / count
    points = np.where(seen[..., None], points, middle[:, None])
    flat, probability = np.zeros(seen.shape, np.float32), seen.astype(np.float32)
    changed = {"points": points.astype(np.float32), "depth": flat, "world": np.zeros((*seen.shape, 3), np.float32)}
    kept = {key: value for key, value in raw.items() if key != "map"}
    return kept | changed | {"visibility": probability, "presence": probability}


def main(config: AmbiguousConfig) -> None:
    """Make the benchmark's shards in `out/split`."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name != "clear"}
    synthesize(SynthesizeConfig(**fields, scene=CLEAR if config.clear else AMBIGUOUS))


if __name__ == "__main__":
    start(main, AmbiguousConfig)
