"""The flow as a distribution: its map inverts, its densities are those of autograd and of the Haar
measure.
"""

import math

import pytest
import torch

from engines.flow.features import NUM_FEATURES
from tests.support.random_samples import TINY, TINY_ENCODER, random_flow
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.flow import DIM, ROT, Context, PoseFlow


def randomised(seed: int = 0) -> PoseFlow:
    return random_flow(seed).double()


def contexts(flow: PoseFlow, count: int = 3) -> Context:
    return flow.encode(noise(count, NUM_FEATURES, seed=11))


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_root(bodies: BodySamples, root: torch.Tensor) -> BodySamples:
    return bodies._replace(
        rotvec=torch.cat(
            [root.expand(bodies.rotvec[..., :1, :].shape), bodies.rotvec[..., 1:, :]], -2
        )
    )


def test_inverting_a_sample_gives_the_noise() -> None:
    flow = randomised()
    context, z = contexts(flow), noise(3, 20, DIM)
    bodies, _ = flow.sample(context, z)
    u, x, _ = flow._invert(context, bodies)
    torch.testing.assert_close(u, z, atol=1e-6, rtol=0)
    assert (bodies.rotvec.norm(dim=-1) < flow.radius).all()
    torch.testing.assert_close(x[..., ROT : ROT + 10], bodies.betas)


def test_a_sample_has_the_density_that_log_prob_gives_it() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, log_q = flow.sample(context, noise(3, 200, DIM))
    single = bodies.rotvec[..., 0, :].norm(dim=-1) < math.pi / 2  # no twin
    assert 0.3 < single.double().mean() < 1.0
    log_prob = flow.log_prob(context, bodies)
    torch.testing.assert_close(log_prob[single], log_q[single], atol=1e-6, rtol=0)
    assert (log_prob >= log_q - 1e-6).all()  # a twin only adds


def test_volume_matches_autograd() -> None:
    flow = randomised()
    context, z = contexts(flow, 1), noise(DIM)

    def coordinates(z: torch.Tensor) -> torch.Tensor:
        bodies, _ = flow.sample(context, z[None, None])
        return torch.cat([bodies.rotvec.flatten(), bodies.betas.flatten(), bodies.camera.flatten()])

    jacobian = torch.autograd.functional.jacobian(coordinates, z)
    bodies, log_q = flow.sample(context, z[None, None])
    log_normal = -0.5 * (z @ z) - 0.5 * DIM * math.log(2 * math.pi)
    haar = so3.exp_log_det(bodies.rotvec).sum()
    expected = log_normal - torch.linalg.slogdet(jacobian)[1] - haar
    assert log_q.item() == pytest.approx(expected.item(), abs=1e-6)


def root_only(spread: float) -> tuple[PoseFlow, Context]:
    """A flow without couplings whose numbers are independent: the root's density stands alone."""
    flow = (
        PoseFlow(TINY, TINY_ENCODER).double().eval()
    )  # output layers are zero: u = z exp(log_scale)
    context = flow.encode(torch.zeros(1, NUM_FEATURES, dtype=torch.float64))
    shift, log_scale = context.shift.clone(), torch.zeros_like(context.log_scale)
    shift[:, :3] = torch.tensor(
        [0.8, -1.5, 0.6]
    )  # about a third of a turn from the anchor: both branches matter
    log_scale[:, :3] = math.log(spread)
    return flow, context._replace(shift=shift, log_scale=log_scale)


def rest_log_prob(flow: PoseFlow, context: Context, bodies: BodySamples) -> torch.Tensor:
    """The density of all but the root, by definition: independent squeezed normals and plain
    normals.
    """
    x = flow._coordinates(bodies)[..., 3:]
    normal = torch.distributions.Normal(
        context.shift[:, None, 3:], context.log_scale[:, None, 3:].exp()
    )
    joints = bodies.rotvec[..., 1:, :]
    volume = so3.radial_tanh_log_det(
        x[..., : ROT - 3].unflatten(-1, (23, 3)), flow.radius[1:]
    ) + so3.exp_log_det(joints)
    return normal.log_prob(x).sum(-1) - volume.sum(-1)


@torch.no_grad()
@pytest.mark.parametrize("spread", [0.4, 1.5])
def test_root_density_integrates_to_one_over_all_rotations(spread: float) -> None:
    flow, context = root_only(spread)
    count = 20_000
    quat = noise(count, 4)
    quat = quat / quat.norm(dim=-1, keepdim=True) * torch.where(quat[:, :1] < 0, -1.0, 1.0)
    angle = 2 * torch.atan2(quat[:, 1:].norm(dim=-1), quat[:, 0])
    root = (
        quat[:, 1:] / quat[:, 1:].norm(dim=-1, keepdim=True) * angle[:, None]
    )  # uniform rotations, shortest vectors
    bodies, _ = flow.sample(context, torch.zeros(1, count, DIM, dtype=torch.float64))
    bodies = with_root(bodies, root[None, :, None])
    density = (
        (flow.log_prob(context, bodies) - rest_log_prob(flow, context, bodies)).exp()
        * 8
        * math.pi**2
    )
    error = (density.std() / math.sqrt(count)).item()
    assert error < 0.05
    assert density.mean().item() == pytest.approx(1.0, abs=4 * error)


