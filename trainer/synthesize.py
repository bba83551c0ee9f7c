"""Make training samples: render random scenes and run the real detector and network on them.

    python -m trainer.synthesize --split train --shards 100
    python -m trainer.synthesize --split train --shards 40 --cameras near --out runs/near

`trainer.data.rendered_shards` says what the files hold.
"""

from dataclasses import dataclass
from typing import Literal

from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.rendered_shards import SceneDistribution, ShardConfig, write_shards
from trainer.render.scenes import SceneConfig
from trainer.synthetic.scenes import CameraScenes


@dataclass(frozen=True)
class SynthesizeConfig(ShardConfig):
    """What to make, and where."""

    cameras: Literal["everyday", "near", "distant"] = "everyday"
    """People and cameras of the synthetic samples; of these the people at desks and the seated
    ones; or those of `scene`, which stand 1.3 to 7 m away, mostly whole.
    """

    def scenes(self) -> SceneDistribution:
        """Choose what scenes are drawn from.

        Raises:
            PenumbraError: `scene` was set, and other cameras were asked for.
        """
        if self.cameras == "distant":
            return self.scene
        if self.scene != SceneConfig():
            raise PenumbraError(
                f"scene: has no effect on {self.cameras} cameras; set cameras to distant."
            )
        return CameraScenes(near=self.cameras == "near")


def main(config: SynthesizeConfig) -> None:
    """Make the shards in `out/split`."""
    write_shards(config, config.scenes())


if __name__ == "__main__":
    start(main, SynthesizeConfig)
