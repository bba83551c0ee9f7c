"""BodySamples in the view: what every method draws, in torch.

Rotations are relative: row 0 to the torso's axes guessed by the landmark network
(`engines.flow.features.VirtualCamera`), rows 1..23 are SMPL's `body_pose`. The camera numbers place
the pelvis in the view: (x, y) in units of `VirtualCamera.half_size`, and the log of its distance
relative to `REACH_M / half_size`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engines.types import NUM_JOINTS
from trainer.model import so3

ROT6D_DIM = 6 * NUM_JOINTS
BODY_DIM = ROT6D_DIM + 10 + 3
"""Length of a body as plain numbers: 24 rotations in 6D, betas, camera."""


class BodySamples(NamedTuple):
    """S bodies for each of B images."""

    rotvec: Float[Tensor, "B S 24 3"]
    """Rotation vectors: row 0 relative to the anchor."""
    betas: Float[Tensor, "B S 10"]
    camera: Float[Tensor, "B S 3"]

    def at(self, index: int | slice) -> "BodySamples":
        """Select bodies by number, the same of each image."""
        chosen = slice(index, index + 1) if isinstance(index, int) else index
        return BodySamples(*(part[:, chosen] for part in self))

    def pick(self, index: Int[Tensor, "B N"]) -> "BodySamples":
        """Select N bodies of each image by number."""
        rows = torch.arange(len(index), device=index.device)[:, None]
        return BodySamples(*(part[rows, index] for part in self))


def rotmat_from_6d(rot6d: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 3 3"]:
    """Gram-Schmidt on two columns (Zhou et al., On the Continuity of Rotation Representations,
    2019).
    """
    a, b = rot6d[..., :3], rot6d[..., 3:]
    x = torch.nn.functional.normalize(a, dim=-1)
    y = torch.nn.functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def bodies_from_vector(numbers: Float[Tensor, "B S 157"]) -> BodySamples:
    """Read plain numbers, as regressors give them; the camera's distance is kept within a
    factor of 20.
    """
    rot6d = numbers[..., :ROT6D_DIM].unflatten(-1, (NUM_JOINTS, 6))
    camera = numbers[..., ROT6D_DIM + 10 :]
    camera = torch.cat([camera[..., :2], 3.0 * torch.tanh(camera[..., 2:] / 3.0)], -1)
    return BodySamples(
        so3.log(rotmat_from_6d(rot6d)), numbers[..., ROT6D_DIM : ROT6D_DIM + 10], camera
    )


def vector_from_bodies(bodies: BodySamples) -> Float[Tensor, "B S 157"]:
    """The inverse of `bodies_from_vector`."""
    R = so3.exp(bodies.rotvec)
    rot6d = torch.cat([R[..., 0], R[..., 1]], -1).flatten(-2)
    far = 3.0 * torch.atanh((bodies.camera[..., 2:] / 3.0).clamp(-0.999, 0.999))
    return torch.cat([rot6d, bodies.betas, bodies.camera[..., :2], far], -1)
