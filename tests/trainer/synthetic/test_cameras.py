"""Cameras stand where people put them."""

import math

import pytest
import torch

from engines.body import BodyModel
from trainer.model import quaternions as quat
from trainer.synthetic.cameras import CAMERAS, Cameras

COUNT = 4000


def draw(seed: int = 0) -> tuple[Cameras, torch.Generator]:
    rng = torch.Generator().manual_seed(seed)
    return Cameras.draw(COUNT, rng), rng


def standing(body: BodyModel) -> torch.Tensor:
    """The mean body in the T-pose, camera axes, relative to the pelvis."""
    joints = torch.tensor(body.J_template - body.J_template[0]) * torch.tensor([1.0, -1.0, -1.0])
    return joints[..., None].repeat(1, 1, COUNT)


def test_kinds_are_drawn_by_their_shares() -> None:
    assert sum(kind.share for kind in CAMERAS) == pytest.approx(1.0)
    assert all(sum(kind.aim) == pytest.approx(1.0) for kind in CAMERAS)
    cameras, _ = draw()
    assert cameras.desk.float().mean() == pytest.approx(CAMERAS[0].share, abs=0.03)
    assert set(cameras.size[:, cameras.desk].T.int().unique(dim=0)[:, 0].tolist()) == {640, 1280}
    expected = sum(kind.share * kind.seated for kind in CAMERAS)
    assert cameras.seated.float().mean() == pytest.approx(expected, abs=0.03)


def test_an_upright_person_is_upright_in_most_images_and_seen_from_all_sides() -> None:
    cameras, rng = draw()
    turn = cameras.orientation(rng)
    up = quat.rotate(turn, torch.tensor([0.0, 1.0, 0.0])[:, None].expand(3, COUNT))
    front = quat.rotate(turn, torch.tensor([0.0, 0.0, 1.0])[:, None].expand(3, COUNT))
    assert (up[1] < -0.7).float().mean() > 0.85  # y is down
    assert (front[2] > 0).float().mean() == pytest.approx(0.5, abs=0.03)
    # Walls and ceilings look down: what is up then points at the camera.
    high = cameras.down_deg[0] == 35
    assert up[2, high].mean() < -0.4 and abs(up[2, ~high].mean()) < 0.15


def test_focal_lengths_have_the_field_of_view() -> None:
    cameras, rng = draw()
    fov = 2 * torch.atan(cameras.size.amax(0) / 2 / cameras.focal((40.0, 90.0), rng))
    assert fov.min() >= math.radians(40) - 1e-4 and fov.max() <= math.radians(90) + 1e-4
    assert fov.max() - fov.min() > math.radians(48)


def test_distances_are_in_their_range_and_whole_people_fit(body: BodyModel) -> None:
    cameras, rng = draw()
    focal, joints = cameras.focal((40.0, 90.0), rng), standing(body)
    pelvis = cameras.place(joints, focal, rng)
    near, far = cameras.distance_m
    assert (pelvis[2] > near - 0.1).all()  # the distance is that of what the camera aims at
    close = cameras.desk
    assert (pelvis[2, close] < far[close] + 0.1).all()
    assert pelvis[2].min() < 0.6 and pelvis[2].max() > 6
    placed = joints + pelvis
    flat = placed[:, :2] / placed[:, 2:]
    fits = ((flat * focal).abs() < 0.55 * cameras.size).all(1).all(0)
    must = cameras.whole == 0.8
    assert fits[must].float().mean() > 0.75 and fits[close].float().mean() < 0.1
