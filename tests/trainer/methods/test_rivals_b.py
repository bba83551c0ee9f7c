"""CVAE, ProHMR and HuManiFlow: what they may look at, their densities, and that they learn."""

import math
from dataclasses import replace
from typing import Literal, TypeVar

import pytest
import torch
from torch import Tensor

from engines.body import BodyModel
from engines.types import JOINT_NAMES, PARENTS
from tests.support.random_samples import priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods import cvae, humaniflow, prohmr
from trainer.methods.method import Method, Supervision
from trainer.model import so3
from trainer.model.bodies import ROT6D_DIM, Bodies, vector_from_bodies
from trainer.model.encoder import EncoderConfig
from trainer.model.flow import DIM as FLOW_DIM
from trainer.model.flow import FlowConfig, PoseFlow
from trainer.model.losses import joint_distance

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)
NAMES = ("cvae", "prohmr", "humaniflow")
PARTS = humaniflow.TreeFlowConfig(shared=24, context=8, hidden=8, bins=4)
Name = Literal["cvae", "prohmr", "humaniflow"]
Net = TypeVar("Net", bound=torch.nn.Module)


def build(
    name: Name, supervision: Supervision, body: BodyModel, prepared_on: Batch | None = None
) -> Method:
    torch.manual_seed(0)
    if name == "cvae":
        method = cvae.CVAE(supervision, priors(body), cvae.CVAEConfig(latent=4, hidden=32), ENCODER)
    elif name == "prohmr":
        method = prohmr_method(supervision, body)
    else:
        method = humaniflow_method(supervision, body)
    method.prepare(prepared_on or random_batch(64, 1, body))
    return method


def prohmr_method(supervision: Supervision, body: BodyModel) -> prohmr.ProHMR:
    config = prohmr.ProHMRConfig(prohmr.GlowConfig(layers=3, hidden=24, depth=1))
    return prohmr.ProHMR(supervision, priors(body), config, ENCODER)


def humaniflow_method(supervision: Supervision, body: BodyModel) -> humaniflow.HuManiFlow:
    return humaniflow.HuManiFlow(
        supervision, priors(body), humaniflow.HuManiFlowConfig(PARTS), ENCODER
    )


def disturbed(module: Net, spread: float = 0.1) -> Net:
    """In float64 and with all parameters moved, so that nothing is zero or the identity as at the
    start.
    """
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return module.double().eval()


def double(batch: Batch) -> Batch:
    return Batch(*(field.double() for field in batch))


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def without_truth(batch: Batch) -> Batch:
    """Garbage for everything that is known only with 3D truth."""
    torch.manual_seed(9)
    wrong = {
        name: torch.randn_like(getattr(batch, name))
        for name in ("rotvec", "betas", "camera", "joints")
    }
    return batch._replace(**wrong)


def gradients(value: Tensor, module: torch.nn.Module) -> list[Tensor]:
    parameters = list(module.parameters())
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_finite_and_reaches_the_encoder(
    name: Name, supervision: Supervision, body: BodyModel
) -> None:
    method = build(name, supervision, body)
    total, losses = method(random_batch(5, 2, body), StepRng(0, 0))
    total.backward()
    assert total.shape == () and all(
        term.isfinite() and term.shape == () for term in (total, *losses.values())
    )
    encoder = next(module for key, module in method.named_modules() if key.endswith("encoder"))
    for parameter in encoder.parameters():
        assert (
            parameter.grad is not None
            and parameter.grad.isfinite().all()
            and parameter.grad.abs().max() > 0
        )


@pytest.mark.parametrize("name", NAMES)
def test_only_3d_supervision_looks_at_the_truth(name: Name, body: BodyModel) -> None:
    batch, some = random_batch(5, 2, body), random_batch(64, 1, body)
    for supervision in ("2d-vis", "3d"):
        right, wrong = (
            build(name, supervision, body, some),
            build(name, supervision, body, without_truth(some)),
        )
        loss, other = (
            m(b, StepRng(0, 0))[0] for m, b in ((right, batch), (wrong, without_truth(batch)))
        )
        assert (loss == other).item() == (supervision == "2d-vis")


