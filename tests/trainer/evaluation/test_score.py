"""The score of a training, of methods that know the ground truth or an honest spread about it."""

import dataclasses
import math

import pytest
import torch

from engines.body import BodyModel
from engines.flow.features import NUM_FEATURES
from tests.support.random_samples import TINY, TINY_ENCODER, mhentropy, priors, random_batch
from trainer.data.samples import Batch
from trainer.evaluation.metrics import published_moments
from trainer.evaluation.score import Scores, score
from trainer.methods.hmr import HMR, HMRConfig
from trainer.methods.mhentropy import MHEntropy
from trainer.model.bodies import BodySamples
from trainer.model.flow import DIM, Context, PoseFlow
from trainer.model.kinematics import project


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Batch:
    return random_batch(40, 1, body)


class InformedFlow(PoseFlow):
    """A flow that knows the answer: feature 0 is the row of `shift`.

    Its couplings are the identity, but permute.
    """

    def __init__(self, bodies: BodySamples, std: float, seen: torch.Tensor) -> None:
        super().__init__(TINY, TINY_ENCODER)
        self.standardise(bodies)
        x = self._coordinates(bodies)[:, 0]
        self.shift, self.spread, self.seen = (x - self.mean) / self.std, std, seen

    def encode(self, features: torch.Tensor) -> Context:
        row = features[:, 0].long()
        shift = self.shift[row]
        injected = torch.zeros(len(row), TINY.couplings, 2, TINY.hidden)
        return Context(
            injected, shift, torch.full_like(shift, self.spread).log(), 20 * self.seen[row] - 10
        )


def informed_method(sample: Batch, std: float, body: BodyModel) -> tuple[MHEntropy, Batch]:
    """A method that is centred on the ground truth, and samples that it can look up."""
    torch.manual_seed(0)
    method = mhentropy(body, InformedFlow(sample.bodies(), std, sample.visible))
    return method, sample._replace(
        features=torch.arange(sample.size).float()[:, None].expand(-1, NUM_FEATURES)
    )


def number(value: float | None) -> float:
    assert value is not None
    return value


def test_a_method_that_knows_the_ground_truth_scores_perfectly(
    sample: Batch, body: BodyModel
) -> None:
    method, informed = informed_method(sample, 1e-3, body)
    scores = score(method, informed, chunk=17)
    for name in (
        "estimate_mpjpe",
        "estimate_pa",
        "mean_pa",
        "best_pa",
        "std_visible",
        "std_occluded",
    ):
        assert number(getattr(scores, name)) < 2.0, name
    assert number(scores.reprojection) < 1 and number(scores.coverage_visible) > 0.99
    wrong = informed._replace(features=informed.features.roll(1, 0))
    bad = score(method, wrong)
    assert number(bad.nll) > number(scores.nll) + 1000
    assert number(bad.estimate_pa) > 20 and number(bad.coverage_visible) < 0.2


def test_an_honest_flow_covers_nine_tenths_and_its_entropy_is_its_nll(
    sample: Batch, body: BodyModel
) -> None:
    count = 120
    many = sample.rows(torch.arange(count) % sample.size)
    method, informed = informed_method(many, 0.05, body)
    with torch.no_grad():  # the truth is drawn from the flow itself
        z = torch.randn(count, 1, DIM, generator=torch.Generator().manual_seed(5))
        drawn, _ = method.flow.sample(method.flow.encode(informed.features), z)
        joints = method.priors.joints(informed, drawn)
    honest = informed._replace(
        rotvec=drawn.rotvec[:, 0],
        betas=drawn.betas[:, 0],
        camera=drawn.camera[:, 0],
        joints=joints[:, 0],
        target=project(joints, informed.half_size)[:, 0],
    )
    scores = score(method, honest)
    assert scores.coverage_visible == pytest.approx(
        0.9, abs=0.04
    )  # 120 images, a covariance from 100 draws
    assert scores.coverage_occluded == pytest.approx(0.9, abs=0.06)
    assert scores.nll == pytest.approx(scores.entropy, abs=4 * (DIM / 2 / count) ** 0.5)
    assert number(scores.best_pa) < number(scores.mean_pa) < number(scores.estimate_pa) + 5


@pytest.mark.slow
def test_scores_do_not_depend_on_the_chunk_and_repeat(sample: Batch, body: BodyModel) -> None:
    method, informed = informed_method(
        sample, 0.02, body
    )  # each chunk has its own rng, so the spread must not matter
    a, b, again = (
        dataclasses.asdict(score(method, informed, chunk=chunk)) for chunk in (40, 9, 40)
    )
    assert a == again
    assert a.keys() == {field.name for field in dataclasses.fields(Scores)}
    for name in ("nll", "estimate_mpjpe", "estimate_pa"):  # of the centre, which is not drawn
        assert b[name] == pytest.approx(a[name], rel=1e-3, abs=2e-3), name
    for name, value in a.items():
        assert b[name] == pytest.approx(value, rel=0.05, abs=0.05), name


def test_a_method_without_density_has_no_nll_and_no_entropy(sample: Batch, body: BodyModel) -> None:
    torch.manual_seed(0)
    scores = score(HMR("3d", priors(body), HMRConfig(), TINY_ENCODER), sample)
    assert scores.nll is None and scores.entropy is None
    assert scores.best_pa == scores.estimate_pa and number(scores.estimate_pa) > 20
    assert (scores.std_visible, scores.std_occluded) == (0.0, 0.0)


def test_joints_that_are_never_occluded_have_no_score_as_occluded(
    sample: Batch, body: BodyModel
) -> None:
    method, informed = informed_method(sample, 0.1, body)
    scores = score(method, informed._replace(visible=torch.ones_like(informed.visible)))
    assert scores.coverage_occluded is None and scores.std_occluded is None
    assert not math.isnan(number(scores.coverage_visible))
    assert set(dataclasses.asdict(Scores.unknown()).values()) == {None}


def test_moments_are_those_of_bodies_at_one_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(2, 500, 24, 3, generator=generator, dtype=torch.float64) * 0.05
    shape[:, :, 0] = 0
    center = torch.tensor([0.5, -0.2, 3.0], dtype=torch.float64)
    ray = center / center.norm()
    far = torch.randn(2, 500, 1, 1, generator=generator, dtype=torch.float64)
    far[:, 0] = 0
    mean, cov = published_moments(shape + center + far * ray)
    torch.testing.assert_close(mean, (shape + center).mean(1))
    for j in (1, 17):
        torch.testing.assert_close(cov[1, j], torch.cov(shape[1, :, j].T, correction=0))
