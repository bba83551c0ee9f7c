"""MHEntropy: its objective is the sum it says, its entropy reaches the encoder, and `2d-vis` never
looks at 3D truth.
"""

import dataclasses

import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import (
    TINY,
    TINY_ENCODER,
    mhentropy,
    priors,
    random_batch,
    random_flow,
)
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Loss2DConfig, Supervision
from trainer.methods.mhentropy import MHEntropy, MHEntropyConfig
from trainer.model.flow import DIM

TRUTH_3D = ("rotvec", "betas", "camera", "joints")


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Batch:
    return random_batch(12, 1, body)


def garbage(sample: Batch) -> Batch:
    """The same pictures and visible 2D joints; all else that is known about the bodies is wrong."""
    generator = torch.Generator().manual_seed(9)
    wrong = {
        name: 50 * torch.randn(getattr(sample, name).shape, generator=generator)
        for name in TRUTH_3D
    }
    hidden = (sample.visible == 0)[..., None]
    wrong["target"] = torch.where(
        hidden, 50 * torch.randn(sample.target.shape, generator=generator), sample.target
    )
    return sample._replace(**wrong)


def weighted(supervision: Supervision, losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """The objective written down again, with the weights of `test_the_objective_is_...`."""
    prior = losses["pose_prior"] + losses["shape_prior"]
    kl = losses["reprojection"] + 0.7 * prior + 1.3 * losses["negative_entropy"]
    if supervision == "2d-vis":
        return 2.0 * losses["visible"] + kl + 0.9 * losses["center"]
    return 2.0 * losses["visible"] + 0.3 * kl + 0.5 * losses["likelihood"] + 7.0 * losses["center"]


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
def test_the_objective_is_the_weighted_sum_of_its_terms(
    sample: Batch, body: BodyModel, supervision: Supervision
) -> None:
    weights = {
        "entropy": 1.3,
        "visible": 2.0,
        "center_2d": 0.9,
        "likelihood": 0.5,
        "kl": 0.3,
        "center": 7.0,
    }
    method = mhentropy(body, random_flow(0), supervision, **weights)
    method.config = dataclasses.replace(
        method.config, loss_2d=Loss2DConfig(laplace_scale=0.05, prior=0.7)
    )
    total, losses = method(sample, StepRng(0, 0))
    assert ("likelihood" in losses) == (supervision == "3d")
    torch.testing.assert_close(total, weighted(supervision, losses))
    # A batch with less truth in a run with more has the terms of its own, except that it teaches no
    # visibility.
    total, losses = method(sample, StepRng(0, 0), "2d-vis")
    torch.testing.assert_close(total, weighted("2d-vis", losses) - 2.0 * losses["visible"])


def test_the_terms_are_those_of_the_samples(sample: Batch, body: BodyModel) -> None:
    method = mhentropy(body, random_flow(0), "2d-vis", samples=4)
    _, losses = method(sample, StepRng(3, 5))
    z = StepRng(3, 5).normal(sample.size, 5, DIM)
    z[:, 0] = 0
    bodies, log_q = method.flow.sample(method.flow.encode(sample.features), z)
    torch.testing.assert_close(losses["negative_entropy"], log_q[:, 1:].mean())
    joints = method.priors.joints(sample, bodies)
    flat = joints[..., :2] / joints[..., 2:].clamp_min(0.1) / sample.half_size[:, None, None, None]
    laplace = torch.distributions.Laplace(
        sample.target[:, None], method.config.loss_2d.laplace_scale
    )
    log_p = (laplace.log_prob(flat).sum(-1) * sample.visible[:, None]).sum(-1)
    torch.testing.assert_close(losses["reprojection"], -log_p[:, 1:].mean())
    log_prior = method.priors.prior.log_prob(bodies.rotvec[..., 1:, :])
    log_shape = torch.distributions.Normal(0, 1).log_prob(bodies.betas).sum(-1)
    torch.testing.assert_close(losses["pose_prior"], -log_prior[:, 1:].mean())
    torch.testing.assert_close(losses["shape_prior"], -log_shape[:, 1:].mean())
    torch.testing.assert_close(losses["center"], -(log_p + log_prior + log_shape)[:, 0].mean())


def test_the_gradient_of_the_entropy_reaches_the_encoder(body: BodyModel) -> None:
    sample = random_batch(6, 2, body)
    method = mhentropy(body, random_flow(0), "2d-vis")
    _, losses = method(sample, StepRng(0, 0))
    losses["negative_entropy"].backward()
    for name, parameter in method.flow.encoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-7, name
    for part in ("inject", "affine"):
        assert getattr(method.flow.conditioner, part).weight.grad.norm() > 1e-3, part
    assert method.flow.conditioner.visible.weight.grad is None  # which has nothing to do with it


def test_following_the_entropy_alone_spreads_the_bodies(sample: Batch, body: BodyModel) -> None:
    method = mhentropy(body, random_flow(0), "2d-vis")
    optimiser = torch.optim.SGD(method.flow.encoder.parameters(), 1e-3)
    entropies = []
    for _ in range(15):
        _, losses = method(sample, StepRng(0, 0))
        optimiser.zero_grad()
        losses["negative_entropy"].backward()
        optimiser.step()
        entropies.append(-losses["negative_entropy"].item())
    assert entropies[-1] > entropies[0] + 1e-2


def test_2d_vis_does_not_look_at_3d_truth(sample: Batch, body: BodyModel) -> None:
    results = []
    for batch in (sample, garbage(sample)):
        torch.manual_seed(0)
        method = MHEntropy("2d-vis", priors(body), MHEntropyConfig(flow=TINY), TINY_ENCODER)
        method.prepare(batch)
        total, losses = method(batch, StepRng(0, 0))
        total.backward()
        gradients = {
            f"d {name}": p.grad for name, p in method.named_parameters() if p.grad is not None
        }
        results.append({"total": total, **losses, **gradients, **method.state_dict()})
    right, wrong = results
    assert right.keys() == wrong.keys() and "d flow.conditioner.affine.weight" in right
    for name, value in right.items():
        torch.testing.assert_close(wrong[name], value, atol=0, rtol=0, msg=name)


def test_3d_does(sample: Batch, body: BodyModel) -> None:
    method = mhentropy(body, random_flow(0), "3d")
    (total, _), (other, _) = method(sample, StepRng(0, 0)), method(garbage(sample), StepRng(0, 0))
    assert abs(total - other) > 1


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
def test_scales_come_from_the_truth_or_from_the_prior(
    sample: Batch, body: BodyModel, supervision: Supervision
) -> None:
    method = MHEntropy(supervision, priors(body), MHEntropyConfig(flow=TINY), TINY_ENCODER)
    shifted = sample._replace(betas=sample.betas + 5)
    method.prepare(shifted)
    betas = method.flow.mean[72:82]
    assert (betas > 4).all() if supervision == "3d" else (betas.abs() < 1.5).all()


def test_drawing_looks_at_the_picture_only(sample: Batch, body: BodyModel) -> None:
    method = mhentropy(body, random_flow(0))
    drawn = method.draw(sample, 7, StepRng(1, 2))
    blind = garbage(sample)._replace(
        visible=1 - sample.visible, target=torch.zeros_like(sample.target)
    )
    again = method.draw(blind, 7, StepRng(1, 2))
    torch.testing.assert_close(again.bodies.rotvec, drawn.bodies.rotvec, atol=0, rtol=0)
    assert drawn.log_q is not None and drawn.log_q.shape == (12, 7)
    assert not torch.equal(
        method.draw(sample, 7, StepRng(1, 3)).bodies.rotvec[:, 1:], drawn.bodies.rotvec[:, 1:]
    )
    center, _ = method.flow.sample(method.flow.encode(sample.features), torch.zeros(12, 1, DIM))
    torch.testing.assert_close(drawn.bodies.rotvec[:, :1], center.rotvec)


def test_log_prob_is_the_density_that_samples_have(sample: Batch, body: BodyModel) -> None:
    method = mhentropy(body, random_flow(0))
    with torch.no_grad():
        drawn = method.draw(sample, 2, StepRng(1, 2))
        second = drawn.bodies.at(1)
        claimed = sample._replace(
            rotvec=second.rotvec[:, 0], betas=second.betas[:, 0], camera=second.camera[:, 0]
        )
        density = method.log_prob(claimed)
    assert drawn.log_q is not None
    near = second.rotvec[:, 0, 0].norm(dim=-1) < 1.5  # no twin of the orientation
    assert near.any()
    torch.testing.assert_close(density[near], drawn.log_q[near, 1], atol=2e-2, rtol=0)
    assert (density >= drawn.log_q[:, 1] - 2e-2).all()
