"""Scenes to render with the people and cameras of synthetic samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engines.body import BodyModel
from engines.types import LIMB_JOINTS, NUM_BETAS, PARENTS
from trainer.model import quaternions as quat
from trainer.model.quaternion_kinematics import forward_kinematics
from trainer.motion.poses import Split
from trainer.render.scenes import WHOLE, Scene
from trainer.synthetic.cameras import Cameras
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
    recombined: float = 0.05
    """Probability of each limb, the head and the trunk to come from another frame."""
    joint_rad: tuple[float, float] = (0.05, 0.05)
    """Range of the standard deviation of the rotations that are added to a body's joints."""
    fov_deg: tuple[float, float] = (40.0, 90.0)
    """Range of the field of view along the longer side."""

    def open(
        self, poses: Path, split: Split, body: BodyModel
    ) -> Callable[[np.random.Generator], Scene]:
        """Return what draws a scene from a generator.

        Raises:
            PenumbraError: if there are no poses.
        """
        bank = PoseBank.load(poses, split, body)
        blocks: dict[np.random.Generator, Iterator[Scene]] = {}

        def draw(rng: np.random.Generator) -> Scene:
            if rng not in blocks:
                blocks.clear()
                blocks[rng] = self._scenes(bank, body, rng)
            return next(blocks[rng])

        return draw

    def _scenes(self, bank: PoseBank, body: BodyModel, rng: np.random.Generator) -> Iterator[Scene]:
        """Draw scenes without end."""
        template = torch.tensor(body.J_template)
        shapedirs = torch.tensor(body.J_shapedirs).flatten(0, 1)
        while True:
            torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
            cameras = Cameras.draw(_BLOCK, torch_rng)
            rotations = bank.draw(cameras.seated, self.recombined, self.joint_rad, torch_rng)
            rotations[0] = quat.multiply(cameras.orientation(torch_rng), rotations[0])
            betas = torch.randn(NUM_BETAS, _BLOCK, generator=torch_rng)
            rest = template[..., None] + (shapedirs @ betas).unflatten(0, template.shape)
            _, joints = forward_kinematics(rotations, rest - rest[[0, *PARENTS[1:]]])
            focal = cameras.focal(self.fov_deg, torch_rng)
            pelvis = cameras.place(joints, focal, torch_rng)
            seen = inside(to_plane(joints + pelvis), focal, cameras.size)
            good = (seen[list(LIMB_JOINTS)].sum(0) >= _MIN_INSIDE) & (
                seen[list(_HEAD_AND_SHOULDERS)].sum(0) >= 2
            )
            if self.near:
                good &= cameras.desk | cameras.seated
            rotvec = quat.log(rotations.permute(1, 0, 2)).permute(2, 1, 0)  # (N, 24, 3)
            for i in good.nonzero()[:, 0].tolist():
                width, height = (int(side) for side in cameras.size[:, i])
                yield Scene(
                    rotvec[i].double().numpy(),
                    betas[:, i].double().numpy(),
                    pelvis[:, i].double().numpy(),
                    float(focal[i]),
                    (width, height),
                    WHOLE,
                    bool(rng.random() < self.occluders),
                )
