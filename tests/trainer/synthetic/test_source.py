"""Synthetic samples: the labels are one body, the landmarks lie on it, and the seed decides."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.flow.features import LAYOUT_2D, NUM_FEATURES_2D
from engines.types import LIMB_LANDMARKS
from tests.support.pose_banks import pose_bank
from trainer.model.kinematics import (
    SkeletonTensors,
    pelvis_in_view,
    project,
    relative_joints,
)
from trainer.synthetic.config import ErrorConfig, SyntheticConfig
from trainer.synthetic.people import PeopleConfig, PeopleSource
from trainer.synthetic.poses import PoseBank
from trainer.synthetic.source import SyntheticSource

NO_ERRORS = ErrorConfig(*(0.0,) * 10, swaps=(0.0, 0.0, 0.0))
EXACT = SyntheticConfig(
    PeopleConfig(bone_length=0.0),
    misplaced_m=(0.0, 0.0),
    occluders=(1.0, 0.0, 0.0, 0.0),
    errors=NO_ERRORS,
)


@pytest.fixture(scope="module")
def poses(body: BodyModel) -> PoseBank:
    return pose_bank(body)


def test_the_labels_are_one_body(body: BodyModel, poses: PoseBank) -> None:
    batch = SyntheticSource(body, poses, EXACT).batch(0, 200)
    skeleton = SkeletonTensors(torch.tensor(body.J_template), torch.tensor(body.J_shapedirs))
    joints = relative_joints(skeleton, batch.R_anchor, batch.rotvec, batch.betas)
    pelvis = pelvis_in_view(batch.camera, batch.half_size)
    torch.testing.assert_close(joints + pelvis[:, None], batch.joints, atol=1e-4, rtol=1e-4)
    target = project(batch.joints[:, None], batch.half_size)[:, 0]
    torch.testing.assert_close(batch.target, target)


def test_landmarks_without_errors_lie_on_the_joints(body: BodyModel, poses: PoseBank) -> None:
    batch = SyntheticSource(body, poses, EXACT).batch(0, 200)
    joints = list(LIMB_LANDMARKS.values())
    points = batch.features[:, LAYOUT_2D["points"]].unflatten(-1, (33, 2))
    unclipped = (points.abs() < 7.9).flatten(1).all(1)
    assert batch.features.shape == (200, NUM_FEATURES_2D) and unclipped.float().mean() > 0.8
    visible = batch.visible[:, joints][unclipped] > 0
    found = points[:, list(LIMB_LANDMARKS)][unclipped][visible]
    assert len(found) > 500
    torch.testing.assert_close(
        found, batch.target[:, joints][unclipped][visible], atol=2e-3, rtol=1e-3
    )


def test_seed_and_step_decide(body: BodyModel, poses: PoseBank) -> None:
    config = SyntheticConfig()
    source = SyntheticSource(body, poses, config)
    batch = source.batch(3, 20)
    for one, again in zip(batch, SyntheticSource(body, poses, config).batch(3, 20), strict=True):
        assert torch.equal(one, again)
    others = source.batch(4, 20), SyntheticSource(body, poses, config, seed=1).batch(3, 20)
    for other in others:
        assert not torch.equal(batch.features, other.features)


def test_a_batch_is_as_large_as_asked_for_and_finite(body: BodyModel, poses: PoseBank) -> None:
    for count in (1, 7, 500):
        batch = SyntheticSource(body, poses, SyntheticConfig()).batch(0, count)
        assert batch.size == count
        assert all(len(part) == count and torch.isfinite(part).all() for part in batch)


def test_nobody_is_in_a_batch_twice(
    body: BodyModel, poses: PoseBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SyntheticSource(body, poses, SyntheticConfig())
    assert len(source.batch(0, 1000).betas.unique(dim=0)) == 1000
    monkeypatch.setattr("trainer.synthetic.source._SURPLUS", 0.5)  # too few at the first try
    assert len(source.batch(0, 1000).betas.unique(dim=0)) == 1000


def test_people_stand_where_cameras_are_used(body: BodyModel, poses: PoseBank) -> None:
    batch = SyntheticSource(body, poses, SyntheticConfig()).batch(0, 3000)
    distance = batch.joints[:, 0, 2]
    assert distance.quantile(0.02) < 1.0 and distance.quantile(0.98) > 5.0
    assert batch.joints.norm(dim=-1).min() > 0.15
    occluded = 1 - batch.visible.mean()
    assert 0.2 < occluded < 0.6
    exact = SyntheticSource(body, poses, EXACT).batch(0, 3000)
    assert occluded > 1 - exact.visible.mean() + 0.02  # occluders occlude


def test_bones_differ_between_people_and_not_between_sides(
    body: BodyModel, poses: PoseBank
) -> None:
    source = PeopleSource(body, poses, PeopleConfig(bone_length=0.05))
    offsets = source._offsets(torch.zeros(10, 4000), torch.Generator().manual_seed(0))
    upper_arm, left, right = offsets.norm(dim=1).log()[[18, 20, 21]]
    assert left.std() == pytest.approx(0.05, rel=0.05)
    assert (left - right).std() < 1e-5
    assert abs(torch.corrcoef(torch.stack([upper_arm, left]))[0, 1]) < 0.05


def test_crops_hold_the_person(body: BodyModel, poses: PoseBank) -> None:
    batch = SyntheticSource(body, poses, EXACT).batch(0, 100)
    flat = batch.joints / batch.joints[..., 2:]
    px = torch.einsum("bij,bkj->bki", batch.crop_from_view, flat)[..., :2]
    visible = batch.visible.bool()
    near = px[visible]
    assert ((near > -64) & (near < 320)).float().mean() > 0.95
    ahead = batch.joints[..., 2] > 0.2
    np.testing.assert_allclose(px[ahead], 128 + 128 * batch.target[ahead], atol=1.0, rtol=1e-3)
