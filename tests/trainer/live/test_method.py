"""The live flow as a method: its labels and its draws are in the view, its losses what they say."""

import pytest
import torch

from engines.body import BodyModel
from tests.support.pose_banks import pose_bank
from tests.support.random_samples import TINY_ANCHORED, priors, random_anchored_flow
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.evaluation.score import score
from trainer.live.config import LossWeights
from trainer.live.method import LiveMethod
from trainer.model.anchored_flow import relative_to
from trainer.model.kinematics import view_joints
from trainer.synthetic.config import SyntheticConfig
from trainer.synthetic.source import SyntheticSource


@pytest.fixture(scope="module")
def batch(body: BodyModel) -> Batch:
    return SyntheticSource(body, pose_bank(body), SyntheticConfig()).batch(0, 40)


@pytest.fixture
def method(body: BodyModel) -> LiveMethod:
    method = LiveMethod(priors(body), TINY_ANCHORED)
    method.flow = random_anchored_flow(0)
    return method.eval()


def test_draws_are_in_the_view(method: LiveMethod, batch: Batch) -> None:
    drawn = method.draw(batch, 3, StepRng(0, 0))
    joints = method.priors.joints(batch, drawn.bodies)
    context = method.flow.encode(batch.features)
    center = method.flow.center(context)
    expected = view_joints(method.priors.skeleton, context.R_anchor, batch.half_size, center)
    torch.testing.assert_close(joints[:, :1], expected, atol=1e-3, rtol=1e-3)
    again = method.flow.log_prob(context, relative_to(context.R_anchor, drawn.bodies))
    assert drawn.log_q is not None and (again >= drawn.log_q - 0.1).all()


def test_the_total_is_the_weighted_sum_of_the_losses(body: BodyModel, batch: Batch) -> None:
    weights = LossWeights(1.0, 2.0, 3.0, 4.0, 5.0)
    method = LiveMethod(priors(body), TINY_ANCHORED, weights)
    method.flow = random_anchored_flow(0)
    total, losses = method(batch)
    expected = sum(getattr(weights, name) * value for name, value in losses.items())
    torch.testing.assert_close(total, torch.as_tensor(expected))
    assert set(losses) == set(vars(weights))
    total.backward()
    assert all(p.grad is not None for p in method.flow.parameters())


def test_a_true_body_at_the_centre_has_no_error(method: LiveMethod, batch: Batch) -> None:
    context = method.flow.encode(batch.features)
    true = relative_to(context.R_anchor, batch.bodies())
    method.flow.center = lambda context: true  # pyright: ignore[reportAttributeAccessIssue]
    _, losses = method(batch)
    _, exact = method(batch._replace(joints=_posed(method, batch), target=_flat(method, batch)))
    assert exact["center"] < 1e-3 and exact["reprojection"] < 1e-2
    assert losses["center"] < 0.1  # bones differ from the shape space's


def _posed(method: LiveMethod, batch: Batch) -> torch.Tensor:
    return method.priors.joints(batch, batch.bodies())[:, 0]


def _flat(method: LiveMethod, batch: Batch) -> torch.Tensor:
    joints = _posed(method, batch)
    return joints[..., :2] / joints[..., 2:].clamp_min(0.1) / batch.half_size[:, None, None]


def test_it_can_be_scored_like_any_method(method: LiveMethod, batch: Batch) -> None:
    scores = score(method, batch)
    assert scores.estimate_pa is not None and scores.estimate_pa > 0
    assert scores.nll is not None and scores.entropy is not None
