"""A source of synthetic samples that never ends: a batch is a function of the seed and the step."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engines.body import BodyModel
from engines.flow.features import landmark_features_2d
from trainer.data.augment import MIRRORED_LANDMARKS
from trainer.data.samples import Batch
from trainer.model import quaternions as quat
from trainer.model.kinematics import camera_from_pelvis, project
from trainer.synthetic import landmark_sites as sites
from trainer.synthetic.config import SyntheticConfig
from trainer.synthetic.landmark_bank import LandmarkBank
from trainer.synthetic.landmark_errors import ErrorModel
from trainer.synthetic.occlusion import VISIBLE, visibility_of
from trainer.synthetic.people import PeopleSource
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.projection import half_size_of, inside, to_plane

_SURPLUS = 1.4
"""More samples are drawn than asked for: a quarter, of whom hardly anything is in the image, are
discarded.
"""
_NEAREST_JOINT_M, _NEAREST_LANDMARK_M = 0.15, 0.12
_VAGUE = ("face", "hand", "foot")
"""Landmarks that the network misplaces twice as far as those on joints."""
_SIDES = [(left, right) for left, right in enumerate(MIRRORED_LANDMARKS) if left < right]
_CROP_PX = 256


class SyntheticSource:
    """Makes batches of people in front of cameras."""

    def __init__(
        self,
        body: BodyModel,
        poses: PoseBank,
        config: SyntheticConfig,
        seed: int = 0,
        bank: LandmarkBank | None = None,
    ) -> None:
        """Prepare the tables; two sources of the same arguments make the same batches.

        Args:
            body: of the people.
            poses: to draw from.
            config: of bodies, cameras, occluders and errors.
            seed: of the samples.
            bank: what the landmark network really returned.
        """
        self.config, self.seed = config, seed
        self._people = PeopleSource(body, poses, config.people)
        self._errors = ErrorModel(config.errors, bank)
        vague = [2.0 if kind in _VAGUE else 1.0 for kind in sites.KIND]
        self._vague = torch.tensor(vague)[:, None, None]
        self._offset = torch.tensor(sites.OFFSET_M, dtype=torch.float32)[..., None]

    def batch(self, step: int, count: int) -> Batch:
        """Make `count` samples; `features` are `landmarks_2d`, `R_anchor` is the identity."""
        return _encode(self.people(step, count))

    def people(self, step: int, count: int) -> "SyntheticPeople":
        """Make the people of `batch(step, count)`: such whom a detector would find."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        found: list[SyntheticPeople] = []
        while (missing := count - sum(part.good.shape[-1] for part in found)) > 0:
            people = self._draw(math.ceil(missing * _SURPLUS) + 8, rng)
            good = people.good.nonzero()[:missing, 0]
            found.append(SyntheticPeople(*(part[..., good] for part in people)))
        return SyntheticPeople(*(torch.cat(parts, -1) for parts in zip(*found, strict=True)))

    def _draw(self, count: int, rng: torch.Generator) -> "SyntheticPeople":
        people = self._people.draw(count, rng)
        joints, focal, cameras = people.joints, people.focal, people.cameras
        marks = self._landmarks(people.bones, joints, rng)
        visibility = visibility_of(joints, marks, focal, cameras, self.config.occluders, rng)
        flat, half_size = to_plane(marks), half_size_of(to_plane(joints))
        found = self._errors(flat, visibility.landmarks, half_size, rng)
        near = (joints[:, 2].amin(0) <= _NEAREST_JOINT_M) | (
            marks[:, 2].amin(0) <= _NEAREST_LANDMARK_M
        )
        return SyntheticPeople(
            *found,
            inside(found.points, focal, cameras.size),
            people.rotations,
            people.betas,
            joints,
            visibility.joints,
            ~near & _detectable(visibility.landmarks == VISIBLE),
            people.up,
            focal,
            cameras.size,
        )

    def _landmarks(
        self,
        bones: Float[Tensor, "24 4 N"],
        joints: Float[Tensor, "24 3 N"],
        rng: torch.Generator,
    ) -> Float[Tensor, "33 3 N"]:
        """Landmarks (m) where the network of this image takes them to lie in the body."""
        both, single = self.config.misplaced_m
        count = joints.shape[-1]
        shared = both * self._vague * torch.randn(33, 3, count, generator=rng)
        for left, right in _SIDES:
            shared[right] = shared[left]
            shared[right, 0] = -shared[left, 0]
        own = single * torch.randn(33, 3, count, generator=rng)
        offset = self._offset + shared + own
        turning = bones[sites.BONE].permute(1, 0, 2)
        return joints[sites.JOINT] + quat.rotate(turning, offset.permute(1, 0, 2)).permute(1, 0, 2)


