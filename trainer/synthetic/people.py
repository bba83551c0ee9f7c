"""People in front of cameras: what rendered scenes and unrendered samples have in common."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from engines.body import BodyModel
from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS, PARENTS
from trainer.model import quaternions as quat
from trainer.model.quaternion_kinematics import forward_kinematics
from trainer.motion.anatomy import MIRRORED_JOINTS
from trainer.synthetic.cameras import Cameras
from trainer.synthetic.poses import PoseBank

_WORLD_UP = torch.tensor([[0.0], [1.0], [0.0]])
"""Of motion capture."""
_RIGHT = [joint for joint, name in enumerate(JOINT_NAMES) if name.startswith("right")]


@dataclass(frozen=True)
class PeopleConfig:
    """Distribution of bodies and fields of view."""

    joint_rad: tuple[float, float] = (0.02, 0.25)
    """Range of the standard deviation of the rotations that are added to a body's joints."""
    recombined: float = 0.3
    """Probability of each limb, the head and the trunk to come from another frame."""
    bone_length: float = 0.035
    """Standard deviation of the log of a bone's length, the same left and right, beside that of the
    shape space.
    """
    fov_deg: tuple[float, float] = (40.0, 90.0)
    """Range of the field of view along the longer side."""


class PosedPeople(NamedTuple):
    """N people, batch last."""

    cameras: Cameras
    focal: Float[Tensor, "N"]
    """Pixels."""
    rotations: Float[Tensor, "24 4 N"]
    """Quaternions relative to the parent, the root's to the camera."""
    betas: Float[Tensor, "10 N"]
    bones: Float[Tensor, "24 4 N"]
    """Rotations of the bones, camera frame."""
    joints: Float[Tensor, "24 3 N"]
    """Camera frame, metres."""
    up: Float[Tensor, "3 N"]
    """Unit vectors against gravity, camera frame."""


class PeopleSource:
    """Draws people."""

    def __init__(self, body: BodyModel, poses: PoseBank, config: PeopleConfig) -> None:
        self.config = config
        self._poses = poses
        self._template = torch.tensor(body.J_template)
        self._shapedirs = torch.tensor(body.J_shapedirs).flatten(0, 1)

    def draw(self, count: int, rng: torch.Generator) -> PosedPeople:
        """Draw `count` people with their cameras."""
        config = self.config
        cameras = Cameras.draw(count, rng)
        rotations = self._poses.draw(cameras.seated, config.recombined, config.joint_rad, rng)
        R_cam_world = cameras.orientation(rng)
        rotations[0] = quat.multiply(R_cam_world, rotations[0])
        up = quat.rotate(R_cam_world, _WORLD_UP.expand(3, count))
        betas = torch.randn(NUM_BETAS, count, generator=rng)
        bones, joints = forward_kinematics(rotations, self._offsets(betas, rng))
        focal = cameras.focal(config.fov_deg, rng)
        joints = joints + cameras.place(joints, focal, rng)
        return PosedPeople(cameras, focal, rotations, betas, bones, joints, up)

    def _offsets(
        self, betas: Float[Tensor, "10 N"], rng: torch.Generator
    ) -> Float[Tensor, "24 3 N"]:
        """Offsets of joints from their parents (m), with bones of a person's own proportions."""
        count = betas.shape[1]
        shape = (self._shapedirs @ betas).unflatten(0, (NUM_JOINTS, 3))
        rest = self._template[..., None] + shape
        offsets = rest - rest[[0, *PARENTS[1:]]]
        if not self.config.bone_length:
            return offsets
        normal = torch.randn(NUM_JOINTS, 1, count, generator=rng)
        scale = (self.config.bone_length * normal).exp()
        scale[_RIGHT] = scale[[MIRRORED_JOINTS[joint] for joint in _RIGHT]]
        return offsets * scale
