"""Multi-bodies: the winner learns, and the heads come to differ."""

import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.methods.method import Priors, Supervision
from trainer.methods.multibodies import MultiBodies, MultiBodiesConfig
from trainer.model.bodies import BODY_DIM
from trainer.model.encoder import EncoderConfig
from trainer.model.losses import joint_distance

TINY_ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)


@pytest.fixture(scope="module")
def known(body: BodyModel) -> Priors:
    return priors(body)


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return random_batch(6, 0, body)


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
def test_multibodies_trains_the_winner_only(
    supervision: Supervision, known: Priors, batch: Batch
) -> None:
    torch.manual_seed(0)
    method = MultiBodies(supervision, known, MultiBodiesConfig(heads=4), TINY_ENCODER)
    one = batch.rows(torch.tensor([1]))
    bodies = method.regressor(one)
    joints = known.joints(one, bodies)
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


@pytest.mark.slow
def test_multibodies_winners_differ_between_images_and_lower_the_best_error(
    known: Priors, body: BodyModel
) -> None:
    torch.manual_seed(0)
    batch = random_batch(8, 3, body)
    same = batch._replace(
        features=torch.zeros_like(batch.features)
    )  # images that cannot be told apart
    method = MultiBodies("3d", known, MultiBodiesConfig(heads=8), TINY_ENCODER)
    optimiser = torch.optim.Adam(method.parameters(), lr=5e-3)
    for step in range(80):
        optimiser.zero_grad()
        method(same, StepRng(0, step))[0].backward()
        optimiser.step()
    with torch.no_grad():
        bodies = method.regressor(same)
        joints = known.joints(same, bodies)
        offset = (joints - joints[:, :, :1]) - (same.joints - same.joints[:, :1])[:, None]
        error = offset.norm(dim=-1).mean(-1)
    assert len(method.winner(same, bodies, joints).unique()) >= 4
    assert error.amin(1).mean() < 0.7 * error[:, 0].mean()


def test_multibodies_draws_its_heads_in_order_and_again(known: Priors, batch: Batch) -> None:
    torch.manual_seed(0)
    method = MultiBodies("3d", known, MultiBodiesConfig(heads=4), TINY_ENCODER).eval()
    heads, drawn = method.regressor(batch), method.draw(batch, 10, StepRng(0, 0))
    assert drawn.log_q is None
    assert torch.equal(drawn.bodies.betas, heads.betas[:, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]])
