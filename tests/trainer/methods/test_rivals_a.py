"""Rivals that regress: SPIN, MDN, Multi-bodies."""

from collections.abc import Callable

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from engines.body import BodyModel
from tests.support import random_samples
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.mdn import MDN, MDNConfig, Mixture
from trainer.methods.method import Loss2DConfig, Method, Priors, Supervision
from trainer.methods.multibodies import MultiBodies, MultiBodiesConfig
from trainer.methods.spin import SPIN, FitConfig, SPINConfig
from trainer.model import so3
from trainer.model.bodies import BODY_DIM, Bodies
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM
from trainer.model.kinematics import project
from trainer.model.losses import joint_distance

TINY = EncoderConfig(width=32, blocks=1, dropout=0.0)


@pytest.fixture(scope="module")
def priors(body: BodyModel) -> Priors:
    return random_samples.priors(body)


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return random_samples.random_batch(6, 0, body)


def spin(supervision: Supervision, priors: Priors) -> Method:
    return SPIN(supervision, priors, SPINConfig(fit=FitConfig(steps=3)), TINY)


def mdn(supervision: Supervision, priors: Priors) -> Method:
    return MDN(supervision, priors, MDNConfig(components=3), TINY)


def multibodies(supervision: Supervision, priors: Priors) -> Method:
    return MultiBodies(supervision, priors, MultiBodiesConfig(heads=4), TINY)


