"""Pairs without end: people in front of cameras, and what a landmark network says of them, made as
fast as they are used.

    python -m trainer.endless --poses runs/poses.npz        # prints how fast

No picture is painted: bodies are posed, projected and hidden behind flat things in numbers, and
`ErrorModel` says what the network would. All of it is batched, batch last, one core. Truth is in
the flow's own terms, as in `trainer.pairs.data`, with the orientation relative to the view itself
instead of to an anchor.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.body import BodyModel
from engines.features import observe_points
from engines.types import JOINT_NAMES, NUM_JOINTS, PARENTS
from trainer import landmark_sites as sites
from trainer import quaternions as quat
from trainer.command import start
from trainer.landmark_errors import HIDDEN, OUTSIDE, SEEN, ErrorConfig, ErrorModel
from trainer.mocap import mirror_pose
from trainer.model.kinematics import camera_from_pelvis, project
from trainer.motion.poses import Poses, Split
from trainer.pairs.data import Pairs


def _index(*names: str) -> list[int]:
    return [JOINT_NAMES.index(name) for name in names]


_UPPER = _index(
    *(
        name
        for name in JOINT_NAMES
        if any(k in name for k in ("neck", "head", "collar", "shoulder", "elbow", "wrist", "hand"))
    )
)
_LIMBS = _index(
    *(
        f"{side}_{k}"
        for k in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
        for side in ("left", "right")
    )
)
_AIM = _index("pelvis", "spine2", "neck", "head")
_CAPSULES = (
    ("pelvis", "neck", 0.11), ("neck", "head", 0.08),
    ("left_hip", "left_shoulder", 0.10), ("right_hip", "right_shoulder", 0.10),
    ("left_shoulder", "left_elbow", 0.045), ("right_shoulder", "right_elbow", 0.045),
    ("left_elbow", "left_wrist", 0.038), ("right_elbow", "right_wrist", 0.038),
    ("left_hip", "left_knee", 0.075), ("right_hip", "right_knee", 0.075),
    ("left_knee", "left_ankle", 0.05), ("right_knee", "right_ankle", 0.05),
)  # fmt: skip
"""Bones that hide what is behind them: their ends and their radius, metres."""
_TESTED = _index(
    "head",
    *(
        f"{s}_{k}"
        for s in ("left", "right")
        for k in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ),
)
_TESTED_FOR = {"hand": "wrist", "foot": "ankle", "collar": "shoulder"}


@dataclass(frozen=True)
class CameraKind:
    """One way in which people use cameras: ranges are uniform unless said otherwise."""

    share: float
    distance_m: tuple[float, float]
    """Of what the camera aims at; uniform in the logarithm."""
    down_deg: tuple[float, float]
    """Mean and standard deviation of how far it looks down."""
    roll_deg: float
    aim: tuple[float, float, float, float]
    """How often it aims at the pelvis, the chest, the neck, the head."""
    off: tuple[float, float]
    """Standard deviation of where that lies in the picture, in picture widths and heights."""
    whole: float
    """How often it stands so far that the whole person fits."""
    sizes: tuple[tuple[int, int], ...]
    seated: float = 0.0
    """How often a pose is drawn from the seated ones."""


_WIDE, _TALL = ((1280, 720), (640, 480)), ((1080, 1920), (720, 1280), (720, 720))
CAMERAS = (
    CameraKind(0.22, (0.4, 1.3), (3, 12), 4, (0.0, 0.3, 0.4, 0.3), (0.12, 0.14), 0.0, _WIDE, 0.6),
    CameraKind(
        0.33, (1.2, 6.0), (5, 10), 4, (0.7, 0.2, 0.1, 0.0), (0.18, 0.12), 0.75, _TALL + _WIDE, 0.1
    ),
    CameraKind(0.25, (1.5, 8.0), (8, 10), 4, (0.8, 0.2, 0.0, 0.0), (0.25, 0.15), 0.8, _WIDE, 0.15),
    CameraKind(0.10, (1.8, 7.0), (35, 15), 6, (0.8, 0.2, 0.0, 0.0), (0.2, 0.2), 0.7, _WIDE, 0.25),
    CameraKind(
        0.10, (0.6, 5.0), (0, 25), 25, (0.4, 0.3, 0.2, 0.1), (0.2, 0.2), 0.3, _TALL + _WIDE, 0.2
    ),
)
"""Desk webcam, phone, room, wall or ceiling, held in the hand."""


@dataclass(frozen=True)
class EndlessConfig:
    """How pairs are made."""

    turn_rad: float = 0.10
    """Standard deviation of a small turn of each body joint."""
    swap_upper: float = 0.2
    """How often arms and head come from another frame than the rest."""
    stretch: float = 0.05
    """Standard deviation of the log of a bone's length, the same left and right."""
    misplaced_m: tuple[float, float] = (0.018, 0.006)
    """Of where the network thinks a joint lies in the body: the same left and right, and each for
    itself.
    """
    fov_deg: tuple[float, float] = (40.0, 90.0)
    """Along the longer side."""
    things: tuple[float, float, float, float] = (0.70, 0.10, 0.13, 0.07)
    """How often nothing, a table edge, a box or a post stands in front."""
    errors: ErrorConfig = field(default_factory=ErrorConfig)


