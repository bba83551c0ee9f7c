"""The exported graph is the flow, on every engine, for every number of hypotheses."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from engines.backends.engine import open_engine
from engines.backends.torch_ops import OPS
from engines.blazepose.models import detector_model, landmarker_model
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import NUM_FEATURES, num_features
from engines.flow.model import FlowModel
from tests.support.random_samples import (
    TINY_ENCODER,
    mhentropy,
    priors,
    random_anchored_flow,
    random_flow,
    stored_run,
)
from trainer import export_onnx
from trainer.export import onnx as export_library
from trainer.export.onnx import (
    INPUTS,
    TOLERANCE,
    SingleImageFlow,
    export,
    feature_name,
    load_flow,
    without_folders,
)
from trainer.export_onnx import ExportConfig, lineage
from trainer.export_trt import FLOW
from trainer.methods.hmr import HMR, HMRConfig
from trainer.model.anchored_flow import AnchoredFlow
from trainer.model.flow import DIM, PoseFlow
from trainer.runs.config import TrainConfig

SCALE = {"log_q": 100.0}  # a sum of hundreds of terms


@pytest.fixture(scope="module", params=[random_flow, random_anchored_flow])
def flow(request: pytest.FixtureRequest) -> PoseFlow | AnchoredFlow:
    return request.param(seed=3)


@pytest.fixture(scope="module")
def graph(flow: PoseFlow | AnchoredFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "flow.onnx"
    assert export(flow, path) < TOLERANCE
    return path


@pytest.mark.parametrize("K", [1, 7])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_engines_compute_what_torch_computes(
    flow: PoseFlow | AnchoredFlow,
    graph: Path,
    backend: str,
    K: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path))  # leave the user's compiled networks alone
    monkeypatch.setattr(
        torch, "set_num_threads", lambda count: None
    )  # it would hold for the whole process
    engine = open_engine(graph, backend, {"z": (K, DIM)}, num_threads=1)
    assert set(engine.inputs) == set(INPUTS)
    generator = torch.Generator().manual_seed(K)
    module = SingleImageFlow(flow)
    for _ in range(2):
        features = torch.randn(1, num_features(feature_name(flow)), generator=generator)
        z = torch.randn(K, DIM, generator=generator)
        with torch.no_grad():
            expected = dict(zip(module.outputs, module(features, z), strict=True))
        given = {"features": features, "z": z}
        for name, value in engine.inputs.items():
            value[...] = given[name]
        engine.run()
        assert set(engine.outputs) == set(module.outputs)
        for name, value in expected.items():
            atol = TOLERANCE * SCALE.get(name, 1.0)
            np.testing.assert_allclose(engine.outputs[name], value, atol=atol, rtol=0, err_msg=name)


def test_the_torch_engine_has_the_operators_of_our_networks_and_no_others(tmp_path: Path) -> None:
    flow, anchored = tmp_path / "flow.onnx", tmp_path / "anchored.onnx"
    export(random_flow(seed=3), flow)
    export(random_anchored_flow(seed=3), anchored)
    files = (detector_model(), landmarker_model(), FLOW, flow, anchored)
    networks = [onnx.load(str(file)) for file in files]
    assert {node.op_type for network in networks for node in network.graph.node} == {
        "Constant",
        *OPS,
    }


def test_a_graph_that_differs_from_torch_is_not_accepted(
    flow: PoseFlow | AnchoredFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_library, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export(flow, tmp_path / "flow.onnx")


def test_export_takes_the_averaged_weights_and_records_them(
    body: BodyModel, tmp_path: Path
) -> None:
    flow = random_flow(seed=3)
    stored_run(tmp_path / "run", mhentropy(body, flow))
    export_onnx.main(ExportConfig(tmp_path / "run", tmp_path / "flow.onnx"))
    model = FlowModel.load(tmp_path / "flow.onnx")
    assert model.record["sha256"] == hashlib.sha256(model.onnx.read_bytes()).hexdigest()
    assert model.record["trained"]["starts"][-1]["commit"] == "abc" and model.record[
        "validation"
    ] == {"mean_pa": 51.0}
    model.check_body(body)
    engine = open_engine(model.onnx, "onnxruntime", {"z": (1, DIM)})
    engine.run()
    with torch.no_grad():
        nothing = torch.zeros(1, NUM_FEATURES), torch.zeros(1, DIM)
        expected = SingleImageFlow(flow)(*nothing)[0]
    np.testing.assert_allclose(engine.outputs["rotvec"], expected, atol=1e-4)


@pytest.mark.parametrize("broken", ["unfinished", "differs"])
def test_an_export_that_fails_leaves_the_old_model(
    broken: str, body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_run(tmp_path / "run", mhentropy(body, random_flow(seed=3)))
    (tmp_path / "shipped").mkdir()
    for name in ("flow.onnx", "flow.json"):
        (tmp_path / "shipped" / name).write_text("old")
    if broken == "unfinished":
        (tmp_path / "run" / "scores.json").unlink()
    else:
        monkeypatch.setattr(export_library, "TOLERANCE", -1.0)
    with pytest.raises(
        (PenumbraError, RuntimeError), match=r"has no scores yet|differs from torch"
    ):
        export_onnx.main(ExportConfig(tmp_path / "run", tmp_path / "shipped" / "flow.onnx"))
    assert {path.name: path.read_text() for path in (tmp_path / "shipped").iterdir()} == {
        "flow.onnx": "old",
        "flow.json": "old",
    }


def test_a_flow_that_never_saw_a_landmark_network_is_not_exported(tmp_path: Path) -> None:
    facts = {"starts": [{"config": dataclasses.asdict(TrainConfig(landmark_source="exact"))}]}
    (tmp_path / "config.json").write_text(json.dumps(facts, default=str))
    with pytest.raises(PenumbraError, match="learnt from exact landmarks"):
        load_flow(tmp_path)


def test_another_method_is_not_exported(body: BodyModel, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "starts": [
                    {"config": dataclasses.asdict(TrainConfig(method="hmr", encoder=TINY_ENCODER))}
                ]
            },
            default=str,
        )
    )
    method = HMR("3d", priors(body), HMRConfig(), TINY_ENCODER)
    torch.save({"average": method.state_dict()}, tmp_path / "last.pt")
    with pytest.raises(PenumbraError, match="trained HMR, and the live system runs mhentropy only"):
        load_flow(tmp_path)


def test_records_do_not_say_where_files_lay() -> None:
    facts = {"start": "/home/me/runs/live", "deep": [{"body": "runs/body.npz"}], "steps": 3}
    expected = {"start": "live", "deep": [{"body": "runs/body.npz"}], "steps": 3}
    assert without_folders(facts) == expected


def _run_folder(path: Path, start: Path | None, **also: Any) -> dict[str, Any]:
    path.mkdir()
    facts = {"starts": [{"config": {"start": start and str(start)}}]} | also
    (path / "config.json").write_text(json.dumps(facts))
    return facts


def test_a_run_says_what_it_was_started_from(tmp_path: Path) -> None:
    first = _run_folder(tmp_path / "first", None)
    second = _run_folder(tmp_path / "second", tmp_path / "first")
    _run_folder(tmp_path / "gone", tmp_path / "deleted")
    assert lineage(tmp_path / "second") == second | {"started_from": first}
    assert "started_from" not in lineage(tmp_path / "gone")


def test_an_imported_run_that_lies_where_it_once_started_is_not_its_own_start(
    tmp_path: Path,
) -> None:
    shipped = tmp_path / "shipped"
    before = {"starts": []}
    facts = _run_folder(shipped, shipped, started_from=before)
    assert lineage(shipped) == facts
    mine = _run_folder(tmp_path / "mine", shipped)
    assert lineage(tmp_path / "mine") == mine | {"started_from": facts}
    same = _run_folder(tmp_path / "same", tmp_path / "same")
    assert lineage(tmp_path / "same") == same
