"""Differentiable forward kinematics and projection: from the flow's bodies to joints in the view.
Plain torch.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from engines.flow.features import REACH_M
from engines.types import NUM_JOINTS, PARENTS
from trainer.model import so3
from trainer.model.bodies import BodySamples


class SkeletonTensors(NamedTuple):
    """The joints-only part of a body model, metres."""

    J_template: Float[Tensor, "24 3"]
    J_shapedirs: Float[Tensor, "24 3 10"]


def pelvis_in_view(
    camera: Float[Tensor, "*#B 3"], half_size: Float[Tensor, "*#B"]
) -> Float[Tensor, "*B 3"]:
    """The pelvis (m) that the flow's camera numbers mean in a view of size `half_size`."""
    z = REACH_M / half_size * camera[..., 2].exp()
    return torch.cat([camera[..., :2] * (half_size * z)[..., None], z[..., None]], -1)


def camera_from_pelvis(
    pelvis: Float[Tensor, "*B 3"], half_size: Float[Tensor, "*B"]
) -> Float[Tensor, "*B 3"]:
    """The inverse of `pelvis_in_view`; the pelvis must lie in front of the camera."""
    z = pelvis[..., 2]
    return torch.cat(
        [
            pelvis[..., :2] / (half_size * z)[..., None],
            torch.log(z * half_size / REACH_M)[..., None],
        ],
        -1,
    )


def relative_joints(
    skeleton: SkeletonTensors,
    R_anchor: Float[Tensor, "*#B 3 3"],
    rotvec: Float[Tensor, "*#B 24 3"],
    betas: Float[Tensor, "*#B 10"],
) -> Float[Tensor, "*B 24 3"]:
    """Joints relative to the pelvis, metres, in the frame that `R_anchor` rotates into."""
    rest = skeleton.J_template + torch.einsum("jci,...i->...jc", skeleton.J_shapedirs, betas)
    return bone_frames(rest, R_anchor, so3.exp(rotvec))[1]


def bone_frames(
    rest: Float[Tensor, "*#B 24 3"],
    R_anchor: Float[Tensor, "*#B 3 3"],
    R: Float[Tensor, "*#B 24 3 3"],
) -> tuple[Float[Tensor, "*B 24 3 3"], Float[Tensor, "*B 24 3"]]:
    """Rotations of the bones and joints relative to the pelvis, in the frame of `R_anchor`.

    Args:
        rest: joints at rest, metres.
        R_anchor: what is multiplied from the left.
        R: rotation of each joint relative to its parent.
    """
    R_world, joints = [R_anchor @ R[..., 0, :, :]], [torch.zeros_like(rest[..., 0, :])]
    for k in range(1, NUM_JOINTS):
        parent = PARENTS[k]
        offset = (rest[..., k, :] - rest[..., parent, :])[..., None]
        joints.append(joints[parent] + (R_world[parent] @ offset)[..., 0])
        R_world.append(R_world[parent] @ R[..., k, :, :])
    return torch.stack(R_world, -3), torch.stack(joints, -2)


def view_joints(
    skeleton: SkeletonTensors,
    R_anchor: Float[Tensor, "B 3 3"],
    half_size: Float[Tensor, "B"],
    bodies: BodySamples,
) -> Float[Tensor, "B S 24 3"]:
    """Joints in the view, metres."""
    relative = relative_joints(skeleton, R_anchor[:, None], bodies.rotvec, bodies.betas)
    return relative + pelvis_in_view(bodies.camera, half_size[:, None])[..., None, :]


def project(
    joints: Float[Tensor, "B S J 3"], half_size: Float[Tensor, "B"]
) -> Float[Tensor, "B S J 2"]:
    """Project joints in the view to the plane z = 1, in units of `half_size`.

    Points closer than 10 cm count as 10 cm away.
    """
    return joints[..., :2] / joints[..., 2:].clamp_min(0.1) / half_size[:, None, None, None]
