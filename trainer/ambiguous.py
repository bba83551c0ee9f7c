"""Make the benchmark *ambiguous CMU*: subjects outside the training set, largely invisible.

    python -m trainer.ambiguous

The default body with random shapes in front of random cameras, in poses of CMU's test subjects as
they were recorded. Images are cropped as in ambiguous H36M (legs; arms and head; arms, which that
benchmark calls "head"; one in ten not at all) and occluders are rendered in front. Visibility is
what the final image shows. A sample exists in two forms: with the landmark network's landmarks, and
with exact projected landmarks and a visibility mask (`trainer.data.exact`). The same seed makes the
same benchmark. Images in which the landmark network finds no person are left out, as the live
system would leave them out.

The network's crop is a tracker's about the whole body, with a tracker's errors, whatever is
occluded; the methods do not see it. What reaches them is what the network makes of it: how far it
puts occluded legs from the hips has a rank correlation below 0.2 with the ground truth.
"""

from dataclasses import dataclass
from pathlib import Path

from trainer.command import start
from trainer.data.rendered_shards import ShardConfig, write_shards
from trainer.motion.poses import Split
from trainer.render.scenes import AMBIGUOUS, CLEAR


@dataclass(frozen=True)
class AmbiguousConfig:
    """How much to make, and where."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path | None = None
    """`runs/ambiguous`, or `runs/clear`, when None."""
    split: Split = "test"
    """Split of the subjects; `val` makes the set that calibrations are fitted on."""
    shards: int = 4
    """Number of shards, 500 images each."""
    processes: int = 2
    seed: int = 2023
    body: Path | None = None
    """Body file of `engines.convert_smpl`; the default body when None."""
    tracked: bool = True
    """Whether the live detector and tracker find the person; else the crop is cut around them."""
    clear: bool = False
    """Make the same without crops and occluders, as H36M beside ambiguous H36M."""

    def shard_config(self) -> ShardConfig:
        """Choose the scenes and the folder."""
        return ShardConfig(
            poses=self.poses,
            out=self.out or Path("runs/clear" if self.clear else "runs/ambiguous"),
            split=self.split,
            shards=self.shards,
            processes=self.processes,
            seed=self.seed,
            body=self.body,
            scene=CLEAR if self.clear else AMBIGUOUS,
            tracked=self.tracked,
        )


def main(config: AmbiguousConfig) -> None:
    """Make the benchmark's shards in `out/split`."""
    write_shards(config.shard_config())


if __name__ == "__main__":
    start(main, AmbiguousConfig)
