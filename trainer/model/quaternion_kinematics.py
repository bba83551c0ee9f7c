"""Forward kinematics with quaternions, batch last: a few large operations per level of the tree.

The same as `trainer.model.kinematics`, for one body per image and several times faster.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from engines.types import NUM_JOINTS, PARENTS
from trainer.model import quaternions as quat
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import SkeletonTensors, pelvis_in_view


def _levels() -> list[list[int]]:
    """Return the joints of each level of the tree below the root."""
    depth = [0] * NUM_JOINTS
    for joint in range(1, NUM_JOINTS):
        depth[joint] = depth[PARENTS[joint]] + 1
    return [
        [joint for joint in range(NUM_JOINTS) if depth[joint] == level]
        for level in range(1, max(depth) + 1)
    ]


LEVELS = _levels()


def forward_kinematics(
    rotations: Float[Tensor, "24 4 N"], offsets: Float[Tensor, "24 3 N"]
) -> tuple[Float[Tensor, "24 4 N"], Float[Tensor, "24 3 N"]]:
    """Pose skeletons.

    Args:
        rotations: of each joint relative to its parent, the root's to the frame of the caller.
        offsets: of each joint from its parent at rest, metres; the root's is not used.

    Returns:
        Rotations to the frame of the caller, and joints relative to the pelvis, metres.
    """
    world: list[Tensor] = [rotations[0]] * NUM_JOINTS
    joints: list[Tensor] = [torch.zeros_like(offsets[0])] * NUM_JOINTS
    for level in LEVELS:
        parents = [PARENTS[joint] for joint in level]
        above = torch.stack([world[parent] for parent in parents], 1)
        moved = quat.rotate(above, offsets[level].transpose(0, 1))
        placed = torch.stack([joints[parent] for parent in parents], 1) + moved
        turned = quat.multiply(above, rotations[level].transpose(0, 1))
        for joint, R, position in zip(level, turned.unbind(1), placed.unbind(1), strict=True):
            world[joint] = R
            joints[joint] = position
    return torch.stack(world), torch.stack(joints)


def view_joints_of_one(
    skeleton: SkeletonTensors,
    R_anchor: Float[Tensor, "B 3 3"],
    half_size: Float[Tensor, "B"],
    bodies: BodySamples,
) -> Float[Tensor, "B 24 3"]:
    """Joints in the view, metres, of the first body of each image; with gradients."""
    betas = bodies.betas[:, 0]
    rest = skeleton.J_template[..., None] + torch.einsum("jci,ni->jcn", skeleton.J_shapedirs, betas)
    rotations = quat.exp(bodies.rotvec[:, 0].permute(2, 1, 0))  # (4, 24, B)
    root = quat.multiply(quat.from_matrix(R_anchor.permute(1, 2, 0)), rotations[:, 0])
    rotations = torch.cat([root[:, None], rotations[:, 1:]], 1).transpose(0, 1)
    offsets = rest - rest[[0, *PARENTS[1:]]]
    _, joints = forward_kinematics(rotations, offsets)
    return joints.permute(2, 0, 1) + pelvis_in_view(bodies.camera[:, 0], half_size)[:, None]