@pytest.mark.parametrize("name", NAMES)
def test_number_0_is_not_random_and_draws_see_only_the_picture(name: Name, body: BodyModel) -> None:
    method, batch = build(name, "3d", body), random_batch(4, 3, body)
    disturbed(method).float()
    drawn = method.draw(batch, 6, StepRng(0, 0))
    hidden = without_truth(batch)._replace(target=torch.zeros(4, 24, 2), visible=torch.zeros(4, 24))
    torch.testing.assert_close(method.draw(hidden, 6, StepRng(0, 0)), drawn, rtol=0, atol=0)
    other = method.draw(batch, 3, StepRng(0, 1))
    assert [tuple(part.shape) for part in drawn.bodies] == [(4, 6, 24, 3), (4, 6, 10), (4, 6, 3)]
    torch.testing.assert_close(other.bodies.at(0), drawn.bodies.at(0))
    assert (other.bodies.rotvec[:, 1, 1:] - drawn.bodies.rotvec[:, 1, 1:]).abs().amax(
        (1, 2)
    ).min() > 1e-3
    assert (drawn.log_q is None) == (name != "humaniflow")


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_bring_number_0_to_the_truth(name: Name, body: BodyModel) -> None:
    method, batch = build(name, "3d", body), random_batch(6, 4, body)

    def distance() -> float:
        joints = method.priors.joints(batch, method.draw(batch, 1, StepRng(0, 0)).bodies)
        return joint_distance(joints[:, 0], batch.joints).mean().item()

    before = distance()
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for step in range(60):
        optimiser.zero_grad()
        method(batch, StepRng(0, step))[0].backward()
        optimiser.step()
    assert distance() < 0.5 * before


def test_divergence_is_that_of_torch() -> None:
    mean, log_std = torch.randn(5, 3), torch.randn(5, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_std.exp()), normal(0.0, 1.0)).sum(
        -1
    )
    torch.testing.assert_close(cvae._divergence(mean, log_std), expected)


def test_recognition_carries_the_truth_into_the_reconstruction(body: BodyModel) -> None:
    """Another true body in the same picture is reconstructed differently, while draws stay as they
    are.
    """
    method, batch = build("cvae", "3d", body), random_batch(4, 3, body)
    assert isinstance(method, cvae.CVAE)
    disturbed(method).float()
    h = method.encoder(batch.features)
    means = [method.recognition(method._recognised(b, h))[0] for b in (batch, without_truth(batch))]
    decoded = [method.decoder(h, mean[:, None]).rotvec for mean in means]
    assert (decoded[0] - decoded[1]).abs().max() > 1e-3


def glow_and_contexts(body: BodyModel, count: int) -> tuple[prohmr.ProHMR, Batch, Tensor]:
    method = disturbed(prohmr_method("3d", body), 0.05)
    batch = double(random_batch(count, 5, body))
    return method, batch, method.encoder(batch.features)


def test_glow_inverts(body: BodyModel) -> None:
    method, _, h = glow_and_contexts(body, 4)
    z = noise(4, 7, ROT6D_DIM)
    rot6d = method.glow(h, z)
    assert (rot6d - z).abs().mean() > 0.1
    torch.testing.assert_close(method.glow.inverse(h, rot6d), z, atol=1e-9, rtol=0)


def test_prohmr_gives_every_picture_the_same_volume(body: BodyModel) -> None:
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
    method, some = prohmr_method("3d", body), random_batch(64, 1, body)
    method.prepare(some)
    h = method.encoder(some.features)
    z = method.glow.inverse(h, vector_from_bodies(some.bodies())[..., :ROT6D_DIM])[:, 0]
    # The coupling next to the noise comes after the last normalisation; it is small at the start.
    assert z.mean(0).abs().max() < 0.1 and (z.std(0) - 1).abs().max() < 0.2


def test_orthonormality_of_rotations_and_of_a_stretched_column() -> None:
    rotations = Bodies(torch.randn(2, 3, 24, 3), torch.zeros(2, 3, 10), torch.zeros(2, 3, 3))
    rot6d = vector_from_bodies(rotations)[..., :ROT6D_DIM]
    assert prohmr._distance_from_orthonormal(rot6d).abs().max() < 1e-10
    stretched, sheared = torch.tensor([2.0, 0, 0, 0, 1, 0]), torch.tensor([1.0, 0, 0, 0.5, 1, 0])
    by_hand = torch.tensor([9 / 4, (0.25**2 + 2 * 0.5**2) / 4])
    found = prohmr._distance_from_orthonormal(
        torch.stack([stretched.repeat(24), sheared.repeat(24)])[:, None]
    )
    torch.testing.assert_close(found[:, 0], by_hand)


