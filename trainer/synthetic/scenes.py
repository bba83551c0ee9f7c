"""Scenes to render with the people and cameras of synthetic samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from engines.body import BodyModel
from engines.types import LIMB_JOINTS
from trainer.model import quaternions as quat
from trainer.motion.poses import Split
from trainer.render.scenes import WHOLE, Scene
from trainer.synthetic.people import PeopleConfig, PeopleSource
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.projection import inside, to_plane

_BLOCK = 256
"""People that are drawn at a time."""
_MIN_INSIDE = 4
"""Limb joints that must lie in the image."""
_HEAD_AND_SHOULDERS = (15, 16, 17)


@dataclass(frozen=True)
class CameraScenes:
    """People in front of cameras as people use them (`trainer.synthetic.cameras`)."""

    near: bool = False
    """Only people at desks and seated ones."""
    occluders: float = 0.6
    """Share of scenes in which occluders may stand in front."""
    people: PeopleConfig = field(
        default_factory=lambda: PeopleConfig((0.05, 0.05), recombined=0.05, bone_length=0.0)
    )
    """Rendered bodies have the proportions of the shape space."""

    def open(
        self, poses: Path, split: Split, body: BodyModel
    ) -> Callable[[np.random.Generator], Scene]:
        """Return what draws a scene from a generator.

        Raises:
            PenumbraError: if there are no poses.
        """
        source = PeopleSource(body, PoseBank.load(poses, split, body), self.people)
        blocks: dict[np.random.Generator, Iterator[Scene]] = {}

        def draw(rng: np.random.Generator) -> Scene:
            if rng not in blocks:
                blocks.clear()
                blocks[rng] = self._scenes(source, rng)
            return next(blocks[rng])

        return draw

    def _scenes(self, source: PeopleSource, rng: np.random.Generator) -> Iterator[Scene]:
        """Draw scenes without end."""
        while True:
            people = source.draw(_BLOCK, torch.Generator().manual_seed(int(rng.integers(2**62))))
            cameras = people.cameras
            seen = inside(to_plane(people.joints), people.focal, cameras.size)
            good = (seen[list(LIMB_JOINTS)].sum(0) >= _MIN_INSIDE) & (
                seen[list(_HEAD_AND_SHOULDERS)].sum(0) >= 2
            )
            if self.near:
                good &= cameras.desk | cameras.seated
            rotvec = quat.log(people.rotations.permute(1, 0, 2)).permute(2, 1, 0)  # (N, 24, 3)
            for i in good.nonzero()[:, 0].tolist():
                width, height = (int(side) for side in cameras.size[:, i])
                yield Scene(
                    rotvec[i].double().numpy(),
                    people.betas[:, i].double().numpy(),
                    people.joints[0, :, i].double().numpy(),
                    float(people.focal[i]),
                    (width, height),
                    WHOLE,
                    bool(rng.random() < self.occluders),
                )
