"""Training of the live flow: it learns, survives a kill to the last bit, and is exported."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.flow.sampler import open_sampler
from tests.support.random_samples import TINY_ANCHORED
from trainer import export_onnx, synthetic_rate, train_live
from trainer.live.config import LiveConfig
from trainer.live.folder import load_live_config, load_live_method
from trainer.live.rendered import RenderedSource
from trainer.live.training import LiveTraining, check, learning_rate_factor
from trainer.runs.folder import load_config, load_scores


def weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "last.pt", weights_only=True)
    return {
        f"{part}.{name}": value
        for part in ("flow", "average")
        for name, value in state[part].items()
    }


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_last_bit(
    config: LiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_live.run(config)
    killed = dataclasses.replace(config, run=config.run.with_name("killed"))
    step = LiveTraining.step

    def dies(self: LiveTraining):
        if self.done == 4:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(LiveTraining, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            train_live.run(killed)
    train_live.run(killed)
    expected, found = weights(config.run), weights(killed.run)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0, msg=name)
    starts = json.loads((killed.run / "config.json").read_text())["starts"]
    assert [start["at_step"] for start in starts] == [0, 3] and starts[0]["rendered"] == 12
    log = [json.loads(line) for line in (config.run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "scores" in entry] == [4, 6]


def test_a_run_is_loaded_and_exported(config: LiveConfig, body: BodyModel, tmp_path: Path) -> None:
    train_live.run(config)
    assert load_live_config(config.run) == config
    assert load_scores(config.run)["estimate_pa"]
    with pytest.raises(PenumbraError, match="trained the live flow, which is no method"):
        load_config(config.run)
    export_onnx.main(export_onnx.ExportConfig(config.run, tmp_path / "flow.onnx"))
    model = FlowModel.load(tmp_path / "flow.onnx")
    assert model.features == "landmarks_2d" and model.record["trained"]["kind"] == "live"
    assert open_sampler(body, 3, "onnxruntime", model).features == "landmarks_2d"
    flow = load_live_method(config.run).flow
    assert torch.equal(flow.state_dict()["anchor.bias"], weights(config.run)["average.anchor.bias"])


def test_a_run_starts_from_another_ones_averaged_weights(config: LiveConfig) -> None:
    train_live.run(dataclasses.replace(config, steps=2))
    after = dataclasses.replace(config, run=config.run.with_name("after"), start=config.run)
    assert config.run.is_dir()
    body = BodyModel.load()
    training = LiveTraining(after, body)
    training.start_from(config.run / "last.pt")
    assert training.done == 0
    torch.testing.assert_close(
        training.method.flow.anchor.bias.detach(), weights(config.run)["average.anchor.bias"]
    )
    with pytest.raises(PenumbraError, match=r"start: there is no .*; name the folder of a run"):
        training.start_from(config.run / "missing.pt")
    other = dataclasses.replace(after, flow=dataclasses.replace(TINY_ANCHORED, width=16))
    with pytest.raises(PenumbraError, match="of another kind or of other sizes"):
        LiveTraining(other, body).start_from(config.run / "last.pt")


def test_an_imported_or_averaged_run_can_only_be_started_from(
    config: LiveConfig, tmp_path: Path
) -> None:
    torch.save({"flow": {}, "average": {}, "done": 0, "skipped": 0}, tmp_path / "last.pt")
    with pytest.raises(PenumbraError, match="name it as `start`"):
        LiveTraining(config, BodyModel.load()).resume(tmp_path / "last.pt")


def test_other_settings_are_refused(config: LiveConfig, tmp_path: Path) -> None:
    train_live.run(dataclasses.replace(config, steps=1))
    train_live.run(dataclasses.replace(config, steps=2, evaluate_every=1))
    with pytest.raises(PenumbraError, match="was begun with another batch, seed"):
        train_live.run(dataclasses.replace(config, batch=30, seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"starts": []}')
    with pytest.raises(PenumbraError, match="holds another kind of run"):
        train_live.run(dataclasses.replace(config, run=tmp_path / "other"))
    numbers = [(name, 0) for name in ("steps", "evaluate_every", "evaluate_samples")]
    numbers += [("checkpoint_every", 0), ("batch", 1)]
    for name, value in (*numbers, ("rendered_share", 1.0), ("rendered_share", -0.1)):
        with pytest.raises(PenumbraError, match=f"{name}: must be at least"):
            check(dataclasses.replace(config, **{name: value}))
    with pytest.raises(PenumbraError, match="minutes: must be more than 0"):
        check(dataclasses.replace(config, minutes=0.0))


@pytest.mark.slow
def test_training_lowers_the_loss_and_skips_what_is_not_finite(config: LiveConfig) -> None:
    training = LiveTraining(
        dataclasses.replace(config, steps=100, learning_rate=3e-3), BodyModel.load()
    )
    losses = [training.step() for _ in range(40)]
    first, last = (
        {name: value.item() for name, value in one.items()} for one in (losses[0], losses[-1])
    )
    assert last["likelihood"] < first["likelihood"] - 5 and training.skipped == 0
    before = {name: value.clone() for name, value in training.method.flow.state_dict().items()}
    training.method.weights = dataclasses.replace(training.method.weights, center=float("nan"))
    training.step()
    assert training.skipped == 1 and training.done == 41
    for name, value in training.method.flow.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_share_of_no_rendered_sample_leaves_synthetic_ones(config: LiveConfig) -> None:
    none = LiveTraining(dataclasses.replace(config, rendered_share=0.04), BodyModel.load())
    assert set(none.step()) >= {"likelihood", "gradient"} and none.skipped == 0


def test_the_clock_can_end_a_run(config: LiveConfig) -> None:
    training = LiveTraining(dataclasses.replace(config, minutes=2.0), BodyModel.load())
    assert training.progress == 0.0
    training.spent = 60.0
    assert training.progress == pytest.approx(0.5)
    training.done = 6
    assert training.progress == 1.0
    assert learning_rate_factor(0, 10, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(100, 10, 0.5) == pytest.approx(0.5)
    assert learning_rate_factor(100, 10, 1.2) == pytest.approx(0.0)


def test_rendered_samples_are_mirrored_in_odd_steps(config: LiveConfig, body: BodyModel) -> None:
    assert config.rendered is not None
    still = dataclasses.replace(config.augment, max_rad=0.0, root_rad=0.0, shape=0.0)
    source = RenderedSource(config.rendered, body, still, 0)
    even, again, odd = source.batch(0, 30), source.batch(0, 30), source.batch(1, 30)
    assert source.size == 12 and torch.equal(even.features, again.features)
    seen = set(even.camera[:, 0].mul(1e3).round().int().tolist())
    mirrored = {-u for u in odd.camera[:, 0].mul(1e3).round().int().tolist()}
    assert (
        len({u for u in mirrored if min(abs(u - other) for other in seen) < 3}) > len(mirrored) / 2
    )


def test_the_rate_is_printed(config: LiveConfig, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_rate.main(synthetic_rate.RateConfig(config.poses, batch=10, batches=1))
    assert "samples a second" in capsys.readouterr().out
