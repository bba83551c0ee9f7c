"""ProHMR: its flow inverts, and gives every image the same volume."""

import math

import torch
from torch import Tensor

from engines.body import BodyModel
from tests.support.float64 import disturbed, double, noise
from tests.support.random_samples import priors, random_batch
from trainer.data.samples import Batch
from trainer.methods import prohmr
from trainer.model.bodies import ROT6D_DIM, BodySamples, vector_from_bodies
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM as FLOW_DIM
from trainer.model.flow import FlowConfig, PoseFlow
from trainer.model.glow import GlowConfig

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)


def prohmr_method(body: BodyModel) -> prohmr.ProHMR:
    config = prohmr.ProHMRConfig(GlowConfig(layers=3, hidden=24, depth=1))
    return prohmr.ProHMR("3d", priors(body), config, ENCODER)


def gradients(value: Tensor, module: torch.nn.Module) -> list[Tensor]:
    parameters = list(module.parameters())
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def glow_and_contexts(body: BodyModel, count: int) -> tuple[prohmr.ProHMR, Batch, Tensor]:
    method = disturbed(prohmr_method(body), 0.05)
    batch = double(random_batch(count, 5, body))
    return method, batch, method.encoder(batch.features)


def test_glow_inverts(body: BodyModel) -> None:
    method, _, h = glow_and_contexts(body, 4)
    z = noise(4, 7, ROT6D_DIM)
    rot6d = method.glow(h, z)
    assert (rot6d - z).abs().mean() > 0.1
    torch.testing.assert_close(method.glow.inverse(h, rot6d), z, atol=1e-9, rtol=0)


def test_prohmr_gives_every_image_the_same_volume(body: BodyModel) -> None:
    """Measured on autograd's Jacobian at random noise, and the method's own figure agrees;
    `PoseFlow` is otherwise.
    """
    method, batch, h = glow_and_contexts(body, 4)
    z = noise(4, ROT6D_DIM)
    volumes = []
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda u, i=i: method.glow(h[i : i + 1], u[None, None])[0, 0], z[i]
        )
        volumes.append(torch.linalg.slogdet(jacobian)[1])
    assert abs(volumes[0].item()) > 0.1
    torch.testing.assert_close(torch.stack(volumes), method.log_volume(batch), atol=1e-8, rtol=0)
    rot6d = method.glow(h, z[:, None])
    log_normal = -0.5 * z.square().sum(-1) - 0.5 * ROT6D_DIM * math.log(2 * math.pi)
    expected = log_normal - torch.stack(volumes)
    torch.testing.assert_close(method.glow.log_prob(h, rot6d)[:, 0], expected, atol=1e-8, rtol=0)

    flow, noises = (
        disturbed(PoseFlow(FlowConfig(couplings=2, hidden=16), ENCODER)),
        noise(4, 1, FLOW_DIM),
    )
    _, log_q = flow.sample(flow.encode(batch.features), noises)
    spread = log_q[:, 0] + 0.5 * noises.square().sum((-1, -2))
    assert spread.std() > 0.1


def test_only_a_flow_with_changing_volume_passes_entropy_to_the_encoder(body: BodyModel) -> None:
    method, batch, h = glow_and_contexts(body, 4)
    entropy = -method.glow.log_prob(h, method.glow(h, noise(4, 8, ROT6D_DIM))).mean()
    assert max(g.abs().max() for g in gradients(entropy, method.encoder)) < 1e-9
    couplings = [layer.coupling for layer in method.glow._layers()]
    assert max(g.abs().max() for coupling in couplings for g in gradients(entropy, coupling)) < 1e-9
    assert (
        max(g.abs().max() for g in gradients(entropy, method.glow)) > 0.1
    )  # matrices and scales do feel it

    flow = disturbed(PoseFlow(FlowConfig(couplings=2, hidden=16), ENCODER))
    _, log_q = flow.sample(flow.encode(batch.features), noise(4, 8, FLOW_DIM))
    assert max(g.abs().max() for g in gradients(-log_q.mean(), flow.encoder)) > 1e-3


def test_normalising_gives_standard_noise_for_the_poses_shown(body: BodyModel) -> None:
    method, some = prohmr_method(body), random_batch(64, 1, body)
    method.prepare(some)
    h = method.encoder(some.features)
    z = method.glow.inverse(h, vector_from_bodies(some.bodies())[..., :ROT6D_DIM])[:, 0]
    # The coupling next to the noise comes after the last normalisation; it is small at the start.
    assert z.mean(0).abs().max() < 0.1 and (z.std(0) - 1).abs().max() < 0.2


def test_orthonormality_of_rotations_and_of_a_stretched_column() -> None:
    rotations = BodySamples(torch.randn(2, 3, 24, 3), torch.zeros(2, 3, 10), torch.zeros(2, 3, 3))
    rot6d = vector_from_bodies(rotations)[..., :ROT6D_DIM]
    assert prohmr._distance_from_orthonormal(rot6d).abs().max() < 1e-10
    stretched, sheared = torch.tensor([2.0, 0, 0, 0, 1, 0]), torch.tensor([1.0, 0, 0, 0.5, 1, 0])
    by_hand = torch.tensor([9 / 4, (0.25**2 + 2 * 0.5**2) / 4])
    found = prohmr._distance_from_orthonormal(
        torch.stack([stretched.repeat(24), sheared.repeat(24)])[:, None]
    )
    torch.testing.assert_close(found[:, 0], by_hand)
