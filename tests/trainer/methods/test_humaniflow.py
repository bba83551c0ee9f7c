"""HuManiFlow: what it is prepared on, and what its loss is a mean of."""

from dataclasses import replace

import pytest
import torch

from engines.body import BodyModel
from tests.support.random_samples import priors, random_batch
from trainer.data.rng import StepRng
from trainer.methods import humaniflow
from trainer.methods.method import Supervision
from trainer.model.encoder import EncoderConfig
from trainer.model.tree_flow import TreeFlowConfig

ENCODER = EncoderConfig(width=32, blocks=1, dropout=0.0)
TREE = TreeFlowConfig(shared=24, context=8, hidden=8, bins=4)


def humaniflow_method(supervision: Supervision, body: BodyModel) -> humaniflow.HuManiFlow:
    return humaniflow.HuManiFlow(
        supervision, priors(body), humaniflow.HuManiFlowConfig(TREE), ENCODER
    )


def test_the_tree_starts_as_the_poses_shown(body: BodyModel) -> None:
    """Before the first step the flow is the identity: draws have mean and spread of the poses that
    it was prepared on.
    """
    method, some = humaniflow_method("3d", body), random_batch(64, 1, body)
    method.prepare(some)
    drawn = method.draw(some, 40, StepRng(0, 0)).bodies.rotvec[:, 1:, 1:].flatten(0, 1)
    torch.testing.assert_close(drawn.mean(0), some.rotvec[:, 1:].mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), some.rotvec[:, 1:].std(0), atol=0.05, rtol=0)


@pytest.mark.slow
def test_more_samples_are_taken_where_configured(body: BodyModel) -> None:
    """A loss over many samples is less random than one over few."""
    few, batch = humaniflow_method("2d-vis", body), random_batch(4, 2, body)
    few.prepare(random_batch(64, 1, body))

    def spread(samples: int) -> float:
        few.config = replace(few.config, samples=samples)
        return torch.stack([few(batch, StepRng(0, step))[0] for step in range(12)]).std().item()

    assert spread(64) < 0.6 * spread(2)
