"""What a camera cannot see of a body: behind other limbs, behind occluders, outside the image."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engines.types import JOINT_NAMES, NUM_JOINTS
from trainer.synthetic import landmark_sites as sites
from trainer.synthetic.cameras import Cameras
from trainer.synthetic.projection import half_size_of, inside, to_plane

VISIBLE, OCCLUDED, OUTSIDE = 0, 1, 2
"""States of a landmark."""
_CAPSULES = (
    ("pelvis", "neck", 0.11), ("neck", "head", 0.08),
    ("left_hip", "left_shoulder", 0.10), ("right_hip", "right_shoulder", 0.10),
    ("left_shoulder", "left_elbow", 0.045), ("right_shoulder", "right_elbow", 0.045),
    ("left_elbow", "left_wrist", 0.038), ("right_elbow", "right_wrist", 0.038),
    ("left_hip", "left_knee", 0.075), ("right_hip", "right_knee", 0.075),
    ("left_knee", "left_ankle", 0.05), ("right_knee", "right_ankle", 0.05),
)  # fmt: skip
"""Parts of the body that occlude what is behind them: their ends and their radius, metres."""
_TESTED_NAMES = (
    "head",
    *(
        f"{side}_{name}"
        for side in ("left", "right")
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ),
)
_TESTED = [JOINT_NAMES.index(name) for name in _TESTED_NAMES]
_TESTED_FOR = {"hand": "wrist", "foot": "ankle", "collar": "shoulder"}
"""Joints that are occluded when their neighbour is."""
_FACE = slice(0, 11)
_FURTHER = (0.85, 0.0, 0.12, 0.03)
"""Shares of a second occluder's kinds."""
_NONE, _TABLE, _BOX, _POST = range(4)
_TABLE_AT_DESK = 0.4


class Visibility(NamedTuple):
    """What the camera sees of landmarks and joints."""

    landmarks: Int[Tensor, "33 N"]
    """`VISIBLE`, `OCCLUDED` or `OUTSIDE`."""
    joints: Bool[Tensor, "24 N"]
    """Whether the joint is visible."""


class Occluders(NamedTuple):
    """A flat rectangle in front of the person, one per image; of no size where there is none."""

    center: Float[Tensor, "2 N"]
    """On the plane z = 1."""
    extent: Float[Tensor, "2 N"]
    """Half its sides."""
    turn: Float[Tensor, "2 N"]
    """Cosine and sine of its rotation in the image."""

    @classmethod
    def draw(
        cls,
        marks: Float[Tensor, "33 2 N"],
        half_size: Float[Tensor, "N"],
        shares: tuple[float, float, float, float],
        at_desk: Bool[Tensor, "N"] | None,
        rng: torch.Generator,
    ) -> "Occluders":
        """Draw one occluder near a landmark of each person.

        Args:
            marks: landmarks on the plane z = 1.
            half_size: of the persons.
            shares: of nothing, a table's edge, a box, a post.
            at_desk: where tables are more frequent; None for nowhere.
            rng: random numbers.
        """
        count = len(half_size)
        kind = torch.multinomial(torch.tensor(shares), count, replacement=True, generator=rng)
        if at_desk is not None:
            desk = at_desk & (torch.rand(count, generator=rng) < _TABLE_AT_DESK)
            kind = torch.where(desk, _TABLE, kind)
        landmark = torch.randint(len(marks), (count,), generator=rng)
        near = 0.12 * half_size * torch.randn(2, count, generator=rng)
        center = marks[landmark, :, torch.arange(count)].T + near
        extent = half_size * _extent(kind, torch.rand(2, count, generator=rng))
        free = math.pi * torch.rand(count, generator=rng)
        tilt = 0.08 * torch.randn(count, generator=rng)
        angle = torch.where(kind == _BOX, free, tilt)
        # A table's edge lies at the landmark, and the table below it.
        below = torch.where(kind == _TABLE, extent[1], 0.0)
        center = center + below * torch.stack([-angle.sin(), angle.cos()])
        return cls(center, extent, torch.stack([angle.cos(), angle.sin()]))

    def cover(self, flat: Float[Tensor, "J 2 N"]) -> Bool[Tensor, "J N"]:
        """Tell which points lie behind it."""
        x, y = (flat - self.center).unbind(1)
        cos, sin = self.turn
        across = (cos * x + sin * y).abs() < self.extent[0]
        return across & ((cos * y - sin * x).abs() < self.extent[1])


