"""Make training samples: render random scenes and run the real detector and network on them.

    python -m trainer.synthesize --split train --shards 100
    python -m trainer.synthesize --split train --shards 40 --cameras near --out runs/near

`trainer.data.rendered_shards` says what the files hold.
"""

from dataclasses import dataclass
from typing import Literal

from trainer.command import start
from trainer.data.rendered_shards import SceneDistribution, ShardConfig, write_shards
from trainer.synthetic.scenes import CameraScenes


@dataclass(frozen=True)
class SynthesizeConfig(ShardConfig):
    """What to make, and where."""

    cameras: Literal["everyday", "near", "distant"] = "everyday"
    """People and cameras of the synthetic samples; of these the people at desks and the seated
    ones; or those of `scene`, which stand 1.3 to 7 m away, mostly whole.
    """

    def scenes(self) -> SceneDistribution:
        """Choose what scenes are drawn from."""
        if self.cameras == "distant":
            return self.scene
        return CameraScenes(near=self.cameras == "near")


def main(config: SynthesizeConfig) -> None:
    """Make the shards in `out/split`."""
    write_shards(config, config.scenes())


if __name__ == "__main__":
    start(main, SynthesizeConfig)
