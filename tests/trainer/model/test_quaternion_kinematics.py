"""The fast forward kinematics are those of `trainer.model.kinematics`."""

import torch

from engines.body import BodyModel
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import SkeletonTensors, view_joints
from trainer.model.quaternion_kinematics import view_joints_of_one


def test_joints_and_gradients_are_those_of_the_matrices(body: BodyModel) -> None:
    torch.manual_seed(0)
    skeleton = SkeletonTensors(torch.tensor(body.J_template), torch.tensor(body.J_shapedirs))
    R_anchor, half_size = so3.exp(torch.randn(5, 3)), torch.rand(5) + 0.1
    numbers = [torch.randn(5, 1, *shape).requires_grad_() for shape in ((24, 3), (10,), (3,))]
    bodies = BodySamples(*numbers)
    weight = torch.randn(5, 24, 3)
    expected = view_joints(skeleton, R_anchor, half_size, bodies)[:, 0]
    actual = view_joints_of_one(skeleton, R_anchor, half_size, bodies)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    for one, other in zip(
        torch.autograd.grad((actual * weight).sum(), numbers),
        torch.autograd.grad((expected * weight).sum(), numbers),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