class Bank(NamedTuple):
    """Poses to draw from, straight and mirrored."""

    quaternions: Float[Tensor, "M 24 4"]
    cumulative: Float[Tensor, "M"]
    """Of the probabilities."""
    seated: Tensor
    """(S,) row numbers of poses with bent hips."""


def bank(poses: Path, split: Split) -> Bank:
    """The poses of a split, their clips weighed by the root of their length, rare kinds of poses
    more often.

    Seated and crouching poses count five times, raised hands and tilted trunks 2.5 times.
    """
    rotvec, clip = Poses.load(poses).of(split)
    _, which, length = np.unique(clip, return_inverse=True, return_counts=True)
    seated, reaching = _kinds(rotvec)
    weight = length[which] ** -0.5 * (1 + 4.0 * seated + 1.5 * reaching)
    both = np.concatenate([rotvec, mirror_pose(rotvec)])
    q = (
        quat.exp(torch.tensor(both, dtype=torch.float32).permute(2, 0, 1))
        .permute(1, 2, 0)
        .contiguous()
    )
    cumulative = torch.tensor(np.concatenate([weight, weight])).cumsum(0)
    rows = torch.tensor(np.flatnonzero(np.concatenate([seated, seated])))
    return Bank(q, (cumulative / cumulative[-1]).float(), rows)


