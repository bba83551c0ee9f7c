"""The benchmark *ambiguous CMU*: people whom nobody trained on, of whom much cannot be seen.

    python -m trainer.ambiguous

The default body with random shapes in front of random cameras, in poses of CMU's test subjects as
they were recorded. Pictures are cropped as in ambiguous H36M (legs; arms and head; arms, which that
benchmark calls "head"; one in ten not at all) and things are painted in front. Visibility is what
the final picture shows. A pair exists in two forms: as the landmark network saw the picture, and as
exact projected landmarks with a visibility mask (`trainer.data.exact`). The same seed makes the
same benchmark. Pictures in which the landmark network finds nobody are left out, as the live system
would leave them out.

The network's crop is a tracker's about the whole body, with a tracker's errors, whatever is hidden;
the methods do not see it. What reaches them is what the network makes of it: how far it puts hidden
legs from the hips has a rank correlation below 0.2 with the truth.
"""

from dataclasses import dataclass
from pathlib import Path

from trainer.command import start
from trainer.motion.poses import Split
from trainer.render.scenes import SceneConfig
from trainer.synthesize import SynthesizeConfig, synthesize

AMBIGUOUS = SceneConfig(swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(0.1, 0.3, 0.3, 0.3))
CLEAR = SceneConfig(
    swap_upper=0.0, jitter_rad=0.0, truncate=0.0, crops=(1.0, 0.0, 0.0, 0.0), things=False
)


@dataclass(frozen=True)
class AmbiguousConfig:
    """How much to make, and where."""

    poses: Path = Path("runs/poses.npz")
    """Made by `python -m trainer.mocap`."""
    out: Path | None = None
    """`runs/ambiguous`, or `runs/clear`, when None."""
    split: Split = "test"
    """Of subjects; `val` makes the set that calibrations are fitted on."""
    shards: int = 4
    """Of 500 pictures."""
    processes: int = 2
    seed: int = 2023
    body: Path | None = None
    """Of `engines.convert_smpl`; the default body when None."""
    clear: bool = False
    """Make the same without crops and things in front, as H36M beside ambiguous H36M."""


def main(config: AmbiguousConfig) -> None:
    """Make the benchmark's shards in `out/split`."""
    out = config.out or Path("runs/clear" if config.clear else "runs/ambiguous")
    scene = CLEAR if config.clear else AMBIGUOUS
    synthesize(
        SynthesizeConfig(
            poses=config.poses, out=out, split=config.split, shards=config.shards, processes=config.processes,
            seed=config.seed, body=config.body, scene=scene,
        )
    )  # fmt: skip


if __name__ == "__main__":
    start(main, AmbiguousConfig)
