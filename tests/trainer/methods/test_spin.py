"""SPIN: its fit explains the 2D labels better, and pulls nowhere when it cannot."""

import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import priors, random_batch
from trainer.data.samples import Batch
from trainer.methods.method import Priors
from trainer.methods.spin import SPIN, SPINConfig, SpinFit
from trainer.model.bodies import BodySamples
from trainer.model.encoder import EncoderConfig
from trainer.model.kinematics import project

TINY_ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)


@pytest.fixture(scope="module")
def known(body: BodyModel) -> Priors:
    return priors(body)


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return random_batch(6, 0, body)


def test_spin_fit_explains_2d_better_than_a_perturbed_start(known: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = SPIN("2d-vis", known, SPINConfig(), TINY_ENCODER)
    loss_3d = batch.bodies()
    start = BodySamples(*(part + 0.1 * torch.randn_like(part) for part in loss_3d))
    with torch.no_grad():  # as when a validation loss is computed
        fit, gain = method.fit(batch, start)
        nats = [
            known.loss_2d_per_body(
                batch, bodies, known.joints(batch, bodies), method.config.loss_2d
            )[:, 0]
            for bodies in (start, fit)
        ]
    torch.testing.assert_close(nats[0] - nats[1], gain, rtol=1e-3, atol=1e-2)
    assert (gain > 0.2 * nats[0].abs()).all()
    missed = [
        (project(known.joints(batch, bodies), batch.half_size)[:, 0] - batch.target)
        .norm(dim=-1)[batch.visible > 0]
        .mean()
        for bodies in (start, fit)
    ]
    assert missed[1] < 0.6 * missed[0]


def test_spin_fit_that_cannot_improve_pulls_nowhere(known: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = SPIN(
        "2d-vis", known, SPINConfig(fit=SpinFit(steps=2, rate=1.5)), TINY_ENCODER
    )  # overshoots
    bodies = method.regressor(batch)
    fit, gain = method.fit(batch, bodies)
    assert (gain == 0).all()
    for part, start in zip(fit, bodies, strict=True):
        assert torch.equal(part, start) and not part.requires_grad
    method._distance_to(fit, batch, bodies, known.joints(batch, bodies)).backward()
    gradient = method.regressor.head.weight.grad
    assert gradient is not None and gradient.abs().max() < 1e-4