def _kinds(
    rotvec: Float[np.ndarray, "N 24 3"],
) -> tuple[Bool[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
    """Who sits or crouches (both hips bent over 50 degrees); who reaches up or leans far over."""
    from engines.body import joints_only

    joints = joints_only(
        BodyModel.load(), rotvec, np.zeros((len(rotvec), 10)), np.zeros((len(rotvec), 3))
    )
    at = {name: joints[:, i] for i, name in enumerate(JOINT_NAMES)}

    def unit(v: np.ndarray) -> np.ndarray:
        return v / np.linalg.norm(v, axis=-1, keepdims=True)

    trunk = unit(at["neck"] - at["pelvis"])
    thigh = [unit(at[f"{side}_knee"] - at[f"{side}_hip"]) for side in ("left", "right")]
    bent = [(t * -trunk).sum(-1) < math.cos(math.radians(50)) for t in thigh]
    raised = np.maximum(at["left_wrist"][:, 1], at["right_wrist"][:, 1]) > at["head"][:, 1]
    return bent[0] & bent[1], raised | (trunk[:, 1] < math.cos(math.radians(40)))


class Endless:
    """A source of `Pairs`: the seed and the step decide what a batch holds."""

    def __init__(self, body: BodyModel, poses: Bank, config: EndlessConfig, seed: int = 0) -> None:
        self.config, self.seed, self._bank = config, seed, poses
        self._errors = ErrorModel(config.errors)
        self._template = torch.tensor(body.J_template)
        self._shapedirs = torch.tensor(body.J_shapedirs).flatten(0, 1)
        far = [2.0 if kind in ("face", "hand", "foot") else 1.0 for kind in sites.KIND]
        self._vague = torch.tensor(far)[:, None, None]
        self._offset = torch.tensor(sites.OFFSET_M, dtype=torch.float32)

    def batch(self, step: int, count: int) -> Pairs:
        """`count` fresh pairs; people too near or hardly in the picture are thrown away and made up
        for.
        """
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        made = self._draw(math.ceil(count * 1.2) + 8, chance)
        good = made.good.nonzero()[:, 0]
        if len(good) < count:
            good = good.repeat(math.ceil(count / max(len(good), 1)))
        return _encode(_Made(*(part[..., good[:count]] for part in made)))

    def _draw(self, count: int, chance: torch.Generator) -> "_Made":
        config = self.config
        kinds = _Kinds.draw(count, chance)
        q = self._poses(kinds.seated, chance)
        q[0] = quat.multiply(_camera_turn(kinds, chance), q[0])
        y = quat.log(q.permute(1, 0, 2)).permute(1, 0, 2)
        betas = torch.randn(10, count, generator=chance)
        rest = self._template[..., None] + (self._shapedirs @ betas).unflatten(0, (NUM_JOINTS, 3))
        world, joints = _forward(q, _stretched(rest, config.stretch, chance))
        focal, size = _lens(kinds, config, chance)
        pelvis = _place(kinds, joints, focal, size, chance)
        joints = joints + pelvis
        marks = self._marks(world, joints, chance)
        state, seen = _hidden(joints, marks, focal, size, kinds, config, chance)
        flat, half = _flat(marks), _half(_flat(joints))
        points, visibility, presence = self._errors(flat, state, half, chance)
        inside = _inside(points, focal, size)
        good = (joints[:, 2].amin(0) > 0.15) & (marks[:, 2].amin(0) > 0.12) & _worth_it(state)
        return _Made(points, visibility, presence, inside, q[0], y, betas, joints, seen, good)

    def _poses(self, seated: Bool[Tensor, "N"], chance: torch.Generator) -> Float[Tensor, "24 4 N"]:
        count, config = len(seated), self.config
        rows = self._rows(count, chance)
        which = torch.randint(len(self._bank.seated), (count,), generator=chance)
        rows = torch.where(seated, self._bank.seated[which], rows)
        q = self._bank.quaternions[rows].permute(1, 2, 0).contiguous()
        other = torch.rand(count, generator=chance) < config.swap_upper
        rows2 = self._rows(int(other.sum()), chance)
        for joint in _UPPER:
            q[joint][:, other] = self._bank.quaternions[rows2, joint].T
        turn = config.turn_rad * torch.randn(3, NUM_JOINTS, count, generator=chance)
        turn[:, 0] = 0.0
        return quat.multiply(q.permute(1, 0, 2), quat.exp(turn)).permute(1, 0, 2).contiguous()

    def _rows(self, count: int, chance: torch.Generator) -> Tensor:
        dice = torch.rand(count, generator=chance)
        return torch.searchsorted(self._bank.cumulative, dice).clamp_max(
            len(self._bank.cumulative) - 1
        )

    def _marks(
        self,
        world: Float[Tensor, "24 4 N"],
        joints: Float[Tensor, "24 3 N"],
        chance: torch.Generator,
    ) -> Float[Tensor, "33 3 N"]:
        """The places that the network looks for, each where this picture's network thinks it is in
        the body.
        """
        both, own = self.config.misplaced_m
        count = joints.shape[-1]
        shared = both * self._vague * torch.randn(33, 3, count, generator=chance)
        for left, right in _PAIRS_OF_SIDES:
            shared[right] = shared[left]
            shared[right, 0] = -shared[left, 0]
        offset = (
            self._offset[..., None] + shared + own * torch.randn(33, 3, count, generator=chance)
        )
        turned = quat.rotate(world[sites.BONE].permute(1, 0, 2), offset.permute(1, 0, 2)).permute(
            1, 0, 2
        )
        return joints[sites.JOINT] + turned


class _Made(NamedTuple):
    """A batch before it is put into the view, batch last."""

    points: Float[Tensor, "33 2 N"]
    visibility: Float[Tensor, "33 N"]
    presence: Float[Tensor, "33 N"]
    inside: Bool[Tensor, "33 N"]
    root: Float[Tensor, "4 N"]
    y: Float[Tensor, "24 3 N"]
    betas: Float[Tensor, "10 N"]
    joints: Float[Tensor, "24 3 N"]
    seen: Bool[Tensor, "24 N"]
    good: Bool[Tensor, "N"]


class _Kinds(NamedTuple):
    """Which kind of camera each picture has, as columns of numbers."""

    distance: Float[Tensor, "2 N"]
    down: Float[Tensor, "2 N"]
    roll: Float[Tensor, "N"]
    aim: Float[Tensor, "4 N"]
    off: Float[Tensor, "2 N"]
    whole: Float[Tensor, "N"]
    size: Float[Tensor, "2 N"]
    seated: Bool[Tensor, "N"]
    desk: Bool[Tensor, "N"]

    @classmethod
    def draw(cls, count: int, chance: torch.Generator) -> "_Kinds":
        shares = torch.tensor([kind.share for kind in CAMERAS])
        which = torch.multinomial(shares, count, replacement=True, generator=chance)

        def column(name: str) -> Tensor:
            return torch.tensor([getattr(kind, name) for kind in CAMERAS], dtype=torch.float32)[
                which
            ].movedim(0, -1)

        sizes = torch.tensor(
            [[kind.sizes[i % len(kind.sizes)] for i in range(60)] for kind in CAMERAS]
        ).float()
        size = sizes[which, torch.randint(60, (count,), generator=chance)].T
        seated = torch.rand(count, generator=chance) < column("seated")
        named = (
            column(name) for name in ("distance_m", "down_deg", "roll_deg", "aim", "off", "whole")
        )
        return cls(*named, size, seated, which == 0)


_PAIRS_OF_SIDES = [(1, 4), (2, 5), (3, 6), (7, 8), (9, 10), *((i, i + 1) for i in range(11, 33, 2))]


def _camera_turn(kinds: _Kinds, chance: torch.Generator) -> Float[Tensor, "4 N"]:
    """A y-up world turned about its axis, then seen by a camera that looks down and rolls."""
    count = len(kinds.roll)
    yaw = 2 * math.pi * torch.rand(count, generator=chance)
    down = torch.deg2rad(
        kinds.down[0] + kinds.down[1] * torch.randn(count, generator=chance)
    ).clamp(-1.2, 1.45)
    wide = torch.where(torch.rand(count, generator=chance) < 0.04, 12.0, 1.0)
    roll = torch.deg2rad(kinds.roll * wide * torch.randn(count, generator=chance))
    turned = quat.multiply(quat.flip_x(yaw), quat.about(1, yaw))
    return quat.multiply(quat.about(2, roll), quat.multiply(quat.about(0, down), turned))


def _stretched(
    rest: Float[Tensor, "24 3 N"], std: float, chance: torch.Generator
) -> Float[Tensor, "24 3 N"]:
    """Offsets of joints from their parents, metres, bones as long as they differ between people."""
    scale = (std * torch.randn(NUM_JOINTS, 1, rest.shape[-1], generator=chance)).exp()
    for joint, name in enumerate(JOINT_NAMES):
        if name.startswith("right"):
            scale[joint] = scale[JOINT_NAMES.index(name.replace("right", "left"))]
    offsets = rest - rest[list((0, *PARENTS[1:]))]
    return offsets * scale


def _forward(
    q: Float[Tensor, "24 4 N"], offsets: Float[Tensor, "24 3 N"]
) -> tuple[Float[Tensor, "24 4 N"], Float[Tensor, "24 3 N"]]:
    """World rotations, and joints relative to the pelvis."""
    world, joints = [q[0]], [torch.zeros_like(offsets[0])]
    for k in range(1, NUM_JOINTS):
        parent = PARENTS[k]
        joints.append(joints[parent] + quat.rotate(world[parent], offsets[k]))
        world.append(quat.multiply(world[parent], q[k]))
    return torch.stack(world), torch.stack(joints)


def _lens(
    kinds: _Kinds, config: EndlessConfig, chance: torch.Generator
) -> tuple[Float[Tensor, "N"], Float[Tensor, "2 N"]]:
    """Focal length and size, px."""
    low, high = config.fov_deg
    fov = torch.deg2rad(low + (high - low) * torch.rand(len(kinds.roll), generator=chance))
    return kinds.size.amax(0) / (2 * torch.tan(fov / 2)), kinds.size


def _place(
    kinds: _Kinds,
    joints: Float[Tensor, "24 3 N"],
    focal: Float[Tensor, "N"],
    size: Float[Tensor, "2 N"],
    chance: torch.Generator,
) -> Float[Tensor, "3 N"]:
    """Where the pelvis is (m): what the camera aims at lies about the picture's middle."""
    count = len(focal)
    near, far = kinds.distance.log()
    z = (near + (far - near) * torch.rand(count, generator=chance)).exp()
    aim = torch.multinomial(kinds.aim.T, 1, generator=chance)[:, 0]
    target = joints[_AIM][aim, :, torch.arange(count)].T
    whole = torch.rand(count, generator=chance) < kinds.whole
    reach = (joints[:, :2] - target[:2]).abs().amax(0)  # (2, N)
    needed = (2.15 * reach * focal / size).amax(0) * (1 + 0.3 * torch.rand(count, generator=chance))
    z = torch.where(whole, torch.maximum(z, needed), z)
    shift = kinds.off * torch.randn(2, count, generator=chance)
    slack = (0.5 - reach * focal / z / size).clamp_min(0.0)  # a person who fits stays inside
    shift = torch.where(whole, torch.minimum(torch.maximum(shift, -slack), slack), shift)
    where = torch.cat([shift * size / focal * z, z[None]])
    return where - target


def _flat(points: Float[Tensor, "J 3 N"]) -> Float[Tensor, "J 2 N"]:
    """Onto the plane z = 1; nearer than 10 cm counts as 10 cm."""
    return points[:, :2] / points[:, 2:].clamp_min(0.1)


def _half(flat: Float[Tensor, "24 2 N"]) -> Float[Tensor, "N"]:
    """Half the person's size on the plane z = 1, nearly as `engines.features` has it."""
    limbs = flat[_LIMBS]
    torso = flat[_index("left_hip", "right_hip", "left_shoulder", "right_shoulder")].mean(0)
    return 2.0 * (limbs - torso).square().sum(1).mean(0).sqrt() + 1e-6


def _inside(
    flat: Float[Tensor, "J 2 N"], focal: Float[Tensor, "N"], size: Float[Tensor, "2 N"]
) -> Bool[Tensor, "J N"]:
    return ((flat * focal).abs() < size / 2).all(1)


def _hidden(
    joints: Float[Tensor, "24 3 N"],
    marks: Float[Tensor, "33 3 N"],
    focal: Float[Tensor, "N"],
    size: Float[Tensor, "2 N"],
    kinds: _Kinds,
    config: EndlessConfig,
    chance: torch.Generator,
) -> tuple[Tensor, Bool[Tensor, "24 N"]]:
    """The state of each landmark (33, N), and which joints are seen."""
    flat_joints, flat_marks = _flat(joints), _flat(marks)
    half = _half(flat_joints)
    behind = _self_hidden(joints, flat_joints)
    things = [
        _Thing.draw(flat_marks, half, kinds, config, chance, first) for first in (True, False)
    ]
    hidden_joints, hidden_marks = behind, behind[sites.JOINT].clone()
    hidden_marks[:11] = False  # the face hides from behind, and the network knows
    for thing in things:
        hidden_joints = hidden_joints | thing.covers(flat_joints)
        hidden_marks = hidden_marks | thing.covers(flat_marks)
    outside = ~_inside(flat_marks, focal, size)
    state = torch.where(outside, OUTSIDE, torch.where(hidden_marks, HIDDEN, SEEN))
    return state, ~hidden_joints & _inside(flat_joints, focal, size)


def _self_hidden(
    joints: Float[Tensor, "24 3 N"], flat: Float[Tensor, "24 2 N"]
) -> Bool[Tensor, "24 N"]:
    """Which joints lie behind another bone of the body."""
    hidden = torch.zeros(NUM_JOINTS, joints.shape[-1], dtype=torch.bool)
    point, depth = flat[_TESTED], joints[_TESTED, 2]
    for first, last, radius in _CAPSULES:
        a, b = _index(first, last)
        start, along = flat[a], flat[b] - flat[a]
        t = ((point - start) * along).sum(1) / along.square().sum(0).clamp_min(1e-8)
        t = t.clamp(0.0, 1.0)
        z = joints[a, 2] + t * (joints[b, 2] - joints[a, 2])
        away = (point - start - t[:, None] * along).square().sum(1)
        covered = (away < (radius / z).square()) & (depth > z + radius)
        for row, joint in enumerate(_TESTED):
            if joint not in (a, b) and JOINT_NAMES[joint].split("_")[-1] not in _touching(
                first, last, joint
            ):
                hidden[joint] |= covered[row]
    for far, near in _TESTED_FOR.items():
        for joint, name in enumerate(JOINT_NAMES):
            if name.endswith(f"_{far}"):
                hidden[joint] = hidden[JOINT_NAMES.index(name.replace(far, near))]
    return hidden


def _touching(first: str, last: str, joint: int) -> tuple[str, ...]:
    """The ends of the trunk's bones do not hide one another."""
    return (
        ("hip", "shoulder", "head") if first.endswith("hip") and last.endswith("shoulder") else ()
    )


class _Thing(NamedTuple):
    """A flat rectangle in front of the person, one a picture; of no size where there is none."""

    center: Float[Tensor, "2 N"]
    extent: Float[Tensor, "2 N"]
    """Half its sides."""
    turn: Float[Tensor, "2 N"]
    """Cosine and sine."""

    @classmethod
    def draw(
        cls,
        marks: Float[Tensor, "33 2 N"],
        half: Float[Tensor, "N"],
        kinds: _Kinds,
        config: EndlessConfig,
        chance: torch.Generator,
        first: bool,
    ) -> "_Thing":
        count = len(half)
        shares = torch.tensor(config.things if first else (0.85, 0.0, 0.12, 0.03))
        kind = torch.multinomial(shares, count, replacement=True, generator=chance)
        if first:
            at_desk = kinds.desk & (torch.rand(count, generator=chance) < 0.4)
            kind = torch.where(at_desk, 1, kind)
        landmark = torch.randint(33, (count,), generator=chance)
        center = marks[landmark, :, torch.arange(count)].T + 0.12 * half * torch.randn(
            2, count, generator=chance
        )
        dice = torch.rand(2, count, generator=chance)
        box, post = 0.06 + 0.44 * dice, torch.stack([0.05 + 0.18 * dice[0], 8.0 + 0 * dice[1]])
        table = torch.full_like(box, 6.0)
        zero = torch.zeros_like(box)
        extent = half * torch.stack([zero, table, box, post])[kind, :, torch.arange(count)].T
        free = math.pi * torch.rand(count, generator=chance)
        tilt = 0.08 * torch.randn(count, generator=chance)
        angle = torch.where(kind == 2, free, tilt)
        center = center + torch.where(kind == 1, extent[1], 0.0) * torch.stack(
            [-angle.sin(), angle.cos()]
        )
        return cls(center, extent, torch.stack([angle.cos(), angle.sin()]))

    def covers(self, flat: Float[Tensor, "J 2 N"]) -> Bool[Tensor, "J N"]:
        """Which points lie behind it."""
        x, y = (flat - self.center).unbind(1)
        cos, sin = self.turn
        return ((cos * x + sin * y).abs() < self.extent[0]) & (
            (cos * y - sin * x).abs() < self.extent[1]
        )


def _worth_it(state: Tensor) -> Bool[Tensor, "N"]:
    """Whether a detector would find somebody: enough of face, shoulders and limbs is seen."""
    seen = state == SEEN
    return (seen[[0, 11, 12, 23, 24]].sum(0) >= 2) & (seen[11:17].sum(0) + seen[23:29].sum(0) >= 3)


def _encode(made: _Made) -> Pairs:
    """The network's words as features, the truth in the view that they define."""

    def rows(part: Tensor) -> np.ndarray:
        return part.movedim(-1, 0).contiguous().numpy()

    features, view = observe_points(
        *(rows(part) for part in (made.points, made.inside, made.visibility, made.presence))
    )
    R_cam_view, half = (
        torch.tensor(part, dtype=torch.float32) for part in (view.R_cam_view, view.half)
    )
    joints = made.joints.permute(2, 0, 1) @ R_cam_view
    to_view = quat.from_matrix(R_cam_view.permute(2, 1, 0))  # its transpose, batch last
    y = made.y.permute(2, 0, 1).contiguous()
    y[:, 0] = quat.log(quat.multiply(to_view, made.root)).T
    count = len(half)
    return Pairs(
        features=torch.from_numpy(features),
        map=torch.zeros(count, 0),
        R_anchor=torch.eye(3).expand(count, 3, 3),
        half=half,
        crop_from_view=torch.eye(3).expand(count, 3, 3),
        y=y,
        betas=made.betas.T.contiguous(),
        camera=camera_from_pelvis(joints[:, 0], half),
        joints=joints,
        target=project(joints[:, None], half)[:, 0],
        visible=made.seen.T.float(),
    )


@dataclass(frozen=True)
class SpeedConfig:
    """Measure how fast pairs are made."""

    poses: Path = Path("runs/poses.npz")
    batch: int = 4096
    batches: int = 20


def main(config: SpeedConfig) -> None:
    """Print pairs a second on one core."""
    torch.set_num_threads(1)
    source = Endless(BodyModel.load(), bank(config.poses, "train"), EndlessConfig())
    source.batch(0, config.batch)
    began = time.perf_counter()
    for step in range(config.batches):
        source.batch(step, config.batch)
    rate = config.batch * config.batches / (time.perf_counter() - began)
    print(f"{rate:.0f} pairs a second on one core")


if __name__ == "__main__":
    start(main, SpeedConfig)
