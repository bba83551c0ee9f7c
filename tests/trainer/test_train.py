"""Training survives a kill to the last bit, and skips what is not finite."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import NUM_FEATURES
from tests.support.random_samples import (
    TINY,
    TINY_ENCODER,
    prior,
    random_records,
    unlabelled,
)
from trainer import train
from trainer.data.augment import RawRecords
from trainer.data.noise import NoiseConfig, with_noise
from trainer.data.pool import Pool
from trainer.data.rng import StepRng
from trainer.data.unlabelled import load_video
from trainer.methods.method import Losses
from trainer.methods.mhentropy import MHEntropy, MHEntropyConfig
from trainer.methods.registry import MethodConfigs
from trainer.model.pose_prior import PoseMixture
from trainer.runs import folder as runs
from trainer.runs.config import TrainConfig
from trainer.runs.training import Training, check, learning_rate_factor


@pytest.fixture(autouse=True)
def known_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoseMixture, "load", staticmethod(prior))


@pytest.fixture(scope="module")
def records(body: BodyModel) -> RawRecords:
    return random_records(24, 1, body)


@pytest.fixture
def config(tmp_path: Path, body: BodyModel) -> TrainConfig:
    """Six steps on a folder of samples, which are perturbed anew after every second."""
    for split, seed in (("train", 1), ("val", 2)):
        (tmp_path / "dataset" / split).mkdir(parents=True)
        np.savez(tmp_path / "dataset" / split / "00000.npz", **random_records(12, seed, body))
    return TrainConfig(
        dataset=tmp_path / "dataset",
        run=tmp_path / "run",
        steps=6,
        batch=8,
        warmup=2,
        threads=torch.get_num_threads(),
        evaluate_every=4,
        checkpoint_every=3,
        epoch=2,
        encoder=TINY_ENCODER,
        methods=MethodConfigs(mhentropy=MHEntropyConfig(flow=TINY)),
    )


def start(config: TrainConfig, records: RawRecords, body: BodyModel) -> Training:
    return Training(config, records, body, Fabric(accelerator="cpu", devices=1))


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "last.pt", weights_only=True)
    return {
        f"{part}.{key}": value
        for part in ("method", "average")
        for key, value in state[part].items()
    }


def test_a_run_that_was_killed_ends_with_the_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = train.run(config)
    straight = weights(config.run)
    killed = dataclasses.replace(config, run=tmp_path / "killed")
    step = Training.step

    def killed_in_step_five(self: Training) -> Losses:
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
    (only,) = json.loads((config.run / "config.json").read_text())["starts"]
    assert only["training_samples"] == 12 and only["at_step"] == 0
    assert (
        only["config"]["methods"]["mhentropy"]["flow"] == vars(TINY) and only["config"]["seed"] == 0
    )
    starts = json.loads((killed.run / "config.json").read_text())["starts"]
    assert [start["at_step"] for start in starts] == [0, 3]
    assert json.loads((config.run / "scores.json").read_text()) == dataclasses.asdict(scores)
    assert (config.run / "uncommitted.diff").exists()
    log = EventAccumulator(str(config.run)).Reload()
    logged = {tag.split("/")[0] for tag in log.Tags()["scalars"]}
    assert "val" in logged, "the log is whole when the training ends"
    # A finished run is not trained further, and can be drawn from.
    assert train.run(config) == scores
    stored = runs.load_method(config.run)
    assert isinstance(stored, MHEntropy) and not stored.training
    for name, value in stored.state_dict().items():
        torch.testing.assert_close(value, straight[f"average.{name}"], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"supervision": "2d-vis"}, "supervision"),
        ({"method": "hmr"}, "method"),
        ({"seed": 5, "batch": 2}, "batch, seed"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(
    config: TrainConfig, change: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.run.mkdir()
    runs.record(config, config.run, samples=12, done=1)
    (config.run / "last.pt").write_bytes(b"")
    with pytest.raises(PenumbraError, match=f"was begun with another {named}; name a new folder"):
        train.run(dataclasses.replace(config, **change))


def test_an_imported_run_can_only_be_started_from(
    config: TrainConfig, records: RawRecords, body: BodyModel, tmp_path: Path
) -> None:
    training = start(config, records, body)
    torch.save({"method": {}, "average": {}, "done": 0, "skipped": 0}, tmp_path / "last.pt")
    with pytest.raises(PenumbraError, match="name it as `start`"):
        training.resume(tmp_path / "last.pt")


def test_a_kill_while_saving_leaves_the_previous_checkpoint(
    config: TrainConfig,
    records: RawRecords,
    body: BodyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, path = start(config, records, body), tmp_path / "last.pt"
    training.step()
    training.save(path)
    training.step()

    def dies(state: object, file: Path) -> None:
        file.write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", dies)
        training.save(path)
    fresh = start(config, records, body)
    fresh.resume(path)
    assert fresh.done == 1


def test_a_gradient_that_is_not_finite_is_skipped_counted_and_logged(
    config: TrainConfig, records: RawRecords, body: BodyModel, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = records | {"visibility": np.full_like(records["visibility"], np.nan)}
    training = start(config, unreadable, body)
    before = {name: value.clone() for name, value in training.average.state_dict().items()}
    moments = training.optimiser.state_dict()["state"]
    with caplog.at_level(logging.WARNING):
        training.step()
    assert (training.skipped, training.done) == (1, 1)
    assert "step 0 skipped" in caplog.text and "likelihood" in caplog.text
    assert "flow.encoder.first.weight" in caplog.text  # whose gradient, too
    for method in (training.method.module, training.average):
        for name, value in method.state_dict().items():
            torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    assert training.optimiser.state_dict()["state"] == moments == {}
    training.pool = Pool(records, body, config.augment, 0, 0)
    training.step()
    assert (training.skipped, training.done) == (1, 2)
    after = training.method.module.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert all(torch.isfinite(value).all() for value in after.values())


def test_one_picture_that_is_not_finite_spoils_its_step_only(
    config: TrainConfig, records: RawRecords, body: BodyModel
) -> None:
    spoilt = records | {"visibility": records["visibility"].copy()}
    spoilt["visibility"][5] = np.nan
    training = start(dataclasses.replace(config, batch=4, epoch=100), spoilt, body)
    for _ in range(20):
        training.step()
    assert 0 < training.skipped < 20
    assert all(
        torch.isfinite(value).all() for value in training.method.module.state_dict().values()
    )


@pytest.mark.slow
def test_training_lowers_the_loss(
    config: TrainConfig, records: RawRecords, body: BodyModel
) -> None:
    config = dataclasses.replace(config, steps=60, batch=32, learning_rate=3e-3, epoch=1000)
    training = start(config, records, body)
    losses = [training.step() for _ in range(config.steps)]
    for name in ("likelihood", "center", "visible"):
        first, last = (
            torch.stack([t[name] for t in part]).mean().item() for part in (losses[:5], losses[-5:])
        )
        assert last < first, name
    assert training.skipped == 0


@pytest.mark.parametrize("supervision", ["2d-vis", "3d"])
@pytest.mark.parametrize("method", ["mhentropy", "hmr"])
def test_every_supervision_trains(
    config: TrainConfig, records: RawRecords, body: BodyModel, method: str, supervision: str
) -> None:
    chosen = dataclasses.replace(config, method=method, supervision=supervision)
    training = start(chosen, records, body)
    before = {name: value.clone() for name, value in training.method.module.state_dict().items()}
    training.step()
    assert training.skipped == 0
    moved = [
        name
        for name, value in training.method.module.state_dict().items()
        if not torch.equal(value, before[name])
    ]
    assert any("encoder" in name for name in moved)


def test_the_averaged_weights_follow(
    config: TrainConfig, records: RawRecords, body: BodyModel
) -> None:
    training = start(dataclasses.replace(config, ema=0.75), records, body)
    name = "flow.encoder.first.weight"
    mean = training.average.state_dict()[name].clone()
    for done in range(8):
        training.step()
        decay = min(0.75, (1 + done) / (10 + done))
        mean = decay * mean + (1 - decay) * training.method.module.state_dict()[name]
        torch.testing.assert_close(training.average.state_dict()[name], mean)


def test_unlabelled_video_supervises_besides_the_samples(
    config: TrainConfig, records: RawRecords, body: BodyModel, tmp_path: Path
) -> None:
    (tmp_path / "video").mkdir()
    np.savez(tmp_path / "video" / "a.npz", **unlabelled(random_records(10, 7, body)))
    video = load_video(tmp_path / "video", body)
    config = dataclasses.replace(config, unlabelled=tmp_path / "video", unlabelled_batch=4)
    gradients = []
    for weight in (0.0, 1.0, 2.0):
        chosen = dataclasses.replace(config, unlabelled_weight=weight, clip=1e9)
        training = Training(chosen, records, body, Fabric(accelerator="cpu", devices=1), video)
        losses = training.step()
        assert training.skipped == 0
        assert {
            "unlabelled_reprojection",
            "unlabelled_negative_entropy",
        } <= losses.keys() and "unlabelled_likelihood" not in losses
        method = training.method.module
        gradients.append(
            {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
        )
    none, once, twice = gradients
    name = "flow.conditioner.affine.weight"  # behind it nothing moves yet: it starts at zero
    assert not torch.allclose(once[name], none[name])
    torch.testing.assert_close(
        twice[name] - none[name], 2 * (once[name] - none[name]), atol=1e-3, rtol=1e-3
    )
    # What a landmark network is sure of is not what can be seen: visibility is learnt from labelled
    # samples only.
    name = "flow.conditioner.visible.weight"
    torch.testing.assert_close(once[name], none[name])


def test_other_methods_refuse_video_and_batches_must_divide(
    config: TrainConfig, records: RawRecords, body: BodyModel
) -> None:
    with pytest.raises(PenumbraError, match="unlabelled: hmr cannot learn from unlabelled video"):
        start(dataclasses.replace(config, method="hmr", unlabelled=Path("video")), records, body)
    with pytest.raises(PenumbraError, match="batch: 7 does not divide among 2 processes"):
        check(dataclasses.replace(config, batch=7), 2)
    with pytest.raises(PenumbraError, match="unlabelled: there is no video with exact landmarks"):
        video = dataclasses.replace(config, landmark_source="exact", unlabelled=Path("video"))
        check(video, 1)
    with pytest.raises(
        PenumbraError, match="unlabelled_batch: 5 does not divide among 2 processes"
    ):
        check(dataclasses.replace(config, unlabelled_batch=5), 2)


@pytest.mark.parametrize("name", ["steps", "epoch", "batch", "checkpoint_every", "evaluate_every"])
def test_numbers_that_are_too_small_are_refused(config: TrainConfig, name: str) -> None:
    with pytest.raises(PenumbraError, match=f"{name}: must be at least 1, not 0"):
        check(dataclasses.replace(config, **{name: 0}), 1)


def test_a_run_trains_scores_and_loads(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=2, evaluate_every=2, checkpoint_every=2)
    scores = train.run(config)
    assert scores.estimate_pa is not None and scores.estimate_pa > 0
    assert runs.load_config(config.run) == config


def test_the_learning_rate_starts_slowly_and_ends_at_a_hundredth() -> None:
    assert learning_rate_factor(0, 10, 100) == pytest.approx(0.1)
    assert learning_rate_factor(9, 10, 100) == pytest.approx(
        0.01 + 0.99 * 0.5 * (1 + np.cos(0.09 * np.pi))
    )
    assert learning_rate_factor(50, 10, 100) == pytest.approx(0.505)
    assert (
        learning_rate_factor(100, 10, 100)
        == learning_rate_factor(200, 10, 100)
        == pytest.approx(0.01)
    )
    assert learning_rate_factor(0, 0, 100) == pytest.approx(1.0)


def test_noise_has_the_stated_size_and_leaves_flags_and_place_alone() -> None:
    features = torch.zeros(4000, NUM_FEATURES)
    config = NoiseConfig(points=0.1, depth=0.2, world=0.3, confidence=0.4)
    noisy = with_noise(features, config, StepRng(0, 0))
    rms = (
        noisy.square().mean(0).sqrt() / (4 / 3) ** 0.5
    )  # E[(2u)^2] = 4/3 for the strength of each picture
    for part, expected in (((0, 66), 0.1), ((66, 99), 0.2), ((99, 165), 0.4), ((198, 297), 0.3)):
        torch.testing.assert_close(
            rms[slice(*part)], torch.full((part[1] - part[0],), expected), rtol=0.1, atol=0
        )
    assert (noisy[:, 165:198] == 0).all() and (noisy[:, 297:] == 0).all()
    strength = noisy[:, :66].std(1)
    assert strength.max() / strength.quantile(0.1) > 5  # some pictures are hardly touched
