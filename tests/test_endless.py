"""Pairs without end: the truth is one body, the landmarks lie on it, and the seed decides
everything.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.types import LIMB_LANDMARKS
from trainer import landmark_sites as sites
from trainer import quaternions as quat
from trainer.endless import CAMERAS, Bank, Endless, EndlessConfig, _self_hidden
from trainer.landmark_errors import HIDDEN, SEEN, ErrorConfig, ErrorModel
from trainer.model.kinematics import Skeleton, pelvis_in_view, relative_joints

EXACT = ErrorConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0))
_NO_THINGS = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def poses() -> Bank:
    rotvec = 0.25 * torch.randn(24, 3, 40, generator=torch.Generator().manual_seed(0))
    q = quat.exp(rotvec.permute(1, 0, 2)).permute(2, 1, 0).contiguous()
    return Bank(q, torch.linspace(0, 1, 41)[1:], torch.arange(5))


def _exact(body: BodyModel, poses: Bank) -> Endless:
    config = EndlessConfig(stretch=0.0, misplaced_m=(0.0, 0.0), things=_NO_THINGS, errors=EXACT)
    return Endless(body, poses, config)


def test_truth_is_a_body(body: BodyModel, poses: Bank) -> None:
    pairs = _exact(body, poses).batch(0, 200)
    skeleton = Skeleton(torch.tensor(body.J_template), torch.tensor(body.J_shapedirs))
    joints = relative_joints(skeleton, pairs.R_anchor, pairs.y, pairs.betas)
    pelvis = pelvis_in_view(pairs.camera, pairs.half)
    torch.testing.assert_close(joints + pelvis[:, None], pairs.joints, atol=1e-4, rtol=1e-4)


def test_exact_landmarks_lie_on_joints(body: BodyModel, poses: Bank) -> None:
    pairs = _exact(body, poses).batch(0, 200)
    points = pairs.features[:, :66].unflatten(-1, (33, 2))[:, list(LIMB_LANDMARKS)]
    target = pairs.target[:, list(LIMB_LANDMARKS.values())]
    seen = pairs.visible[:, list(LIMB_LANDMARKS.values())] > 0
    near = (pairs.features[:, :66].abs() < 7.9).all(1)  # features are clipped
    assert near.float().mean() > 0.8
    torch.testing.assert_close(
        points[near][seen[near]], target[near][seen[near]], atol=2e-3, rtol=1e-3
    )


def test_seed_and_step_decide(body: BodyModel, poses: Bank) -> None:
    source = Endless(body, poses, EndlessConfig())
    once, again, other = source.batch(3, 20), source.batch(3, 20), source.batch(4, 20)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once.features, other.features)


def test_distances_are_those_of_the_cameras(body: BodyModel, poses: Bank) -> None:
    z = Endless(body, poses, EndlessConfig()).batch(0, 2000).joints[:, 0, 2]
    assert z.quantile(0.02) < 1.0 and z.quantile(0.98) > 5.0
    assert sum(kind.share for kind in CAMERAS) == pytest.approx(1.0)


def test_an_arm_behind_the_trunk_is_hidden(body: BodyModel) -> None:
    joints = torch.tensor(body.J_template)[..., None] * torch.tensor([1.0, -1.0, -1.0])[:, None]
    joints = joints + torch.tensor([0.0, 0.0, 3.0])[:, None]
    from engines.types import JOINT_NAMES

    wrist = JOINT_NAMES.index("left_wrist")
    joints[wrist] = torch.tensor([0.0, -0.25, 3.3])[:, None]
    flat = joints[:, :2] / joints[:, 2:]
    hidden = _self_hidden(joints, flat)
    assert hidden[wrist] and not hidden[JOINT_NAMES.index("right_wrist")]
    joints[wrist, 2] = 2.7
    assert not _self_hidden(joints, joints[:, :2] / joints[:, 2:])[wrist]


def test_sites_are_left_and_right(body: BodyModel) -> None:
    at = body.J_template[sites.JOINT] + sites.OFFSET_M
    from trainer.pairs.augment import MIRRORED_LANDMARKS

    np.testing.assert_allclose(at[list(MIRRORED_LANDMARKS)] * [-1, 1, 1], at, atol=2e-3)
    assert at[0, 2] > at[7, 2] and at[31, 2] > at[29, 2]  # nose before ears, toes before heels


def test_errors_have_their_sizes() -> None:
    flat = torch.zeros(33, 2, 4000)
    state = torch.full((33, 4000), SEEN)
    config = replace(EXACT, own=0.02)
    points, visibility, _ = ErrorModel(config)(
        flat, state, torch.full((4000,), 0.5), torch.Generator().manual_seed(0)
    )
    assert points[13].std() == pytest.approx(0.01, rel=0.05)  # an elbow's factor is 1
    hidden, _, _ = ErrorModel(EXACT)(
        flat, torch.full_like(state, HIDDEN), torch.ones(4000), torch.Generator()
    )
    assert hidden.abs().max() == 0.0
    sure = visibility[13].mean()
    _, unsure, _ = ErrorModel(config)(
        flat, torch.full_like(state, HIDDEN), torch.ones(4000), torch.Generator()
    )
    assert unsure[13].mean() < sure - 0.3


def test_swaps_exchange_sides() -> None:
    flat = torch.arange(33.0)[:, None, None].expand(33, 2, 10)
    state = torch.full((33, 10), SEEN)
    points, _, _ = ErrorModel(replace(EXACT, swaps=(1.0, 0.0, 0.0)))(
        flat, state, torch.ones(10), torch.Generator()
    )
    assert (points[11] == 12).all() and (points[28] == 27).all() and (points[0] == 0).all()
