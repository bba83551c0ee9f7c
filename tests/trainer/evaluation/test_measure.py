"""Every value of the tables, for stand-in methods whose spread is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS
from tests.support.random_samples import priors, random_batch
from trainer.data.rng import StepRng
from trainer.data.samples import Batch
from trainer.evaluation import predictions as module
from trainer.evaluation.measure import MeasureConfig, accuracy, measure
from trainer.evaluation.predictions import Predictions, predict, surface_error
from trainer.methods.method import Losses, Method, Priors, Samples
from trainer.model import so3
from trainer.model.bodies import BodySamples
from trainer.model.kinematics import project

S = 0.05
"""Standard deviation of the error of a stand-in's best estimate, metres, on each axis."""
SMALL = MeasureConfig(quantised_images=2, diverse=100)
LIMBS = list(LIMB_JOINTS)


class Clouds(Priors):
    """Takes a body's rotation vectors for its joints, so that a stand-in can put joints where it
    likes.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def joints(self, batch: Batch, bodies: BodySamples) -> Tensor:
        return bodies.rotvec


class Around(Method):
    """Errs by S, and says that it errs by `visible` or `occluded` times S; pelvises are exact."""

    def __init__(self, visible: float = 1.0, occluded: float = 1.0) -> None:
        super().__init__("3d", Clouds())
        self.factors = visible, occluded

    def forward(self, batch: Batch, rng: StepRng) -> tuple[Tensor, Losses]:
        raise NotImplementedError

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        noise = S * rng.normal(batch.size, count, 24, 3)
        noise[:, :, 0] = 0.0
        visible, occluded = self.factors
        factor = torch.where(batch.visible.bool(), visible, occluded)[:, None, :, None]
        joints = (
            batch.joints[:, None]
            + noise[:, :1]
            + factor * torch.cat([0 * noise[:, :1], noise[:, 1:]], 1)
        )
        return Samples(BodySamples(joints, joints, joints), self.log_q(batch, count))

    def log_q(self, batch: Batch, count: int) -> Tensor | None:
        return None


class WithEntropy(Around):
    """Its entropy is what `entropy` says of the numbers of occluded joints."""

    def __init__(self, entropy: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.entropy = entropy

    def log_q(self, batch: Batch, count: int) -> Tensor:
        return -self.entropy((1 - batch.visible).sum(1))[:, None].expand(-1, count)


class TrueBody(Around):
    """The true body again and again."""

    def __init__(self, body: BodyModel) -> None:
        super().__init__()
        self.priors = priors(body)

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        return Samples(
            BodySamples(*(part.expand(-1, count, *part.shape[2:]) for part in batch.bodies())), None
        )


class Turned(TrueBody):
    """The true body, upside down."""

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        y, betas, camera = super().draw(batch, count, rng).bodies
        over = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        root = so3.log(over @ so3.exp(y[:, :, :1]))
        return Samples(BodySamples(torch.cat([root, y[:, :, 1:]], 2), betas, camera + 1.0), None)


class Far(Around):
    """The true joints to 0.1 mm, at distances along the ray of the pelvis that no image tells."""

    def draw(self, batch: Batch, count: int, rng: StepRng) -> Samples:
        far = rng.normal(batch.size, count)
        far[:, 0] = 0.0
        ray = nn.functional.normalize(batch.joints[:, 0], dim=-1)
        joints = batch.joints[:, None] + 0.1 * far[..., None, None] * ray[:, None, None]
        joints[:, :, 1:, 0] += 1e-4  # without any error there is nothing to rank
        return Samples(BodySamples(joints, joints, joints), None)


@pytest.fixture(scope="module")
def people(body: BodyModel) -> Batch:
    return random_batch(12, 3, body)


@pytest.fixture(scope="module")
def board() -> Batch:
    """300 flat people 4 m before a camera that has 500 px a unit: noise of S is 6.25 px."""
    generator = torch.Generator().manual_seed(0)
    joints = 0.3 * (2 * torch.rand(300, 24, 3, generator=generator) - 1)
    joints[..., 2] = 4.0
    joints[:, 0] = torch.tensor([0.0, 0.0, 4.0])
    H = torch.tensor([[500.0, 0, 128], [0, 500, 128], [0, 0, 1]])
    half_size = torch.full((300,), 0.2)
    visible = (torch.rand(300, 24, generator=generator) < 0.7).float()
    return Batch(
        features=torch.zeros(300, 0),
        R_anchor=torch.eye(3).expand(300, 3, 3),
        half_size=half_size,
        crop_from_view=H.expand(300, 3, 3),
        rotvec=torch.zeros(300, 24, 3),
        betas=torch.zeros(300, 10),
        camera=torch.zeros(300, 3),
        joints=joints,
        target=project(joints[:, None], half_size)[:, 0],
        visible=visible,
    )


def test_the_true_body_has_no_error_and_no_spread(people: Batch, body: BodyModel) -> None:
    values = measure(TrueBody(body), people, SMALL)
    for name in (
        "pa_best_1",
        "pa_best_100",
        "mpjpe_of_pa_best_25",
        "pa_quantised_25",
        "energy_mm",
        "pjd_3d_occluded_mm",
    ):
        assert values[name] == pytest.approx(0, abs=0.02), name
    for name in (
        "ah_px",
        "wh_px",
        "consistency_px",
        "pjd_2d_visible_px",
        "confident_error",
        "spread_visible_mm",
    ):
        assert values[name] == pytest.approx(0, abs=0.02), name
    for level in (50, 68, 90, 95):
        assert values[f"coverage_{level}"] == values[f"coverage_{level}_occluded"] == 100
    # Nothing but the floor of 4 mm, and the millimetre that the density adds.
    assert values["nll"] == pytest.approx(
        0.5 * math.log(2 * math.pi * (0.004**2 + 0.001**2)), abs=1e-3
    )
    # All is inside at every level: the mean of 1 - 0.01, ... 1 - 0.99.
    assert values["ece"] == pytest.approx(0.5)
    assert values["entropy_rank"] is None and values["spearman"] is None


def test_honest_noise_has_the_values_of_a_gaussian(board: Batch) -> None:
    values = {
        name: value for name, value in measure(Around(), board, SMALL).items() if value is not None
    }
    norm = 2 * math.sqrt(2 / math.pi)  # mean distance from the middle of a round Gaussian in space
    assert values["mpjpe_of_pa_best_1"] == pytest.approx(1000 * norm * S, rel=0.03)
    for name in ("spread_visible_mm", "spread_occluded_mm"):
        assert values[name] == pytest.approx(1000 * norm * S, rel=0.02), name
    assert values["pjd_3d_occluded_mm"] == pytest.approx(1000 * math.sqrt(3) * S, rel=0.02)
    assert values["pjd_2d_visible_px"] == pytest.approx(math.sqrt(2) * 6.25, rel=0.02)
    assert values["rd"] == pytest.approx(
        values["pjd_2d_visible_px"] / values["pjd_3d_occluded_mm"], rel=1e-3
    )
    # Draws and truth lie sqrt(2) S apart on each axis; of a hundred hypotheses the first is nearer.
    assert values["consistency_px"] == pytest.approx(
        math.sqrt(2) * 6.25 * math.sqrt(math.pi / 2), rel=0.02
    )
    assert values["ah_px"] == pytest.approx(
        (0.99 + 0.01 / math.sqrt(2)) * values["consistency_px"], rel=0.005
    )
    assert values["wh_px"] > 1.3 * values["ah_px"]
    assert values["energy_mm"] == pytest.approx(1000 * norm * S / math.sqrt(2), rel=0.03)
    for level in (50, 68, 90, 95):
        assert values[f"coverage_{level}"] == pytest.approx(level, abs=3.5)
    assert values["ece"] < 0.02
    assert values["nll"] == pytest.approx(0.5 * math.log(2 * math.pi * S**2) + 0.5, abs=0.04)
    # P(error > 3 S), whatever the standard deviation says: it is the same everywhere but for rng.
    assert values["confident_error"] == pytest.approx(100 * chi2(3).sf(9), abs=1.0)
    assert values["spearman"] == pytest.approx(0, abs=0.06)
    assert values["pa_best_100"] < values["pa_best_25"] < values["pa_best_10"] < values["pa_best_5"]
    # Draws about an estimate that errs: one may be nearer, most are not.
    assert values["pa_best_5"] <= values["pa_best_1"] < values["mpjpe_of_pa_best_1"]


def test_spread_is_measured_apart_for_visible_joints(board: Batch) -> None:
    """Half of the true spread where joints are visible, double where they are occluded."""
    values = {
        name: value
        for name, value in measure(Around(0.5, 2.0), board, SMALL).items()
        if value is not None
    }
    for group, factor in (("visible", 0.5), ("occluded", 2.0)):
        inflation = 0.99 * factor**2 + (0.004 / S) ** 2
        for level in (50, 68, 90, 95):
            share = 100 * chi2(3).cdf(inflation * chi2(3).ppf(level / 100))
            assert values[f"coverage_{level}_{group}"] == pytest.approx(share, abs=4), (
                group,
                level,
            )
        spread = 1000 * factor * S * 2 * math.sqrt(2 / math.pi)
        assert values[f"spread_{group}_mm"] == pytest.approx(spread, rel=0.02)
    assert values["pjd_2d_visible_px"] == pytest.approx(0.5 * math.sqrt(2) * 6.25, rel=0.02)
    assert values["pjd_3d_occluded_mm"] == pytest.approx(2000 * math.sqrt(3) * S, rel=0.02)
    share = board.visible[:, LIMBS].mean().item()
    mixed = share * values["coverage_90_visible"] + (1 - share) * values["coverage_90_occluded"]
    assert values["coverage_90"] == pytest.approx(mixed, abs=0.01)


def test_temperature_scales_the_spread_and_leaves_everything_else(board: Batch) -> None:
    one, two = (predict(Around(), board, 20, 3, temperature=t) for t in (1.0, 2.0))
    torch.testing.assert_close(one.target, two.target)
    error, doubled = (each.joints - each.target[:, None] for each in (one, two))
    torch.testing.assert_close(doubled, 2 * error, rtol=0, atol=1e-5)
    measured = measure(Around(), board, replace(SMALL, temperature=2.0))
    plain = measure(Around(), board, SMALL)
    spread, before = measured["pjd_3d_occluded_mm"], plain["pjd_3d_occluded_mm"]
    assert spread is not None and before is not None
    assert spread == pytest.approx(2 * before, rel=1e-3)


def test_an_unknown_distance_is_neither_error_nor_uncertainty(board: Batch) -> None:
    values = measure(Far(), board.rows(torch.arange(10)), SMALL)
    for name in ("pa_best_1", "energy_mm", "spread_occluded_mm", "pjd_3d_occluded_mm"):
        assert values[name] == pytest.approx(0, abs=0.11), name
    assert values["coverage_50"] == 100
    assert (values["consistency_px"] or 0) > 0.1  # in the image it can be seen


def test_entropy_follows_the_occluded_joints_or_not(board: Batch) -> None:
    some = replace(SMALL, hypotheses=3)
    assert measure(WithEntropy(lambda occluded: occluded), board, some)["entropy_rank"] == 1
    assert (
        measure(WithEntropy(lambda occluded: -occluded.square()), board, some)["entropy_rank"] == -1
    )
    assert measure(Around(), board, some)["entropy_rank"] is None
    # The mean per number may follow where single images do not.
    noisy = WithEntropy(
        lambda occluded: occluded + 30 * torch.sin(1e3 * torch.arange(len(occluded)))
    )
    values = measure(noisy, board, some)
    assert 0 < (values["entropy_rank_images"] or 0) < 0.5
    assert measure(WithEntropy(lambda occluded: occluded), board, some)["entropy_rank_images"] == 1


def test_numbers_of_occluded_joints_that_are_rare_do_not_count(board: Batch) -> None:
    occluded = (1 - board.visible).sum(1)
    numbers, counts = occluded.unique(return_counts=True)
    rare = numbers[counts < 10]
    assert len(rare)
    odd = WithEntropy(
        lambda occluded: torch.where(torch.isin(occluded, rare), 100 * (-1) ** occluded, occluded)
    )
    assert measure(odd, board, replace(SMALL, hypotheses=3))["entropy_rank"] == 1


def test_the_same_hypothesis_fills_both_columns() -> None:
    """Hypothesis 1 is the truth at double size: perfect once aligned. Hypothesis 2 is nearer as it
    stands.
    """
    truth = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (1, 12, 3))).float()
    near = truth.clone()
    near[:, 0, 0] += 0.12
    joints = torch.stack([truth + torch.randn(1, 12, 3), 2 * truth, near, near, near], 1)
    visible = torch.zeros(1, 12, dtype=torch.bool)
    nothing = torch.zeros(1)
    predictions = Predictions(
        joints, truth, joints[..., :2], truth[..., :2], joints, truth, visible, nothing, nothing
    )
    values = accuracy(predictions, MeasureConfig(hypotheses=5))
    assert values["pa_best_5"] == pytest.approx(0, abs=1e-3)
    assert values["mpjpe_of_pa_best_5"] == pytest.approx(
        1000 * truth.norm(dim=-1).mean().item(), rel=1e-4
    )
    assert values["pa_quantised_5"] == values["pa_best_5"]  # all five of five
    assert math.isnan(values["pa_best_10"]) and math.isnan(values["pa_best_25_of_those"])


def test_images_keep_their_order_over_chunks(
    people: Batch, body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 5)
    predictions = predict(TrueBody(body), people, hypotheses=3, seed=11)
    expected = (people.joints - people.joints[:, :1])[:, LIMBS]
    torch.testing.assert_close(predictions.target, expected)
    torch.testing.assert_close(
        predictions.joints, expected[:, None].expand(-1, 3, -1, -1), atol=1e-4, rtol=0
    )
    crop = torch.einsum("bij,bkj->bki", people.crop_from_view, people.joints[:, LIMBS])
    torch.testing.assert_close(predictions.target_pixels, crop[..., :2] / crop[..., 2:])
    assert (
        torch.equal(predictions.num_occluded, 24 - people.visible.sum(1))
        and predictions.entropy.isnan().all()
    )


def test_surface_error_is_a_distance_of_skins_with_pelvises_together(
    people: Batch, body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 5)
    assert surface_error(TrueBody(body), people, body) == pytest.approx(0, abs=1e-3)
    # Turned about x by half a turn, every vertex moves by twice its distance from the x axis
    # through the pelvis.
    y, betas = people.rotvec.numpy(), people.betas.numpy()
    posed = body.shaped(betas).posed(y, np.zeros(3))
    skin = posed.vertices() - posed.joints[:, :1]
    expected = 2000 * np.linalg.norm(skin[..., 1:], axis=-1).mean()
    assert surface_error(Turned(body), people, body) == pytest.approx(expected, rel=1e-4)


def test_what_does_not_apply_is_none(board: Batch) -> None:
    bright = board.rows(torch.arange(8))._replace(visible=torch.ones(8, 24))
    values = measure(Around(), bright, replace(SMALL, hypotheses=5))
    nothing = {name for name, value in values.items() if value is None}
    assert nothing == {
        "pa_best_10",
        "pa_best_25",
        "pa_best_100",
        "mpjpe_of_pa_best_10",
        "mpjpe_of_pa_best_25",
        "mpjpe_of_pa_best_100",
        "pa_best_25_of_those",
        "pa_quantised_10",
        "pa_quantised_25",
        "pjd_3d_occluded_mm",
        "rd",
        "spread_occluded_mm",
        "entropy_rank",
        "entropy_rank_images",
        "coverage_50_occluded",
        "coverage_68_occluded",
        "coverage_90_occluded",
        "coverage_95_occluded",
    }
    # A ratio to nothing is no number either: occluded joints that do not spread at all.
    assert (
        measure(Around(1.0, 0.0), board.rows(torch.arange(8)), replace(SMALL, hypotheses=5))["rd"]
        is None
    )
    with pytest.raises(PenumbraError, match=r"measure\.hypotheses: must be at least 3, not 2"):
        measure(Around(), bright, replace(SMALL, hypotheses=2))