def test_log_prob_adds_both_branches_beyond_a_quarter_turn() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, _ = flow.sample(context, noise(3, 5, DIM))
    axis = noise(3, 5, 1, 3, seed=4)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    for angle in (1.7, 2.5, 3.1):
        near = with_root(bodies, angle * axis)
        twins = with_root(bodies, so3.twin(angle * axis))
        expected = torch.logaddexp(
            flow._log_branch(context, near), flow._log_branch(context, twins)
        )
        torch.testing.assert_close(flow.log_prob(context, near), expected)
        torch.testing.assert_close(flow.log_prob(context, twins), expected, atol=1e-6, rtol=0)
    below = with_root(bodies, 1.5 * axis)
    torch.testing.assert_close(flow.log_prob(context, below), flow._log_branch(context, below))


def test_density_is_continuous_across_half_a_turn() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, _ = flow.sample(context, noise(3, 5, DIM))
    axis = torch.nn.functional.normalize(noise(3, 5, 1, 3, seed=4), dim=-1)
    step = 1e-7
    here, there = (
        flow.log_prob(context, with_root(bodies, sign * (math.pi - step) * axis))
        for sign in (1, -1)
    )
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)


def test_density_is_continuous_where_the_twin_begins() -> None:
    flow, context = root_only(1.0)
    bodies, _ = flow.sample(context, torch.zeros(1, 1, DIM, dtype=torch.float64))
    axis = (
        torch.tensor([-0.8, 1.5, -0.6], dtype=torch.float64) / 1.803
    )  # the twin lies where the flow puts its mass
    before, after = (
        flow.log_prob(context, with_root(bodies, angle * axis)).item() for angle in (1.57, 1.578)
    )
    assert before == pytest.approx(after, abs=0.2)


def test_body_joints_near_half_a_turn_have_a_finite_density() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, _ = flow.sample(context, noise(3, 4, DIM))
    y = bodies.rotvec.clone()
    y[..., 5, :] = torch.tensor([math.pi, 0.0, 0.0])
    assert torch.isfinite(flow.log_prob(context, bodies._replace(rotvec=y))).all()


def test_entropy_depends_on_the_picture() -> None:
    flow = randomised()
    features = noise(4, NUM_FEATURES).requires_grad_()
    _, log_q = flow.sample(flow.encode(features), noise(1, 50, DIM).expand(4, -1, -1))
    mean = log_q.mean(1)
    assert mean.std() > 0.1
    mean.sum().backward()
    assert features.grad is not None and (features.grad.norm(dim=-1) > 1e-3).all()


def test_gradients_of_the_density_reach_every_weight() -> None:
    flow = randomised().train()
    context = contexts(flow)
    bodies, log_q = flow.sample(context, noise(3, 4, DIM))
    truth = BodySamples(*(part.detach()[:, :1] for part in bodies))
    (log_q.mean() + flow.log_prob(context, truth).mean() + context.visible_logits.mean()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_flow_reproduces_the_spread_it_was_standardised_on() -> None:
    flow = PoseFlow(TINY, TINY_ENCODER).double().eval()
    bodies = BodySamples(
        0.4 * noise(400, 1, 24, 3) + 0.2,
        2 * noise(400, 1, 10, seed=2),
        0.1 * noise(400, 1, 3, seed=3),
    )
    flow.standardise(bodies)
    x = torch.cat(
        [so3.radial_atanh(bodies.rotvec, flow.radius).flatten(-2), bodies.betas, bodies.camera], -1
    )[:, 0]
    torch.testing.assert_close(flow.mean, x.mean(0), check_dtype=False)
    torch.testing.assert_close(flow.std, x.std(0), check_dtype=False)
    flow.standardise(
        BodySamples(torch.zeros(9, 1, 24, 3), torch.zeros(9, 1, 10), torch.zeros(9, 1, 3))
    )
    assert (flow.std >= 1e-2).all()  # a coordinate that never moves must not divide by zero


def test_sampling_is_deterministic_and_one_sample_does_not_see_another() -> None:
    flow = randomised()
    context, z = contexts(flow), noise(3, 6, DIM)
    z[:, 0] = 0
    together, log_q = flow.sample(context, z)
    again, _ = flow.sample(context, z)
    torch.testing.assert_close(together.rotvec, again.rotvec, atol=0, rtol=0)
    alone, log_q_alone = flow.sample(context, z[:, :1])
    torch.testing.assert_close(alone.rotvec[:, 0], together.rotvec[:, 0])
    torch.testing.assert_close(log_q_alone[:, 0], log_q[:, 0])


def test_state_dict_holds_everything() -> None:
    flow, other = randomised(0), randomised(1)
    z = noise(3, 5, DIM)
    before, _ = other.sample(contexts(other), z)
    other.load_state_dict(flow.state_dict())
    expected, log_q = flow.sample(contexts(flow), z)
    actual, log_q_actual = other.sample(contexts(other), z)
    assert not torch.allclose(before.rotvec, expected.rotvec)
    torch.testing.assert_close(actual.rotvec, expected.rotvec, atol=0, rtol=0)
    torch.testing.assert_close(log_q_actual, log_q, atol=0, rtol=0)
