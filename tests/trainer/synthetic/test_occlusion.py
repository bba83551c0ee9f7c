"""What is occluded: behind the body, behind occluders, outside the image."""

import torch

from engines.body import BodyModel
from engines.types import JOINT_NAMES
from trainer.synthetic import landmark_sites as sites
from trainer.synthetic.cameras import Cameras
from trainer.synthetic.occlusion import (
    OCCLUDED,
    OUTSIDE,
    VISIBLE,
    Occluders,
    self_occluded,
    visibility_of,
)
from trainer.synthetic.projection import to_plane

WRIST = JOINT_NAMES.index("left_wrist")
HAND = JOINT_NAMES.index("left_hand")
COUNT = 2000


def facing(body: BodyModel, count: int = 1) -> torch.Tensor:
    """The mean body in the T-pose, 3 m in front of the camera and facing it."""
    joints = torch.tensor(body.J_template) * torch.tensor([1.0, -1.0, -1.0])
    return (joints + torch.tensor([0.0, 0.0, 3.0]))[..., None].repeat(1, 1, count)


def test_an_arm_behind_the_trunk_is_occluded_and_before_it_is_not(body: BodyModel) -> None:
    joints = facing(body)
    assert not self_occluded(joints, to_plane(joints)).any()
    joints[WRIST] = torch.tensor([0.0, -0.25, 3.3])[:, None]
    occluded = self_occluded(joints, to_plane(joints))
    assert occluded[[WRIST, HAND]].all() and occluded.sum() == 2
    joints[WRIST, 2] = 2.7
    assert not self_occluded(joints, to_plane(joints))[[WRIST, HAND]].any()


def test_a_rectangle_covers_what_lies_behind_it() -> None:
    quarter = torch.tensor([[0.0], [1.0]])
    one = Occluders(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5], [0.1]]), quarter)
    points = torch.tensor([[1.0, 0.0], [1.05, 0.4], [1.4, 0.05], [1.0, 0.6]])[..., None]
    assert one.cover(points)[:, 0].tolist() == [True, True, False, False]


def test_occluders_come_in_their_shares() -> None:
    marks = torch.zeros(33, 2, COUNT)
    half_size, rng = torch.full((COUNT,), 0.5), torch.Generator().manual_seed(0)
    some = Occluders.draw(marks, half_size, (0.5, 0.2, 0.2, 0.1), None, rng)
    wide, high = some.extent
    shares = [(wide == 0), (wide == 3.0), (high < 0.4) & (wide > 0), (high == 4.0)]
    for share, expected in zip(shares, (0.5, 0.2, 0.2, 0.1), strict=True):
        assert abs(share.float().mean() - expected) < 0.04
    below = some.cover(torch.tensor([0.0, 1.5])[None, :, None].expand(1, 2, COUNT))[0]
    above = some.cover(torch.tensor([0.0, -1.5])[None, :, None].expand(1, 2, COUNT))[0]
    table = wide == 3.0
    assert below[table].float().mean() > 0.95 and above[table].float().mean() < 0.05
    desk = torch.ones(COUNT, dtype=torch.bool)
    at_desk = Occluders.draw(marks, half_size, (1.0, 0.0, 0.0, 0.0), desk, rng)
    assert 0.35 < (at_desk.extent[0] > 0).float().mean() < 0.45


def test_states_of_landmarks_and_joints(body: BodyModel) -> None:
    rng = torch.Generator().manual_seed(0)
    cameras = Cameras.draw(COUNT, rng)
    cameras = cameras._replace(size=torch.full((2, COUNT), 1000.0))
    joints = facing(body, COUNT)
    marks = joints[sites.JOINT]
    nothing = (1.0, 0.0, 0.0, 0.0)
    far = torch.full((COUNT,), 100.0)
    seen = visibility_of(joints, marks, far, cameras, nothing, rng)
    assert (seen.landmarks == VISIBLE).float().mean() > 0.85  # a second occluder, and tables
    assert (seen.landmarks != OUTSIDE).all()
    table = visibility_of(joints, marks, far, cameras, (0.0, 1.0, 0.0, 0.0), rng)
    assert 0.3 < (table.landmarks == OCCLUDED).float().mean() < 0.8
    near = visibility_of(joints, marks, far * 50, cameras, nothing, rng)
    outside = near.landmarks == OUTSIDE
    limbs = torch.tensor(sites.JOINT)
    assert outside.any() and not near.joints[limbs][outside].any()