class SyntheticPeople(NamedTuple):
    """SyntheticPeople in front of cameras, in the camera frame, batch last."""

    points: Float[Tensor, "33 2 N"]
    """Landmarks as the network has them, on the plane z = 1."""
    visibility: Float[Tensor, "33 N"]
    presence: Float[Tensor, "33 N"]
    peak: Float[Tensor, "33 N"]
    inside: Bool[Tensor, "33 N"]
    rotations: Float[Tensor, "24 4 N"]
    betas: Float[Tensor, "10 N"]
    joints: Float[Tensor, "24 3 N"]
    visible: Bool[Tensor, "24 N"]
    good: Bool[Tensor, "N"]
    """Whether a detector would find the person."""
    up: Float[Tensor, "3 N"]
    """Unit vector against gravity."""
    focal: Float[Tensor, "N"]
    """Focal length, px."""
    size: Float[Tensor, "2 N"]
    """Width and height of the image, px."""


def _detectable(visible: Bool[Tensor, "33 N"]) -> Bool[Tensor, "N"]:
    """Tell where enough of nose, shoulders, hips and limbs is visible for a detector."""
    trunk = visible[[0, 11, 12, 23, 24]].sum(0) >= 2
    return trunk & (visible[11:17].sum(0) + visible[23:29].sum(0) >= 3)


def _encode(people: SyntheticPeople) -> Batch:
    """Encode landmarks as features, and express the labels in the view that these define."""
    given = (people.points, people.inside, people.visibility, people.presence, people.peak)
    features, view = landmark_features_2d(*(_rows(part).numpy() for part in given))
    R_cam_view = torch.tensor(view.R_cam_view, dtype=torch.float32)
    half_size = torch.tensor(view.half_size, dtype=torch.float32)
    count = len(half_size)
    joints = _rows(people.joints) @ R_cam_view
    to_view = quat.from_matrix(R_cam_view.permute(2, 1, 0))  # of its transpose, batch last
    rotvec = _rows(quat.log(people.rotations.permute(1, 0, 2)).permute(1, 0, 2))
    rotvec[:, 0] = quat.log(quat.multiply(to_view, people.rotations[0])).T
    return Batch(
        features=torch.from_numpy(features),
        R_anchor=torch.eye(3).expand(count, 3, 3),
        half_size=half_size,
        crop_from_view=_crop_from_view(half_size),
        rotvec=rotvec,
        betas=_rows(people.betas),
        camera=camera_from_pelvis(joints[:, 0], half_size),
        joints=joints,
        target=project(joints[:, None], half_size)[:, 0],
        visible=_rows(people.visible).float(),
    )


def _crop_from_view(half_size: Float[Tensor, "N"]) -> Float[Tensor, "N 3 3"]:
    """Return the homographies to crops that the people fill."""
    H = torch.zeros(len(half_size), 3, 3)
    H[:, 0, 0] = H[:, 1, 1] = 0.5 * _CROP_PX / half_size
    H[:, :2, 2] = 0.5 * _CROP_PX
    H[:, 2, 2] = 1.0
    return H


def _rows(part: Tensor) -> Tensor:
    """Move the batch from the last axis to the first."""
    return part.movedim(-1, 0).contiguous()