def _extent(kind: Int[Tensor, "N"], uniform: Float[Tensor, "2 N"]) -> Float[Tensor, "2 N"]:
    """Half the sides of each kind, in half sizes of the person."""
    none = torch.zeros_like(uniform)
    table = torch.full_like(uniform, 6.0)
    box = 0.06 + 0.44 * uniform
    post = torch.stack([0.05 + 0.18 * uniform[0], torch.full_like(uniform[0], 8.0)])
    return torch.stack([none, table, box, post])[kind, :, torch.arange(len(kind))].T


def visibility_of(
    joints: Float[Tensor, "24 3 N"],
    marks: Float[Tensor, "33 3 N"],
    focal: Float[Tensor, "N"],
    cameras: Cameras,
    shares: tuple[float, float, float, float],
    rng: torch.Generator,
) -> Visibility:
    """Put up to two occluders in front of each person, and tell what is visible.

    Args:
        joints: camera frame, metres.
        marks: landmarks, the same.
        focal: px.
        cameras: with the images' sizes.
        shares: of the first occluder's kinds.
        rng: random numbers.
    """
    flat_joints, flat_marks = to_plane(joints), to_plane(marks)
    half_size = half_size_of(flat_joints)
    first = Occluders.draw(flat_marks, half_size, shares, cameras.desk, rng)
    second = Occluders.draw(flat_marks, half_size, _FURTHER, None, rng)
    by_body = self_occluded(joints, flat_joints)
    marks_by_body = by_body[sites.JOINT]
    marks_by_body[_FACE] = False  # it is occluded from behind, which the network notices
    joints_behind = by_body | first.cover(flat_joints) | second.cover(flat_joints)
    marks_behind = marks_by_body | first.cover(flat_marks) | second.cover(flat_marks)
    outside = ~inside(flat_marks, focal, cameras.size)
    state = torch.where(outside, OUTSIDE, torch.where(marks_behind, OCCLUDED, VISIBLE))
    return Visibility(state, ~joints_behind & inside(flat_joints, focal, cameras.size))


def self_occluded(
    joints: Float[Tensor, "24 3 N"], flat: Float[Tensor, "24 2 N"]
) -> Bool[Tensor, "24 N"]:
    """Tell which joints lie behind another part of the body.

    Args:
        joints: camera frame, metres.
        flat: the same on the plane z = 1.
    """
    occluded = torch.zeros(NUM_JOINTS, joints.shape[-1], dtype=torch.bool)
    point, depth = flat[_TESTED], joints[_TESTED, 2]
    for first, last, radius in _CAPSULES:
        a, b = JOINT_NAMES.index(first), JOINT_NAMES.index(last)
        start, along = flat[a], flat[b] - flat[a]
        t = ((point - start) * along).sum(1) / along.square().sum(0).clamp_min(1e-8)
        t = t.clamp(0.0, 1.0)
        z = joints[a, 2] + t * (joints[b, 2] - joints[a, 2])
        away = (point - start - t[:, None] * along).square().sum(1)
        covered = (away < (radius / z).square()) & (depth > z + radius)
        for row, joint in enumerate(_TESTED):
            if not _touches(first, last, JOINT_NAMES[joint]):
                occluded[joint] |= covered[row]
    for joint, name in enumerate(JOINT_NAMES):
        for word, neighbour in _TESTED_FOR.items():
            if name.endswith(f"_{word}"):
                occluded[joint] = occluded[JOINT_NAMES.index(name.replace(word, neighbour))]
    return occluded


def _touches(first: str, last: str, joint: str) -> bool:
    """Tell whether a joint belongs to a part of the body, which then cannot occlude it.

    The sides of the trunk touch hips, shoulders and head.
    """
    trunk = first.endswith("hip") and last.endswith("shoulder")
    own = joint in (first, last)
    return own or (trunk and joint.split("_")[-1] in ("hip", "shoulder", "head"))