Build = Callable[[Supervision, Priors], Method]
BUILDS: list[Build] = [spin, mdn, multibodies]


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
@pytest.mark.parametrize("build", BUILDS)
def test_the_loss_reaches_every_parameter(
    build: Build, supervision: Supervision, priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = build(supervision, priors)
    with torch.no_grad():  # layers that start at zero would pass nothing on
        for parameter in method.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    loss, losses = method(batch, StepRng(0, 0))
    loss.backward()
    assert loss.shape == () and torch.isfinite(loss)
    assert all(torch.isfinite(term) for term in losses.values())
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("build", BUILDS)
def test_visible_2d_supervision_does_not_look_at_the_truth(
    build: Build, priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = build("2d-vis", priors)
    garbage = {
        name: torch.full_like(getattr(batch, name), torch.nan)
        for name in ("rotvec", "betas", "camera", "joints")
    }
    hidden = torch.where(batch.visible[..., None] > 0, batch.target, batch.target + 3.0)
    blind = batch._replace(target=hidden, **garbage)
    loss, _ = method(batch, StepRng(0, 0))
    loss_blind, _ = method(blind, StepRng(0, 0))
    assert loss_blind.item() == loss.item()
    seen, _ = method(batch._replace(target=batch.target + 0.1), StepRng(0, 0))
    assert seen.item() > loss.item()


@pytest.mark.parametrize("build", BUILDS)
def test_the_best_estimate_learns_the_truth(build: Build, priors: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = build("3d", priors)
    optimiser = torch.optim.Adam(method.parameters(), lr=5e-3)

    def error() -> float:
        with torch.no_grad():
            bodies = method.draw(batch, 1, StepRng(0, 0)).bodies
            return joint_distance(priors.joints(batch, bodies)[:, 0], batch.joints).mean().item()

    before = error()
    for step in range(60):
        optimiser.zero_grad()
        method(batch, StepRng(0, step))[0].backward()
        optimiser.step()
    assert error() < 0.4 * before


@pytest.mark.parametrize("build", BUILDS)
def test_draw_gives_as_many_as_asked_for_and_the_best_first(
    build: Build, priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = build("3d", priors).eval()
    one, nine = (method.draw(batch, count, StepRng(0, 0)) for count in (1, 9))
    for part in nine.bodies:
        assert part.shape[:2] == (6, 9)
    for first, same in zip(one.bodies, nine.bodies, strict=True):
        torch.testing.assert_close(first[:, 0], same[:, 0])


def test_evidence_of_each_body_has_the_evidence_as_its_mean(priors: Priors, batch: Batch) -> None:
    generator = torch.Generator().manual_seed(1)
    bodies = Bodies(
        *(0.3 * torch.randn(6, 5, *shape, generator=generator) for shape in ((24, 3), (10,), (3,)))
    )
    joints, config = priors.joints(batch, bodies), Loss2DConfig(prior=0.7)
    each = priors.loss_2d_per_body(batch, bodies, joints, config)
    assert each.shape == (6, 5)
    torch.testing.assert_close(each.mean(), priors.loss_2d(batch, bodies, joints, config)[0])
    third, fourth = batch.rows(torch.tensor([2])), Bodies(*(part[2:3, 3:4] for part in bodies))
    alone, _ = priors.loss_2d(third, fourth, joints[2:3, 3:4], config)
    torch.testing.assert_close(each[2, 3], alone)


def test_pick_takes_bodies_by_number() -> None:
    betas = torch.arange(6.0).view(2, 3, 1).expand(2, 3, 10)
    bodies = Bodies(torch.zeros(2, 3, 24, 3), betas, torch.zeros(2, 3, 3))
    assert bodies.pick(torch.tensor([[2, 0], [1, 1]])).betas[..., 0].tolist() == [[2, 0], [4, 4]]


def test_spin_fit_explains_the_evidence_better_than_a_perturbed_start(
    priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = SPIN("2d-vis", priors, SPINConfig(), TINY)
    loss_3d = batch.bodies()
    start = Bodies(*(part + 0.1 * torch.randn_like(part) for part in loss_3d))
    with torch.no_grad():  # as when a validation loss is computed
        fit, gain = method.fit(batch, start)
        nats = [
            priors.loss_2d_per_body(
                batch, bodies, priors.joints(batch, bodies), method.config.loss_2d
            )[:, 0]
            for bodies in (start, fit)
        ]
    torch.testing.assert_close(nats[0] - nats[1], gain, rtol=1e-3, atol=1e-2)
    assert (gain > 0.2 * nats[0].abs()).all()
    missed = [
        (project(priors.joints(batch, bodies), batch.half_size)[:, 0] - batch.target)
        .norm(dim=-1)[batch.visible > 0]
        .mean()
        for bodies in (start, fit)
    ]
    assert missed[1] < 0.6 * missed[0]


def test_spin_fit_that_cannot_improve_pulls_nowhere(priors: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = SPIN(
        "2d-vis", priors, SPINConfig(fit=FitConfig(steps=2, rate=1.5)), TINY
    )  # overshoots
    bodies = method.regressor(batch)
    fit, gain = method.fit(batch, bodies)
    assert (gain == 0).all()
    for part, start in zip(fit, bodies, strict=True):
        assert torch.equal(part, start) and not part.requires_grad
    method._distance_to(fit, batch, bodies, priors.joints(batch, bodies)).backward()
    gradient = method.regressor.head.weight.grad
    assert gradient is not None and gradient.abs().max() < 1e-4


def random_mixture(count: int, components: int, seed: int, spread: float = 0.4) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((24, 3), (10,), (3,))
    centers = Bodies(
        *(spread * torch.randn(count, components, *shape, generator=generator) for shape in shapes)
    )
    log_weights = torch.randn(count, components, generator=generator).log_softmax(-1)
    return Mixture(
        log_weights, centers, -1.5 + 0.5 * torch.randn(count, components, DIM, generator=generator)
    )


def test_mdn_density_is_that_of_torchs_mixture_over_scipys_offsets() -> None:
    count, components, bodies_each = 2, 3, 4
    mixture = random_mixture(count, components, 0)
    generator = torch.Generator().manual_seed(1)
    bodies = Bodies(
        *(torch.randn(count, bodies_each, *s, generator=generator) for s in ((24, 3), (10,), (3,)))
    )
    log_q = mixture.log_prob(bodies)
    for b in range(count):
        for s in range(bodies_each):
            offsets, volumes = [], []
            for k in range(components):
                center = Rotation.from_rotvec(mixture.centers.rotvec[b, k].numpy())
                turn = (
                    center.inv() * Rotation.from_rotvec(bodies.rotvec[b, s].numpy())
                ).as_rotvec()
                rest = [(bodies[i][b, s] - mixture.centers[i][b, k]).double() for i in (1, 2)]
                offsets.append(torch.cat([torch.from_numpy(turn).flatten(), *rest]))
                angle = torch.from_numpy(turn).norm(dim=-1)
                volumes.append(((2 - 2 * angle.cos()) / angle.square()).log().sum())
            # A mixture of Gaussians about the offsets, seen from the origin; volumes go with the
            # weights, less their sum.
            logits = mixture.log_weights[b].double() - torch.stack(volumes)
            normal = Normal(torch.stack(offsets), mixture.log_scale[b].double().exp())
            expected = MixtureSameFamily(
                Categorical(logits=logits), Independent(normal, 1)
            ).log_prob(torch.zeros(DIM, dtype=torch.float64)) + logits.logsumexp(0)
            assert log_q[b, s].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-2)


def test_mdn_draws_lie_as_far_from_their_centre_as_the_noise_says() -> None:
    mixture = random_mixture(2, 3, 0)
    mixture = mixture._replace(
        log_scale=mixture.log_scale.clamp_max(-0.9)
    )  # half a turn is 7.7 deviations away
    z = torch.randn(2, 500, DIM, generator=torch.Generator().manual_seed(1))
    bodies = mixture.sample(torch.full((2, 500), 2), z)
    expected = z * mixture.log_scale[:, 2, None].exp()
    torch.testing.assert_close(mixture.offset(2, bodies), expected, rtol=0, atol=2e-4)


def test_mdn_starts_with_the_heaviest_centre_and_goes_on_by_chance(
    priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = MDN("3d", priors, MDNConfig(components=3), TINY).eval()
    with torch.no_grad():
        method.weights.bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
        mixture = method.encode(batch)
        drawn = method.draw(batch, 2003, StepRng(0, 0))
    torch.testing.assert_close(drawn.bodies.betas[:, 0], mixture.centers.betas[:, 1])
    torch.testing.assert_close(drawn.bodies.camera[:, 0], mixture.centers.camera[:, 1])
    R, R_center = so3.exp(drawn.bodies.rotvec[:, 0]), so3.exp(mixture.centers.rotvec[:, 1])
    torch.testing.assert_close(R, R_center, rtol=0, atol=1e-4)
    assert drawn.log_q is not None
    torch.testing.assert_close(drawn.log_q, mixture.log_prob(drawn.bodies), rtol=1e-4, atol=1e-2)
    mean = (torch.tensor([0.2, 0.5, 0.3])[None, :, None] * mixture.centers.betas).sum(1)
    error = 6 * drawn.bodies.betas[:, 1:].std(1) / 2000**0.5
    assert ((drawn.bodies.betas[:, 1:].mean(1) - mean).abs() < error).all()
    log_prob = method.log_prob(batch)
    torch.testing.assert_close(log_prob, mixture.log_prob(batch.bodies())[:, 0])


def test_mdn_evidence_is_the_likelihood_under_the_mixture(priors: Priors, batch: Batch) -> None:
    mixture = random_mixture(6, 3, 2)
    method = MDN("2d-vis", priors, MDNConfig(components=3), TINY)
    nats = priors.loss_2d_per_body(
        batch, mixture.centers, priors.joints(batch, mixture.centers), method.config.loss_2d
    ).double()
    expected = (
        -(mixture.log_weights.double().exp() * (-nats + nats.amin(1, keepdim=True)).exp())
        .sum(-1)
        .log()
    )
    expected = (expected + nats.amin(1)).mean().item()
    assert method._mixture_loss_2d(batch, mixture, [mixture.centers]).item() == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
def test_multibodies_trains_the_winner_only(
    supervision: Supervision, priors: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = MultiBodies(supervision, priors, MultiBodiesConfig(heads=4), TINY)
    one = batch.rows(torch.tensor([1]))
    bodies = method.regressor(one)
    joints = priors.joints(one, bodies)
    index = method.winner(one, bodies, joints)
    losses = [method.one(one, bodies, joints, torch.tensor([[m]])).item() for m in range(4)]
    if supervision == "2d-vis":
        assert index.item() == min(range(4), key=losses.__getitem__)
    else:
        errors = [joint_distance(joints[:, m], one.joints).item() for m in range(4)]
        assert index.item() == min(range(4), key=errors.__getitem__)
    method.one(one, bodies, joints, index).backward()
    gradient = method.regressor.head.weight.grad
    assert gradient is not None
    touched = gradient.view(4, BODY_DIM, -1).abs().amax((1, 2)) > 0
    assert touched.tolist() == [m == index.item() for m in range(4)]


def test_multibodies_winners_differ_between_pictures_and_lower_the_best_error(
    priors: Priors, body: BodyModel
) -> None:
    torch.manual_seed(0)
    batch = random_samples.random_batch(8, 3, body)
    same = batch._replace(
        features=torch.zeros_like(batch.features)
    )  # pictures that cannot be told apart
    method = MultiBodies("3d", priors, MultiBodiesConfig(heads=8), TINY)
    optimiser = torch.optim.Adam(method.parameters(), lr=5e-3)
    for step in range(80):
        optimiser.zero_grad()
        method(same, StepRng(0, step))[0].backward()
        optimiser.step()
    with torch.no_grad():
        bodies = method.regressor(same)
        joints = priors.joints(same, bodies)
        offset = (joints - joints[:, :, :1]) - (same.joints - same.joints[:, :1])[:, None]
        error = offset.norm(dim=-1).mean(-1)
    assert len(method.winner(same, bodies, joints).unique()) >= 4
    assert error.amin(1).mean() < 0.7 * error[:, 0].mean()


def test_multibodies_draws_its_heads_in_order_and_again(priors: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = MultiBodies("3d", priors, MultiBodiesConfig(heads=4), TINY).eval()
    heads, drawn = method.regressor(batch), method.draw(batch, 10, StepRng(0, 0))
    assert drawn.log_q is None
    assert torch.equal(drawn.bodies.betas, heads.betas[:, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]])
