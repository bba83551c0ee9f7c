"""The flow along the tree of joints: each joint follows those above it, with an exact density."""

import math

import pytest
import torch
from torch import Tensor

from engines.body import BodyModel
from engines.types import JOINT_NAMES, PARENTS
from tests.support.float64 import disturbed, double, noise
from tests.support.random_samples import random_batch
from trainer.model import so3, tree_flow
from trainer.model.encoder import EncoderConfig

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)
TREE = tree_flow.TreeFlowConfig(shared=24, context=8, hidden=8, bins=4)


def tree_and_context(
    body: BodyModel, count: int
) -> tuple[tree_flow.TreeFlow, tree_flow.ImageContext]:
    flow = disturbed(tree_flow.TreeFlow(TREE, ENCODER), 0.2)
    flow.mean.normal_(0, 0.3)
    flow.std.uniform_(0.1, 0.3)
    return flow, flow.encode(double(random_batch(count, 5, body)).features)


def test_joints_see_those_above_them() -> None:
    names = JOINT_NAMES[1:]
    above = [names[k] for k in tree_flow.ABOVE[names.index("left_wrist")]]
    assert above == ["left_elbow", "left_shoulder", "left_collar", "spine3", "spine2", "spine1"]
    assert tree_flow.ABOVE[names.index("right_hip")] == []
    covered = [k for level in tree_flow.LEVELS for k in range(level.start, level.stop)]
    assert covered == list(range(23))


def test_noise_of_a_joint_moves_it_and_those_below_it(body: BodyModel) -> None:
    flow, context = tree_and_context(body, 1)
    z = noise(1, 1, tree_flow.DIM)
    before, _ = flow.sample(context, z)
    for joint in (3, 6, 16, 20):
        moved = z.clone()
        moved[..., 10 + 3 * (joint - 1)] += 1.0
        after, _ = flow.sample(context, moved)
        changed = {
            k for k in range(24) if (after.rotvec - before.rotvec)[0, 0, k].abs().max() > 1e-9
        }
        below = {joint}
        for k in range(joint + 1, 24):
            if PARENTS[k] in below:
                below.add(k)
        assert changed == below


def test_a_sample_of_the_tree_has_the_density_that_log_prob_gives_it(body: BodyModel) -> None:
    flow, context = tree_and_context(body, 3)
    bodies, log_q = flow.sample(context, noise(3, 20, tree_flow.DIM))
    assert (
        bodies.rotvec[..., 1:, :].norm(dim=-1).max() < 0.999 * math.pi
    )  # one pre-image each: no twins to add
    torch.testing.assert_close(flow.log_prob(context, bodies), log_q, atol=1e-6, rtol=0)
    elsewhere = bodies._replace(betas=bodies.betas + 0.1)
    assert (flow.log_prob(context, elsewhere) - log_q).abs().min() > 1e-3


@pytest.mark.slow
def test_volume_of_the_tree_matches_autograd(body: BodyModel) -> None:
    flow, context = tree_and_context(body, 1)
    z = noise(tree_flow.DIM, seed=2)

    def coordinates(z: Tensor) -> Tensor:
        bodies, _ = flow.sample(context, z[None, None])
        return torch.cat([bodies.betas.flatten(), bodies.rotvec[..., 1:, :].flatten()])

    jacobian = torch.autograd.functional.jacobian(coordinates, z)
    bodies, log_q = flow.sample(context, z[None, None])
    log_normal = -0.5 * (z @ z) - 0.5 * tree_flow.DIM * math.log(2 * math.pi)
    haar = so3.exp_log_det(bodies.rotvec[..., 1:, :]).sum()
    expected = log_normal - torch.linalg.slogdet(jacobian)[1] - haar
    assert log_q.item() == pytest.approx(expected.item(), abs=1e-6)
