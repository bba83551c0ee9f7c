"""Training survives a kill to the last bit, skips what is not finite, and is scored by metrics that know the truth."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from random_pairs import TINY, pairs, prior, records

from engines.body import BodyModel
from engines.features import NUM_FEATURES
from trainer import train
from trainer.augment import Raw
from trainer.data import Pairs, batches
from trainer.evaluate import Scores, evaluate, moments
from trainer.flow import DIM, Context, PoseFlow
from trainer.kinematics import project, view_joints
from trainer.train import LossConfig, NoiseConfig, TrainConfig, Training, objective, skeleton_of, with_noise


@pytest.fixture(autouse=True)
def known_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.PosePrior, "load", staticmethod(prior))


@pytest.fixture(scope="module")
def sample(body: BodyModel) -> Pairs:
    return pairs(40, 1, body)


@pytest.fixture(scope="module")
def raw(body: BodyModel) -> Raw:
    return records(24, 1, body)


@pytest.fixture
def config(tmp_path: Path, body: BodyModel) -> TrainConfig:
    """Six steps on a folder of pairs."""
    for split, seed in (("train", 1), ("val", 2)):
        (tmp_path / "pairs" / split).mkdir(parents=True)
        np.savez(tmp_path / "pairs" / split / "00000.npz", **records(12, seed, body))
    return TrainConfig(
        pairs=tmp_path / "pairs", run=tmp_path / "run", steps=6, batch=8, warmup=2, threads=torch.get_num_threads(),
        evaluate_every=4, checkpoint_every=3, flow=TINY,
    )  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "last.pt", weights_only=True)
    return {f"{part}.{key}": value for part in ("flow", "average") for key, value in state[part].items()}


def test_a_run_that_was_killed_ends_with_the_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = train.run(config)
    straight = weights(config.run)
    killed = dataclasses.replace(config, run=tmp_path / "killed")
    step = Training.step

    def killed_in_step_five(self: Training) -> train.Terms:
        if self.done == 4:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "step", killed_in_step_five)
        train.run(killed)
    assert torch.load(killed.run / "last.pt", weights_only=True)["done"] == 3
    assert train.run(killed) == scores
    resumed = weights(killed.run)
    assert resumed.keys() == straight.keys()
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value, atol=0, rtol=0, msg=name)
    # What made the run lies beside it.
    (start,) = json.loads((config.run / "config.json").read_text())["starts"]
    assert start["training_pairs"] == 12 and start["at_step"] == 0
    assert start["config"]["flow"] == vars(TINY) and start["config"]["seed"] == 0
    starts = json.loads((killed.run / "config.json").read_text())["starts"]
    assert [start["at_step"] for start in starts] == [0, 3]
    assert json.loads((config.run / "scores.json").read_text()) == dataclasses.asdict(scores)
    assert (config.run / "uncommitted.diff").exists() and list(config.run.glob("events.*"))
    # A finished run is not trained further.
    assert train.run(config) == scores


def test_a_kill_while_saving_leaves_the_previous_checkpoint(
    config: TrainConfig, raw: Raw, body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, path = Training(config, raw, body), tmp_path / "last.pt"
    training.step()
    training.save(path)
    training.step()

    def dies(state: object, file: Path) -> None:
        file.write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", dies)
        training.save(path)
    fresh = Training(config, raw, body)
    fresh.resume(path)
    assert fresh.done == 1


def test_a_gradient_that_is_not_finite_is_skipped_counted_and_logged(
    config: TrainConfig, raw: Raw, body: BodyModel, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = raw | {"visibility": np.full_like(raw["visibility"], np.nan)}
    training = Training(config, unreadable, body)
    before = {name: value.clone() for name, value in training.flow.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        training.step()
    assert (training.skipped, training.done) == (1, 1)
    assert "not finite" in caplog.text and "likelihood" in caplog.text
    for flow in (training.flow, training.average):
        for name, value in flow.state_dict().items():
            torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    training.batches = batches(raw, body, config.batch, config.augment, training.rng)
    training.step()
    assert training.skipped == 1
    assert any(not torch.equal(value, before[name]) for name, value in training.flow.state_dict().items())
    assert all(torch.isfinite(value).all() for value in training.flow.state_dict().values())


def test_training_lowers_the_loss(config: TrainConfig, raw: Raw, body: BodyModel) -> None:
    config = dataclasses.replace(config, steps=60, batch=32, learning_rate=3e-3)
    training = Training(config, raw, body)
    terms = [training.step() for _ in range(config.steps)]
    for name in ("likelihood", "center", "visible"):
        first, last = (torch.stack([t[name] for t in part]).mean().item() for part in (terms[:5], terms[-5:]))
        assert last < first, name
    assert training.skipped == 0


def test_the_objective_is_the_weighted_sum_of_its_terms(sample: Pairs, body: BodyModel) -> None:
    torch.manual_seed(0)
    flow, weights = PoseFlow(TINY).eval(), LossConfig(likelihood=0.5, mhentropy=0.3, center=7.0, visible=2.0)
    total, terms = objective(flow, prior(), skeleton_of(body), sample, weights, torch.Generator().manual_seed(0))
    kl = sum(terms[name] for name in ("reprojection", "pose_prior", "shape_prior", "negative_entropy"))
    expected = 0.5 * terms["likelihood"] + 0.3 * kl + 7 * terms["center"] + 2 * terms["visible"]
    torch.testing.assert_close(total, expected)


def test_noise_has_the_stated_size_and_leaves_flags_and_place_alone() -> None:
    features = torch.zeros(4000, NUM_FEATURES)
    config = NoiseConfig(points=0.1, depth=0.2, world=0.3, confidence=0.4)
    noisy = with_noise(features, config, torch.Generator().manual_seed(0))
    rms = noisy.square().mean(0).sqrt() / (4 / 3) ** 0.5  # E[(2u)^2] = 4/3 for the strength of each picture
    for part, expected in (((0, 66), 0.1), ((66, 99), 0.2), ((99, 165), 0.4), ((198, 297), 0.3)):
        torch.testing.assert_close(rms[slice(*part)], torch.full((part[1] - part[0],), expected), rtol=0.1, atol=0)
    assert (noisy[:, 165:198] == 0).all() and (noisy[:, 297:] == 0).all()
    strength = noisy[:, :66].std(1)
    assert strength.max() / strength.quantile(0.1) > 5  # some pictures are hardly touched


class Told(torch.nn.Module):
    """An encoder that is told the answer: feature 0 is the row of `shift`."""

    def __init__(self, shift: torch.Tensor, std: float, seen: torch.Tensor) -> None:
        super().__init__()
        self.shift, self.std, self.seen = shift, std, seen

    def forward(self, features: torch.Tensor) -> Context:
        row = features[:, 0].long()
        shift = self.shift[row]
        injected = torch.zeros(len(row), TINY.couplings, 2, TINY.hidden)
        return Context(injected, shift, torch.full_like(shift, self.std).log(), 20 * self.seen[row] - 10)


def told(sample: Pairs, std: float) -> tuple[PoseFlow, Pairs]:
    """A flow centred on the truth, and pairs that it can look up."""
    torch.manual_seed(0)
    flow = PoseFlow(TINY)  # couplings start as the identity, up to their permutations
    flow.standardise(sample.bodies())
    x = flow._coordinates(sample.bodies())[:, 0]
    flow.encoder = Told((x - flow.mean) / flow.std, std, sample.visible)  # pyright: ignore[reportAttributeAccessIssue]
    return flow, sample._replace(features=torch.arange(sample.size).float()[:, None].expand(-1, NUM_FEATURES))


def test_a_flow_that_is_told_the_truth_scores_perfectly(sample: Pairs, body: BodyModel) -> None:
    flow, known = told(sample, 1e-3)
    scores = evaluate(flow, skeleton_of(body), known, chunk=17)
    assert max(scores.center_mpjpe, scores.center_pa, scores.mean_pa, scores.best_pa) < 2.0
    assert scores.reprojection < 1 and scores.visible_accuracy == 100
    assert scores.coverage_visible > 0.99 and max(scores.std_visible, scores.std_hidden) < 2
    wrong = known._replace(features=known.features.roll(1, 0))
    bad = evaluate(flow, skeleton_of(body), wrong)
    assert bad.nll > scores.nll + 1000 and bad.center_pa > 20 and bad.coverage_visible < 0.2


def test_an_honest_flow_covers_nine_tenths_and_its_entropy_is_its_surprise(sample: Pairs, body: BodyModel) -> None:
    skeleton, count = skeleton_of(body), 120
    many = sample.rows(torch.arange(count) % sample.size)
    flow, known = told(many, 0.05)
    with torch.no_grad():  # the truth is drawn from the flow itself
        z = torch.randn(count, 1, DIM, generator=torch.Generator().manual_seed(5))
        drawn, _ = flow.sample(flow.encoder(known.features), z)
        joints = view_joints(skeleton, known.R_anchor, known.half, drawn)
    honest = known._replace(
        y=drawn.y[:, 0], betas=drawn.betas[:, 0], camera=drawn.camera[:, 0], joints=joints[:, 0],
        target=project(joints, known.half)[:, 0],
    )  # fmt: skip
    scores = evaluate(flow, skeleton, honest)
    assert scores.coverage_visible == pytest.approx(0.9, abs=0.04)  # 120 pictures, a covariance from 100 draws
    assert scores.coverage_hidden == pytest.approx(0.9, abs=0.06)
    assert scores.nll == pytest.approx(scores.entropy, abs=4 * (DIM / 2 / count) ** 0.5)
    assert scores.best_pa < scores.mean_pa < scores.center_pa + 5


def test_scores_do_not_depend_on_the_chunk_and_repeat(sample: Pairs, body: BodyModel) -> None:
    flow, known = told(sample, 0.1)
    a, b = (dataclasses.asdict(evaluate(flow, skeleton_of(body), known, chunk=chunk)) for chunk in (40, 9))
    assert a.keys() == {field.name for field in dataclasses.fields(Scores)}
    for name, value in a.items():
        assert b[name] == pytest.approx(value, rel=1e-3, abs=2e-3), name


def test_moments_are_those_of_bodies_at_one_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(2, 500, 24, 3, generator=generator, dtype=torch.float64) * 0.05
    shape[:, :, 0] = 0
    center = torch.tensor([0.5, -0.2, 3.0], dtype=torch.float64)
    ray = center / center.norm()
    far = torch.randn(2, 500, 1, 1, generator=generator, dtype=torch.float64)
    far[:, 0] = 0
    mean, cov = moments(shape + center + far * ray)
    torch.testing.assert_close(mean, (shape + center).mean(1))
    for j in (1, 17):
        torch.testing.assert_close(cov[1, j], torch.cov(shape[1, :, j].T, correction=0))
