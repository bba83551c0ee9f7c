"""A flow that was exported comes back to the last bit."""

import json
from pathlib import Path

import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.random_samples import (
    TINY_ANCHORED,
    mhentropy,
    random_anchored_flow,
    random_flow,
    stored_run,
)
from trainer import export_onnx, import_onnx
from trainer.export_onnx import ExportConfig
from trainer.import_onnx import ImportConfig
from trainer.live.config import LiveConfig
from trainer.live.folder import is_live, load_live_method, record_start
from trainer.runs.folder import load_method


def test_weights_come_back_exactly(body: BodyModel, tmp_path: Path) -> None:
    flow = random_flow(3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (
            flow.parameters()
        ):  # a trained flow has no two that are equal, as all its norms are at first
            weight.add_(1e-3 * torch.randn(weight.shape, generator=generator))
    stored_run(tmp_path / "run", mhentropy(body, flow))
    export_onnx.main(ExportConfig(tmp_path / "run", tmp_path / "flow.onnx"))
    import_onnx.main(ImportConfig(tmp_path / "back", tmp_path / "flow.onnx"))
    before, after = (load_method(tmp_path / name).state_dict() for name in ("run", "back"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=0, rtol=0, msg=name)
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
        "config.json",
        "last.pt",
        "scores.json",
    ]
    with pytest.raises(PenumbraError, match=r"out: .*back is not an empty folder"):
        import_onnx.main(ImportConfig(tmp_path / "back", tmp_path / "flow.onnx"))


def test_weights_of_a_live_flow_come_back_exactly(body: BodyModel, tmp_path: Path) -> None:
    flow = random_anchored_flow(3)
    config = LiveConfig(run=tmp_path / "run", flow=TINY_ANCHORED)
    config.run.mkdir()
    record_start(config, 0, 0)
    (config.run / "scores.json").write_text("{}")
    torch.save({"average": flow.state_dict()}, config.run / "last.pt")
    export_onnx.main(ExportConfig(config.run, tmp_path / "flow.onnx"))
    import_onnx.main(ImportConfig(tmp_path / "back", tmp_path / "flow.onnx"))
    after = load_live_method(tmp_path / "back").flow.state_dict()
    for name, value in flow.state_dict().items():
        torch.testing.assert_close(after[name], value, atol=0, rtol=0, msg=name)


def test_a_graph_of_other_sizes_leaves_nothing_behind(body: BodyModel, tmp_path: Path) -> None:
    stored_run(tmp_path / "run", mhentropy(body, random_flow(3)))
    export_onnx.main(ExportConfig(tmp_path / "run", tmp_path / "flow.onnx"))
    path = tmp_path / "flow.json"
    record = json.loads(path.read_text())
    record["trained"]["starts"][-1]["config"]["encoder"]["width"] += 8
    path.write_text(json.dumps(record))
    with pytest.raises(PenumbraError, match="does not have the layers that its record says"):
        import_onnx.main(ImportConfig(tmp_path / "back", tmp_path / "flow.onnx"))
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "trained"}))
    with pytest.raises(PenumbraError, match="does not say how it was trained"):
        import_onnx.main(ImportConfig(tmp_path / "back", tmp_path / "flow.onnx"))
    assert not (tmp_path / "back").exists()


def test_the_shipped_flow_becomes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_onnx.main(ImportConfig(tmp_path))
    assert "differs by" in capsys.readouterr().out
    method = load_live_method(tmp_path) if is_live(tmp_path) else load_method(tmp_path)
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())
    # Nothing of the random weights that served to find the places is left: those are below 0.1.
    assert method.state_dict()["flow.std"].max() > 0.2
