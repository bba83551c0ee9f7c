"""The exported graph is the flow, on every engine, for every number of hypotheses."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from random_pairs import TINY, random_flow

from engines.body import BodyModel
from engines.engine import open_engine
from engines.sampler import FlowModel
from trainer import export_onnx
from trainer.export_onnx import OUTPUTS, ExportConfig, OnePicture
from trainer.flow import DIM, PoseFlow

SCALE = {"log_q": 100.0}  # a sum of hundreds of terms


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's cache alone."""
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    return random_flow(seed=3)


@pytest.fixture(scope="module")
def graph(flow: PoseFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "flow.onnx"
    assert export_onnx.export(flow, path) < export_onnx.TOLERANCE
    return path


@pytest.mark.parametrize("K", [1, 7])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_engines_compute_what_torch_computes(flow: PoseFlow, graph: Path, backend: str, K: int) -> None:
    engine = open_engine(graph, backend, {"z": (K, DIM)}, num_threads=1)
    generator = torch.Generator().manual_seed(K)
    for _ in range(2):
        features = torch.randn(1, TINY.features, generator=generator)
        z = torch.randn(K, DIM, generator=generator)
        with torch.no_grad():
            expected = dict(zip(OUTPUTS, OnePicture(flow)(features, z), strict=True))
        engine.inputs["features"][...], engine.inputs["z"][...] = features, z
        engine.run()
        assert set(engine.outputs) == set(OUTPUTS)
        for name, value in expected.items():
            atol = export_onnx.TOLERANCE * SCALE.get(name, 1.0)
            np.testing.assert_allclose(engine.outputs[name], value, atol=atol, rtol=0, err_msg=name)


def test_a_graph_that_differs_from_torch_is_not_accepted(
    flow: PoseFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_onnx, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export_onnx.export(flow, tmp_path / "flow.onnx")


def test_export_takes_the_averaged_weights_and_records_them(body: BodyModel, flow: PoseFlow, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    starts = [{"commit": "old", "config": {"flow": {}}}, {"commit": "abc", "config": {"flow": vars(TINY)}}]
    (run / "config.json").write_text(json.dumps({"starts": starts}))
    (run / "scores.json").write_text(json.dumps({"mean_pa": 51.0}))
    states = {"flow": random_flow(seed=8).state_dict(), "average": flow.state_dict()}
    torch.save(states, run / "last.pt")
    export_onnx.main(ExportConfig(run, tmp_path / "flow.onnx"))
    model = FlowModel.load(tmp_path / "flow.onnx")
    assert model.record["sha256"] == hashlib.sha256(model.onnx.read_bytes()).hexdigest()
    assert model.record["trained"]["starts"][-1]["commit"] == "abc" and model.record["validation"] == {"mean_pa": 51.0}
    model.check_body(body)
    engine = open_engine(model.onnx, "onnxruntime", {"z": (1, DIM)})
    engine.run()
    with torch.no_grad():
        expected = OnePicture(flow)(torch.zeros(1, TINY.features), torch.zeros(1, DIM))[0]
    np.testing.assert_allclose(engine.outputs["tangent"], expected, atol=1e-4)
