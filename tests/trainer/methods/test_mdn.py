"""MDN: its density is that of a mixture, and its draws follow it."""

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from engines.body import BodyModel
from tests.support.random_samples import priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.mdn import MDN, MDNConfig, Mixture
from trainer.methods.method import Priors
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM

TINY_ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)


@pytest.fixture(scope="module")
def known(body: BodyModel) -> Priors:
    return priors(body)


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return random_batch(6, 0, body)


def random_mixture(count: int, components: int, seed: int, spread: float = 0.4) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((24, 3), (10,), (3,))
    centers = BodySamples(
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
    bodies = BodySamples(
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
    known: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = MDN("3d", known, MDNConfig(components=3), TINY_ENCODER).eval()
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


def test_mdn_2d_loss_is_the_likelihood_under_the_mixture(known: Priors, batch: Batch) -> None:
    mixture = random_mixture(6, 3, 2)
    method = MDN("2d-vis", known, MDNConfig(components=3), TINY_ENCODER)
    nats = known.loss_2d_per_body(
        batch, mixture.centers, known.joints(batch, mixture.centers), method.config.loss_2d
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
