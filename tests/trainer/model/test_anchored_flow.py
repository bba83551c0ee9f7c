"""The anchored flow as a distribution: its centre, and its densities against autograd."""

import math

import pytest
import torch

from engines.flow.features import NUM_FEATURES_2D
from tests.support.random_samples import TINY_ANCHORED, random_anchored_flow
from trainer.model import so3
from trainer.model.anchored_flow import AnchoredContext, AnchoredFlow, relative_to
from trainer.model.bodies import BodySamples
from trainer.model.flow import DIM, ROT


def randomised(seed: int = 0) -> AnchoredFlow:
    return random_anchored_flow(seed).double()


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contexts(flow: AnchoredFlow, count: int = 3) -> AnchoredContext:
    return flow.encode(noise(count, NUM_FEATURES_2D, seed=11))


def test_couplings_leave_the_centre_alone() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, _ = flow.sample(context, torch.zeros(3, 1, DIM, dtype=torch.float64))
    for drawn, center in zip(bodies, flow.center(context), strict=True):
        torch.testing.assert_close(drawn, center, atol=1e-12, rtol=0)
    with torch.no_grad():
        for coupling in flow.couplings:
            for weight in coupling.parameters():
                weight.normal_(0, 1.0)
    again, log_q = flow.sample(context, torch.zeros(3, 1, DIM, dtype=torch.float64))
    torch.testing.assert_close(again.rotvec, bodies.rotvec, atol=1e-12, rtol=0)
    assert torch.isfinite(log_q).all()


def test_noise_goes_through_the_couplings() -> None:
    flow, other = randomised(), randomised()
    with torch.no_grad():
        for coupling in other.couplings:
            coupling.get_parameter("last.weight").zero_()
            coupling.get_parameter("last.bias").zero_()
    drawn, plain = (one.sample(contexts(one), noise(3, 5, DIM))[0] for one in (flow, other))
    assert (drawn.rotvec - plain.rotvec).abs().max() > 0.01


def test_a_sample_has_the_density_that_log_prob_gives_it() -> None:
    flow = randomised()
    context = contexts(flow)
    bodies, log_q = flow.sample(context, noise(3, 200, DIM))
    torch.testing.assert_close(
        flow.log_prob(context, bodies, twins=False), log_q, atol=1e-6, rtol=0
    )
    assert (flow.log_prob(context, bodies) >= log_q - 1e-6).all()  # a twin only adds


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


def test_both_branches_of_an_orientation_count() -> None:
    """A body described through the other rotation vector is the same body, with one density."""
    flow = randomised()
    with torch.no_grad():
        flow.std[:3] = 3.0  # reaches beyond half a turn
    context = contexts(flow)
    bodies, log_q = flow.sample(context, noise(3, 100, DIM))
    length = bodies.rotvec[..., 0, :].norm(dim=-1)
    both = (length > 0.6 * math.pi) & (length < 1.4 * math.pi)
    assert both.double().mean() > 0.2
    root = so3.twin(bodies.rotvec[..., :1, :])
    twins = bodies._replace(rotvec=torch.cat([root, bodies.rotvec[..., 1:, :]], -2))
    torch.testing.assert_close(
        flow.log_prob(context, twins)[both], flow.log_prob(context, bodies)[both]
    )
    other = flow.log_prob(context, twins, twins=False)
    expected = torch.logaddexp(log_q, other)
    torch.testing.assert_close(
        flow.log_prob(context, bodies)[both], expected[both], atol=1e-6, rtol=0
    )


def test_orientations_relative_to_an_anchor_come_back() -> None:
    R = so3.exp(noise(6, 3))
    bodies = BodySamples(noise(6, 2, 24, 3, seed=2), noise(6, 2, 10), noise(6, 2, 3))
    relative = relative_to(R, bodies)
    torch.testing.assert_close(
        R[:, None] @ so3.exp(relative.rotvec[:, :, 0]), so3.exp(bodies.rotvec[:, :, 0])
    )
    assert torch.equal(relative.rotvec[:, :, 1:], bodies.rotvec[:, :, 1:])


def test_anchors_are_rotations_that_follow_the_landmarks() -> None:
    R = contexts(randomised(), 5).R_anchor
    identity = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(R.mT @ R, identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(5, dtype=torch.float64))
    assert (R[0] - R[1]).abs().max() > 1e-3


def test_standardising_takes_the_spread_of_everything_but_the_orientation() -> None:
    flow = AnchoredFlow(TINY_ANCHORED).double().eval()
    bodies = BodySamples(0.4 * noise(400, 1, 24, 3) + 0.2, 2 * noise(400, 1, 10), noise(400, 1, 3))
    flow.standardise(bodies)
    x = so3.radial_atanh(bodies.rotvec, flow.radius).flatten(-2)[:, 0]
    torch.testing.assert_close(flow.mean[3:ROT], x.mean(0)[3:])
    torch.testing.assert_close(flow.std[3:ROT], x.std(0)[3:])
    assert (flow.mean[:3] == 0).all() and flow.std[:3].tolist() == pytest.approx([0.4] * 3)
    constant = BodySamples(torch.zeros(9, 1, 24, 3), torch.zeros(9, 1, 10), torch.zeros(9, 1, 3))
    flow.standardise(BodySamples(*(part.double() for part in constant)))
    assert (flow.std >= 1e-2).all()


def test_training_in_bfloat16_is_close_and_its_gradients_reach_every_weight() -> None:
    flow = random_anchored_flow(0)
    features = noise(3, NUM_FEATURES_2D, seed=11).float()
    exact = flow.encode(features)
    bodies = BodySamples(
        *(part.detach() for part in flow.sample(exact, noise(3, 4, DIM).float())[0])
    )
    log_q = flow.log_prob(exact, bodies)
    flow.train()
    context = flow.encode(features)
    assert context.shift.dtype == torch.float32
    rough = flow.log_prob(context, bodies, twins=False)
    assert 0 < (rough - log_q).abs().max() < 0.1 * DIM
    (rough.mean() + context.visible_logits.mean() + context.R_anchor[:, 0, 1].sum()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_state_dict_holds_everything() -> None:
    flow, other = randomised(0), randomised(1)
    other.load_state_dict(flow.state_dict())
    expected, log_q = flow.sample(contexts(flow), noise(3, 5, DIM))
    actual, log_q_actual = other.sample(contexts(other), noise(3, 5, DIM))
    torch.testing.assert_close(actual.rotvec, expected.rotvec, atol=0, rtol=0)
    torch.testing.assert_close(log_q_actual, log_q, atol=0, rtol=0)