def parts_and_picture(
    body: BodyModel, count: int
) -> tuple[humaniflow.TreeFlow, humaniflow.ImageContext]:
    flow = disturbed(humaniflow_method("3d", body).flow, 0.2)
    flow.mean.normal_(0, 0.3)
    flow.std.uniform_(0.1, 0.3)
    return flow, flow.encode(double(random_batch(count, 5, body)))


def test_joints_see_those_above_them() -> None:
    names = JOINT_NAMES[1:]
    above = [names[k] for k in humaniflow.ABOVE[names.index("left_wrist")]]
    assert above == ["left_elbow", "left_shoulder", "left_collar", "spine3", "spine2", "spine1"]
    assert humaniflow.ABOVE[names.index("right_hip")] == []
    covered = [k for level in humaniflow.LEVELS for k in range(level.start, level.stop)]
    assert covered == list(range(23))


def test_noise_of_a_joint_moves_it_and_those_below_it(body: BodyModel) -> None:
    flow, picture = parts_and_picture(body, 1)
    z = noise(1, 1, humaniflow.DIM)
    before, _ = flow.sample(picture, z)
    for joint in (3, 6, 16, 20):
        moved = z.clone()
        moved[..., 10 + 3 * (joint - 1)] += 1.0
        after, _ = flow.sample(picture, moved)
        changed = {
            k for k in range(24) if (after.rotvec - before.rotvec)[0, 0, k].abs().max() > 1e-9
        }
        below = {joint}
        for k in range(joint + 1, 24):
            if PARENTS[k] in below:
                below.add(k)
        assert changed == below


def test_a_sample_of_the_tree_has_the_density_that_log_prob_gives_it(body: BodyModel) -> None:
    flow, picture = parts_and_picture(body, 3)
    bodies, log_q = flow.sample(picture, noise(3, 20, humaniflow.DIM))
    assert (
        bodies.rotvec[..., 1:, :].norm(dim=-1).max() < 0.999 * math.pi
    )  # one pre-image each: no twins to add
    torch.testing.assert_close(flow.log_prob(picture, bodies), log_q, atol=1e-6, rtol=0)
    elsewhere = bodies._replace(betas=bodies.betas + 0.1)
    assert (flow.log_prob(picture, elsewhere) - log_q).abs().min() > 1e-3


def test_volume_of_the_tree_matches_autograd(body: BodyModel) -> None:
    flow, picture = parts_and_picture(body, 1)
    z = noise(humaniflow.DIM, seed=2)

    def coordinates(z: Tensor) -> Tensor:
        bodies, _ = flow.sample(picture, z[None, None])
        return torch.cat([bodies.betas.flatten(), bodies.rotvec[..., 1:, :].flatten()])

    jacobian = torch.autograd.functional.jacobian(coordinates, z)
    bodies, log_q = flow.sample(picture, z[None, None])
    log_normal = -0.5 * (z @ z) - 0.5 * humaniflow.DIM * math.log(2 * math.pi)
    haar = so3.exp_log_det(bodies.rotvec[..., 1:, :]).sum()
    expected = log_normal - torch.linalg.slogdet(jacobian)[1] - haar
    assert log_q.item() == pytest.approx(expected.item(), abs=1e-6)


def test_parts_start_as_the_poses_shown(body: BodyModel) -> None:
    """Before the first step the flow is the identity: draws have mean and spread of the poses that
    it was prepared on.
    """
    method, some = humaniflow_method("3d", body), random_batch(64, 1, body)
    method.prepare(some)
    drawn = method.draw(some, 40, StepRng(0, 0)).bodies.rotvec[:, 1:, 1:].flatten(0, 1)
    torch.testing.assert_close(drawn.mean(0), some.rotvec[:, 1:].mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), some.rotvec[:, 1:].std(0), atol=0.05, rtol=0)


def test_more_samples_are_taken_where_configured(body: BodyModel) -> None:
    """A loss over many samples is less random than one over few."""
    few, batch = humaniflow_method("2d-vis", body), random_batch(4, 2, body)
    few.prepare(random_batch(64, 1, body))

    def spread(samples: int) -> float:
        few.config = replace(few.config, samples=samples)
        return torch.stack([few(batch, StepRng(0, step))[0] for step in range(12)]).std().item()

    assert spread(64) < 0.6 * spread(2)
