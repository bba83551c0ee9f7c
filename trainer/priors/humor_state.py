"""States, steps and kinematics of motion in torch: what `engines.priors.motion.state` has in NumPy.

Frames are z up, the floor at z = 0; see `engines.priors.motion.layout` for the parts of a state.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.priors.motion.layout import BODY, FPS, STATE, TURNING
from engines.types import PARENTS
from trainer.model import so3

_ROOT_AND_TURNING = (0, *TURNING)


class Frames(NamedTuple):
    """Bodies of one skeleton, any number of leading dimensions."""

    R: Float[Tensor, "*B 22 3 3"]
    """Of each joint relative to its parent, of the root relative to the world."""
    pelvis: Float[Tensor, "*B 3"]
    """World, metres."""

    def at(self, index: int) -> "Frames":
        """Take one frame of sequences (B, T, ...)."""
        return Frames(self.R[:, index], self.pelvis[:, index])

    def where(self, mask: Bool[Tensor, "B"], other: "Frames") -> "Frames":
        """Take bodies or sequences (B, ...) where the mask holds, else the other ones."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        return Frames(pick(self.R, other.R), pick(self.pelvis, other.pelvis))


def pelvis_joints(
    rest: Float[Tensor, "22 3"], R: Float[Tensor, "*B 22 3 3"]
) -> Float[Tensor, "*B 22 3"]:
    """Joints relative to the pelvis, in its axes, metres."""
    eye = torch.eye(3, dtype=R.dtype).expand(*R.shape[:-3], 3, 3)
    turned, joints = [eye], [torch.zeros_like(R[..., 0, :, 0])]
    for j in range(1, BODY):
        parent = PARENTS[j]
        joints.append(joints[parent] + turned[parent] @ (rest[j] - rest[parent]))
        turned.append(turned[parent] @ R[..., j, :, :])
    return torch.stack(joints, -2)


def world_joints(rest: Float[Tensor, "22 3"], frames: Frames) -> Float[Tensor, "*B 22 3"]:
    """Joints in the world, metres."""
    q = pelvis_joints(rest, frames.R)
    return frames.pelvis[..., None, :] + q @ frames.R[..., 0, :, :].mT


def step_between(before: Frames, after: Frames) -> Float[Tensor, "*B 63"]:
    """The step that leads from one body to the next."""
    index = list(_ROOT_AND_TURNING)
    turns = so3.log(before.R[..., index, :, :].mT @ after.R[..., index, :, :])
    moved = (after.pelvis - before.pelvis)[..., None, :] @ before.R[..., 0, :, :]
    return torch.cat([moved[..., 0, :], turns.flatten(-2)], -1)


def stepped(before: Frames, step: Float[Tensor, "*B 63"]) -> Frames:
    """Make a step; joints that do not turn stay as they are."""
    turns = so3.exp(step[..., 3:].unflatten(-1, (-1, 3)))
    R = list(before.R.unbind(-3))
    for i, j in enumerate(_ROOT_AND_TURNING):
        R[j] = R[j] @ turns[..., i, :, :]
    moved = before.R[..., 0, :, :] @ step[..., :3, None]
    return Frames(torch.stack(R, -3), before.pelvis + moved[..., 0])


def state_of(rest: Float[Tensor, "22 3"], before: Frames, now: Frames) -> Float[Tensor, "*B F"]:
    """Encode two bodies, a frame apart."""
    R_root = now.R[..., 0, :, :]
    up = R_root[..., 2, :]
    to_pelvis = R_root.mT
    moved = (to_pelvis @ (now.pelvis - before.pelvis)[..., None])[..., 0]
    q, q_before = pelvis_joints(rest, now.R), pelvis_joints(rest, before.R)
    q, q_before = q[..., 1:, :], q_before[..., 1:, :]
    turned = to_pelvis @ before.R[..., 0, :, :]
    joint_moved = q + moved[..., None, :] - q_before @ turned.mT
    turns = step_between(before, now)[..., 3:] * FPS
    height = now.pelvis[..., 2:]
    parts = {
        "height": height,
        "up": up,
        "root_velocity": moved * FPS,
        "root_rate": turns[..., :3],
        "rotations": now.R[..., list(TURNING), :, :2].mT.flatten(-3),
        "rates": turns[..., 3:],
        "joints": q.flatten(-2),
        "joint_velocities": joint_moved.flatten(-2) * FPS,
        "joint_heights": height + (q @ up[..., None])[..., 0],
    }
    return torch.cat([parts[name] for name in STATE], -1)
