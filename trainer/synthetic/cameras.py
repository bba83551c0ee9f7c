"""Cameras as people use them: where they stand, where they look, how large their images are."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.types import JOINT_NAMES
from trainer.model import quaternions as quat

_AIM = [JOINT_NAMES.index(name) for name in ("pelvis", "spine2", "neck", "head")]


@dataclass(frozen=True)
class CameraKind:
    """One way in which people use cameras."""

    name: str
    share: float
    distance_m: tuple[float, float]
    """Range of the distance of what the camera aims at; uniform in the logarithm."""
    down_deg: tuple[float, float]
    """Mean and standard deviation of the angle by which it looks down."""
    roll_deg: float
    """Standard deviation of its roll."""
    aim: tuple[float, float, float, float]
    """Shares of cameras aimed at the pelvis, the chest, the neck, the head."""
    offset: tuple[float, float]
    """Standard deviation of where that lies in the image, in widths and heights of the image."""
    whole: float
    """Share of cameras that stand far enough for the whole person to fit."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height, px; each as often as it is named."""
    seated: float
    """Share of people drawn from the seated poses."""


_WIDE = ((1280, 720), (640, 480))
_TALL = ((1080, 1920), (720, 1280), (720, 720))
CAMERAS = (
    CameraKind(
        name="desk",
        share=0.22,
        distance_m=(0.4, 1.3),
        down_deg=(3, 12),
        roll_deg=4,
        aim=(0.0, 0.3, 0.4, 0.3),
        offset=(0.12, 0.14),
        whole=0.0,
        sizes=_WIDE,
        seated=0.6,
    ),
    CameraKind(
        name="phone",
        share=0.33,
        distance_m=(1.2, 6.0),
        down_deg=(5, 10),
        roll_deg=4,
        aim=(0.7, 0.2, 0.1, 0.0),
        offset=(0.18, 0.12),
        whole=0.75,
        sizes=_TALL + _WIDE,
        seated=0.1,
    ),
    CameraKind(
        name="room",
        share=0.25,
        distance_m=(1.5, 8.0),
        down_deg=(8, 10),
        roll_deg=4,
        aim=(0.8, 0.2, 0.0, 0.0),
        offset=(0.25, 0.15),
        whole=0.8,
        sizes=_WIDE,
        seated=0.15,
    ),
    CameraKind(
        name="wall or ceiling",
        share=0.1,
        distance_m=(1.8, 7.0),
        down_deg=(35, 15),
        roll_deg=6,
        aim=(0.8, 0.2, 0.0, 0.0),
        offset=(0.2, 0.2),
        whole=0.7,
        sizes=_WIDE,
        seated=0.25,
    ),
    CameraKind(
        name="hand",
        share=0.1,
        distance_m=(0.6, 5.0),
        down_deg=(0, 25),
        roll_deg=25,
        aim=(0.4, 0.3, 0.2, 0.1),
        offset=(0.2, 0.2),
        whole=0.3,
        sizes=_TALL + _WIDE,
        seated=0.2,
    ),
)
_DESK = 0
_SIZES = 60
"""A multiple of every number of sizes."""
_ROLLED = 0.04
"""Share of cameras whose roll is 12 times as large."""


class Cameras(NamedTuple):
    """What is to be drawn for each image, a column each; fields as in `CameraKind`."""

    distance_m: Float[Tensor, "2 N"]
    down_deg: Float[Tensor, "2 N"]
    roll_deg: Float[Tensor, "N"]
    aim: Float[Tensor, "4 N"]
    offset: Float[Tensor, "2 N"]
    whole: Float[Tensor, "N"]
    size: Float[Tensor, "2 N"]
    """Width and height, px."""
    seated: Bool[Tensor, "N"]
    desk: Bool[Tensor, "N"]

    @classmethod
    def draw(cls, count: int, rng: torch.Generator) -> "Cameras":
        """Draw kinds by their shares."""
        shares = torch.tensor([kind.share for kind in CAMERAS])
        which = torch.multinomial(shares, count, replacement=True, generator=rng)

        def column(name: str) -> Tensor:
            values = torch.tensor([getattr(kind, name) for kind in CAMERAS], dtype=torch.float32)
            return values[which].movedim(0, -1)

        sizes = torch.tensor(
            [[kind.sizes[i % len(kind.sizes)] for i in range(_SIZES)] for kind in CAMERAS]
        ).float()
        size = sizes[which, torch.randint(_SIZES, (count,), generator=rng)].T
        seated = torch.rand(count, generator=rng) < column("seated")
        return cls(
            distance_m=column("distance_m"),
            down_deg=column("down_deg"),
            roll_deg=column("roll_deg"),
            aim=column("aim"),
            offset=column("offset"),
            whole=column("whole"),
            size=size,
            seated=seated,
            desk=which == _DESK,
        )

    def orientation(self, rng: torch.Generator) -> Float[Tensor, "4 N"]:
        """Draw rotations to the camera frame from a world (y up) that is turned at random."""
        count = len(self.roll_deg)
        yaw = 2 * math.pi * torch.rand(count, generator=rng)
        angle = self.down_deg[0] + self.down_deg[1] * torch.randn(count, generator=rng)
        down = torch.deg2rad(angle).clamp(-1.2, 1.45)
        wide = torch.where(torch.rand(count, generator=rng) < _ROLLED, 12.0, 1.0)
        roll = torch.deg2rad(self.roll_deg * wide * torch.randn(count, generator=rng))
        y_down = quat.about_axis(0, torch.full_like(yaw, math.pi))
        turned = quat.multiply(y_down, quat.about_axis(1, yaw))
        pitched = quat.multiply(quat.about_axis(0, down), turned)
        return quat.multiply(quat.about_axis(2, roll), pitched)

    def focal(self, fov_deg: tuple[float, float], rng: torch.Generator) -> Float[Tensor, "N"]:
        """Draw focal lengths (px) from a range of the field of view along the longer side."""
        low, high = fov_deg
        fov = torch.deg2rad(low + (high - low) * torch.rand(len(self.roll_deg), generator=rng))
        return self.size.amax(0) / (2 * torch.tan(fov / 2))

    def place(
        self, joints: Float[Tensor, "24 3 N"], focal: Float[Tensor, "N"], rng: torch.Generator
    ) -> Float[Tensor, "3 N"]:
        """Draw where the pelvis is, camera frame, metres.

        Args:
            joints: relative to the pelvis, camera axes.
            focal: px.
            rng: random numbers.
        """
        count = len(focal)
        near, far = self.distance_m.log()
        z = (near + (far - near) * torch.rand(count, generator=rng)).exp()
        aim = torch.multinomial(self.aim.T, 1, generator=rng)[:, 0]
        target = joints[_AIM][aim, :, torch.arange(count)].T
        whole = torch.rand(count, generator=rng) < self.whole
        reach = (joints[:, :2] - target[:2]).abs().amax(0)
        needed = (2.15 * reach * focal / self.size).amax(0)
        needed = needed * (1 + 0.3 * torch.rand(count, generator=rng))
        z = torch.where(whole, torch.maximum(z, needed), z)
        shift = self.offset * torch.randn(2, count, generator=rng)
        slack = (0.5 - reach * focal / z / self.size).clamp_min(0.0)
        within = torch.minimum(torch.maximum(shift, -slack), slack)  # who fits stays inside
        shift = torch.where(whole, within, shift)
        return torch.cat([shift * self.size / focal * z, z[None]]) - target
