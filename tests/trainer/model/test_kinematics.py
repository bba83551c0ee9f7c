"""Torch's kinematics against the NumPy body, and the encoding of the pelvis against the live
sampler's.
"""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from engines.body import BodyModel, joints_only
from engines.flow.features import VirtualCamera
from engines.flow.sampler import pelvis_in_camera
from engines.rotations import exp_so3, log_so3
from tests.support.random_samples import priors
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import (
    camera_from_pelvis,
    pelvis_in_view,
    project,
    relative_joints,
    view_joints,
)

B, S = 3, 5


@pytest.fixture
def view() -> VirtualCamera:
    R = Rotation.random(2 * B, random_state=1).as_matrix()
    return VirtualCamera(
        R_cam_view=R[:B], half_size=np.array([0.15, 0.3, 0.6]), R_view_anchor=R[B:]
    )


@pytest.fixture
def drawn() -> BodySamples:
    rng = np.random.default_rng(0)
    return BodySamples(
        torch.tensor(rng.normal(0, 0.7, (B, S, 24, 3)), dtype=torch.float32),
        torch.tensor(rng.normal(0, 1, (B, S, 10)), dtype=torch.float32),
        torch.tensor(rng.normal(0, 0.3, (B, S, 3)), dtype=torch.float32),
    )


def test_view_joints_taken_to_the_camera_are_those_of_the_body(
    body: BodyModel, view: VirtualCamera, drawn: BodySamples
) -> None:
    in_view = view_joints(
        priors(body).skeleton,
        torch.tensor(view.R_view_anchor).float(),
        torch.tensor(view.half_size).float(),
        drawn,
    )
    for i in range(B):
        rotvec, betas = drawn.rotvec[i].double().numpy(), drawn.betas[i].numpy()
        R_cam_anchor = view.R_cam_view[i] @ view.R_view_anchor[i]
        rotvec[:, 0] = log_so3(R_cam_anchor @ exp_so3(rotvec[:, 0]))
        one = VirtualCamera(view.R_cam_view[i], view.half_size[i, ...], view.R_view_anchor[i])
        transl = pelvis_in_camera(drawn.camera[i].numpy(), one) - body.rest_joints(betas)[:, 0]
        expected = joints_only(body, rotvec, betas, transl)
        np.testing.assert_allclose(
            in_view[i].numpy() @ view.R_cam_view[i].T, expected, atol=5e-6 * 10
        )


def test_relative_joints_have_the_pelvis_at_zero_and_bones_of_constant_length(
    body: BodyModel, drawn: BodySamples
) -> None:
    skeleton = priors(body).skeleton
    joints = relative_joints(skeleton, torch.eye(3).expand(B, 1, 3, 3), drawn.rotvec, drawn.betas)
    straight = relative_joints(
        skeleton, torch.eye(3).expand(B, 1, 3, 3), torch.zeros_like(drawn.rotvec), drawn.betas
    )
    assert (joints[..., 0, :] == 0).all()
    for child, parent in ((4, 1), (18, 16), (15, 12)):
        lengths = [(j[..., child, :] - j[..., parent, :]).norm(dim=-1) for j in (joints, straight)]
        torch.testing.assert_close(*lengths)


def test_camera_numbers_and_pelvis_are_inverse() -> None:
    rng = torch.Generator().manual_seed(0)
    half_size = torch.rand(50, generator=rng, dtype=torch.float64) + 0.1
    pelvis = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    pelvis[:, 2] = pelvis[:, 2].exp()
    camera = camera_from_pelvis(pelvis, half_size)
    torch.testing.assert_close(pelvis_in_view(camera, half_size), pelvis)
    # x, y are where the pelvis is seen, in units of half
    torch.testing.assert_close(camera[:, :2], pelvis[:, :2] / pelvis[:, 2:] / half_size[:, None])
    # a person of the usual size at the distance that its size in the picture suggests has log
    # distance zero
    assert camera_from_pelvis(torch.tensor([0.0, 0.0, 4.0]), torch.tensor(0.25)).tolist() == [
        0,
        0,
        0,
    ]


def test_the_live_sampler_places_the_pelvis_alike(view: VirtualCamera, drawn: BodySamples) -> None:
    half_size = torch.tensor(view.half_size).float()
    ours = pelvis_in_view(drawn.camera, half_size[:, None]).numpy() @ np.swapaxes(
        view.R_cam_view, -1, -2
    )
    for i in range(B):
        live = pelvis_in_camera(
            drawn.camera[i].numpy(),
            VirtualCamera(view.R_cam_view[i], view.half_size[i, ...], view.R_view_anchor[i]),
        )
        np.testing.assert_allclose(live, ours[i], rtol=1e-5, atol=1e-5)


def test_project_divides_by_depth_and_never_by_zero() -> None:
    joints = torch.tensor(
        [[[[1.0, 2.0, 4.0], [1.0, 1.0, 0.0], [1.0, 1.0, -3.0]]]], requires_grad=True
    )
    flat = project(joints, torch.tensor([0.5]))
    torch.testing.assert_close(flat[0, 0], torch.tensor([[0.5, 1.0], [20.0, 20.0], [20.0, 20.0]]))
    flat.sum().backward()
    assert joints.grad is not None and torch.isfinite(joints.grad).all()
