"""The shipped flow on fresh pictures of poses drawn from the prior: the less is seen, the less it
says it knows.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from calib.metrics import spearman
from engines.body import BodyModel
from engines.flow.sampler import open_sampler
from trainer.data.rendered import SampleRenderer
from trainer.data.samples import encode
from trainer.model.pose_prior import PoseMixture
from trainer.render.scenes import AMBIGUOUS, draw_scene

PICTURES = 200


class Told(NamedTuple):
    """What the flow said of each picture."""

    hidden: np.ndarray
    """(N,) joints that cannot be seen."""
    entropy: np.ndarray
    visible: np.ndarray
    """(N, 24)"""
    p_visible: np.ndarray


@pytest.fixture(scope="module")
def told(body: BodyModel) -> Told:
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    poses = np.concatenate(
        [np.zeros((500, 1, 3)), PoseMixture.load().sample(500, generator).numpy()], 1
    )
    renderer, records = SampleRenderer.open(body), []
    while len(records) < PICTURES:
        record = renderer.sample(draw_scene(poses, np.arange(500), AMBIGUOUS, rng), rng)
        if record is not None:
            records.append(record)
    raw = {key: np.stack([record[key] for record in records]) for key in records[0]}
    sampler, nats, p_visible = open_sampler(body, 50), [], []
    engine = sampler.engine
    for features in encode(raw, body, features=sampler.features).features.numpy():
        engine.inputs["features"][0] = features
        engine.run()
        nats.append(-engine.outputs["log_q"][1:].mean())
        p_visible.append(engine.outputs["visible"].copy())
    visible = raw["joint_visible"].astype(bool)
    return Told((~visible).sum(1), np.array(nats), visible, np.array(p_visible))


def test_entropy_rises_with_the_number_of_hidden_joints(told: Told) -> None:
    several = np.array_split(np.argsort(told.hidden, kind="stable"), 10)
    hidden, nats = (
        np.array([values[rows].mean() for rows in several])
        for values in (told.hidden, told.entropy)
    )
    assert hidden[-1] - hidden[0] > 8  # there is something to tell
    assert spearman(hidden, nats) > 0.8
    assert (
        spearman(told.hidden, told.entropy) > 0.4
    )  # picture by picture, where the pose matters as well


def test_it_knows_which_joints_are_hidden(told: Told) -> None:
    ranks = np.argsort(np.argsort(told.p_visible.ravel()))
    seen = told.visible.ravel()
    area = (ranks[seen].mean() - (seen.sum() - 1) / 2) / (~seen).sum()  # under the ROC curve
    assert area > 0.85
