"""TensorRT without TensorRT: names, refusals and float16 for real; the calls to NVIDIA's libraries
against a stand-in.

Nothing here shows that TensorRT accepts our graphs or how fast they are. That needs the hardware.
"""

import dataclasses
import importlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.backends.engine import Engine, open_engine
from engines.backends.plans import (
    Machine,
    Manifest,
    file_sha256,
    find_plan,
    manifest_path,
    plan_path,
    write_plan,
)
from engines.errors import PenumbraError
from tests.support.fake_tensorrt import GPU, Fakes
from tests.support.small_graphs import SHAPES, conv_net, dense_net, fill
from trainer import export_trt
from trainer.command import start
from trainer.export.float16 import halve

MACHINE = Machine("10.16.1.11", 89, GPU)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's cache alone."""
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["10.16.1.11", "11.4.0.5"])
def fakes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fakes]:
    """The stand-in, as both major versions."""
    fakes = Fakes(request.param)
    fakes.install(monkeypatch)
    yield fakes
    sys.modules.pop("engines.backends.tensorrt_engine", None)  # It holds on to the stand-in.


def manifest_for(model: Path) -> Manifest:
    shapes = {"features": (1, 6), "z": (7, 5)}
    return Manifest(
        model.name, file_sha256(model), MACHINE, "fp32", shapes, {"sample": 1e-6}, "abc1234"
    )


# ---- plans: for real
# ------------------------------------------------------------------------------------------------


def test_plan_name_says_what_it_is_bound_to(tmp_path: Path) -> None:
    model = dense_net(tmp_path)
    name = plan_path(model, MACHINE, "fp16").name
    assert name == f"dense-{file_sha256(model)[:8]}-trt10.16-sm89-fp16.plan"


def test_plan_is_found_again_with_its_manifest(tmp_path: Path) -> None:
    model = dense_net(tmp_path)
    path = plan_path(model, MACHINE, "fp32", tmp_path)
    write_plan(path, b"plan", manifest_for(model))
    assert find_plan(model, MACHINE, {"z": (7, 5)}, tmp_path) == (path, manifest_for(model))
    half = plan_path(model, MACHINE, "fp16", tmp_path)
    write_plan(half, b"plan", dataclasses.replace(manifest_for(model), precision="fp16"))
    assert find_plan(model, MACHINE, {}, tmp_path)[0] == half


@pytest.mark.parametrize(
    ("machine", "shapes", "reason"),
    [
        (
            dataclasses.replace(MACHINE, tensorrt="10.16.2.1"),
            {},
            "built by TensorRT 10.16.1.11, and here is 10.16.2.1",
        ),
        (
            dataclasses.replace(MACHINE, gpu="Other"),
            {},
            "built for Stand-in GPU, and here is Other",
        ),
        (
            dataclasses.replace(MACHINE, sm=90),
            {},
            r"no TensorRT plan dense-.*-sm90-\*\.plan .*only dense-.*-sm89-fp32",
        ),
        (MACHINE, {"z": (8, 5)}, r"takes z of shape \(7, 5\), not \(8, 5\)"),
    ],
)
def test_plan_that_does_not_fit_is_refused(
    tmp_path: Path, machine: Machine, shapes: dict[str, tuple[int, ...]], reason: str
) -> None:
    model = dense_net(tmp_path)
    write_plan(plan_path(model, MACHINE, "fp32", tmp_path), b"plan", manifest_for(model))
    with pytest.raises(
        PenumbraError, match=rf"{reason}.*build one with python -m trainer\.export_trt --onnx"
    ):
        find_plan(model, machine, shapes, tmp_path)


def test_plan_that_does_not_fit_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = dense_net(tmp_path)
    fitting, half = (
        plan_path(model, MACHINE, precision, tmp_path) for precision in ("fp32", "fp16")
    )
    stale = dataclasses.replace(
        manifest_for(model), precision="fp16", shapes={"features": (1, 6), "z": (9, 5)}
    )
    write_plan(fitting, b"plan", manifest_for(model))
    write_plan(half, b"plan", stale)
    assert find_plan(model, MACHINE, {"z": (7, 5)}, tmp_path) == (fitting, manifest_for(model))
    assert f"Passed over: the TensorRT plan {half.name} takes z of shape (9, 5)" in caplog.text
    assert find_plan(model, MACHINE, {"z": (9, 5)}, tmp_path) == (half, stale)
    with pytest.raises(
        PenumbraError,
        match=r"fp16\.plan takes z of shape \(9, 5\).*fp32\.plan takes z of shape \(7, 5\)",
    ):
        find_plan(model, MACHINE, {"z": (8, 5)}, tmp_path)
    manifest_path(half).write_text("{")
    assert find_plan(model, MACHINE, {"z": (7, 5)}, tmp_path)[0] == fitting


def test_plan_of_another_network_or_without_manifest_is_refused(tmp_path: Path) -> None:
    model = dense_net(tmp_path)
    path = plan_path(model, MACHINE, "fp32", tmp_path)
    write_plan(path, b"plan", dataclasses.replace(manifest_for(model), onnx_sha256="0" * 64))
    with pytest.raises(PenumbraError, match="built from another"):
        find_plan(model, MACHINE, {}, tmp_path)
    write_plan(path, b"plan", manifest_for(model))
    assert find_plan(model, MACHINE, {}, tmp_path)[0] == path
    path.write_bytes(b"plaN")
    with pytest.raises(PenumbraError, match="is damaged or has no manifest; build one"):
        find_plan(model, MACHINE, {}, tmp_path)
    manifest_path(path).write_text("{")
    with pytest.raises(PenumbraError, match="is damaged or has no manifest; build one"):
        find_plan(model, MACHINE, {}, tmp_path)


# ---- float16 and fixed shapes: for real
# -----------------------------------------------------------------------------


def run_once(model: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    engine: Engine = open_engine(model, "onnxruntime", shapes)
    fill(dict(engine.inputs), 0)
    engine.run()
    return dict(engine.outputs)


@pytest.mark.parametrize("net", ["conv", "dense"])
def test_half_graph_agrees_and_is_half(net: str, tmp_path: Path) -> None:
    model = conv_net(tmp_path) if net == "conv" else dense_net(tmp_path)
    proto = export_trt.load(model)
    shapes = export_trt.input_shapes(proto, model, 7)
    half = halve(export_trt.fix_shapes(proto, shapes))
    path = tmp_path / "half.onnx"
    onnx.save(half, str(path))
    actual, expected = run_once(path, {}), run_once(model, shapes)
    for name, value in expected.items():
        assert actual[name].dtype == np.float32
        error = np.abs(actual[name] - value).max() / np.abs(value).max()
        assert 0 < error < 5e-3, f"{name}: {error}"  # Zero would mean that nothing was halved.
    matrices = [t for t in half.graph.initializer if len(t.dims) >= 2]
    assert matrices and all(t.data_type == onnx.TensorProto.FLOAT16 for t in matrices)


def test_half_graph_casts_only_at_borders(tmp_path: Path) -> None:
    proto = export_trt.load(conv_net(tmp_path))
    half = halve(export_trt.fix_shapes(proto, {"image": (1, 3, 16, 16)}))
    cast = {node.output[0] for node in half.graph.node if node.op_type == "Cast"}
    assert cast == {
        "image__half",
        "heatmap",
        "row",
    }  # In; out; and before the mean, which is a sum: float32.


def test_shapes_are_fixed_before_the_build(tmp_path: Path) -> None:
    model = dense_net(tmp_path)
    proto = export_trt.load(model)
    assert export_trt.input_shapes(proto, model, 7) == SHAPES
    fixed = export_trt.fix_shapes(proto, SHAPES)
    dims = [[dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in fixed.graph.input]
    assert dims == [[1, 6], [7, 5]]
    assert (
        proto.graph.input[1].type.tensor_type.shape.dim[0].dim_param == "K"
    )  # The original is as it was.


def test_named_output_dimensions_follow_the_inputs_and_unnamed_ones_stay_open() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["K", 7])
    found = helper.make_tensor_value_info(
        "found", TensorProto.INT64, [2, None]
    )  # how many are not zero
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, ["K", 7])
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Abs", ["x"], ["same"]),
    ]
    proto = helper.make_model(helper.make_graph(nodes, "open", [x], [found, same]))
    fixed = export_trt.fix_shapes(proto, {"x": (4, 7)})
    found, same = (
        [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in fixed.graph.output
    )
    assert (found, same) == ([2, 0], [4, 7])


def test_export_without_tensorrt_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.backends.engine.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        start(export_trt.main, export_trt.PlanConfig, [])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "'tensorrt' needs the Python package tensorrt; get it with pip install" in said
    )


def test_export_of_what_is_not_onnx_is_one_sentence(
    tmp_path: Path, fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"this is no model")
    for name in ("bad.onnx", "absent.onnx"):
        with pytest.raises(SystemExit) as stop:
            start(export_trt.main, export_trt.PlanConfig, ["--onnx", str(tmp_path / name)])
        assert stop.value.code == 2
        assert f"{name} is not a readable ONNX file" in capsys.readouterr().err


# ---- the calls to NVIDIA's libraries: against the stand-in
# ----------------------------------------------------------


def test_builder_calls_come_in_order(fakes: Fakes, tmp_path: Path) -> None:
    plan = export_trt.build_plan(conv_net(tmp_path).read_bytes(), "conv.onnx")
    assert plan == conv_net(tmp_path).read_bytes()
    strongly_typed = () if fakes.tensorrt.__version__.startswith("11") else (1 << 1,)
    assert fakes.calls == [
        ("create_network", *strongly_typed),
        ("parse",),
        ("create_builder_config",),
        ("set_memory_pool_limit",),
        ("clear_flag", "TF32"),
        ("build_serialized_network",),
    ]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("parse", "cannot read .*no importer for this node"),
        ("build_serialized_network", "could not build conv"),
    ],
)
def test_failing_build_is_refused(fakes: Fakes, tmp_path: Path, call: str, sentence: str) -> None:
    fakes.fail.add(call)
    with pytest.raises(PenumbraError, match=sentence):
        export_trt.build_plan(conv_net(tmp_path).read_bytes(), "conv.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_exported_plan_runs_through_open_engine(
    fakes: Fakes,
    tmp_path: Path,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, built = dense_net(tmp_path), tmp_path / "built"
    path = export_trt.export(model, precision, 7, built)
    facts = json.loads(manifest_path(path).read_text())
    assert facts["shapes"] == {"features": [1, 6], "z": [7, 5]} and facts["machine"]["sm"] == 89
    assert all(error < export_trt.TOLERANCE[precision] for error in facts["error"].values())

    trt_engine = importlib.import_module("engines.backends.tensorrt_engine")
    monkeypatch.setattr(
        trt_engine, "find_plan", lambda m, machine, shapes: find_plan(m, machine, shapes, built)
    )
    with caplog.at_level(logging.INFO, logger="engines.backends.engine"):
        engine = open_engine(model, "auto", SHAPES)
    assert engine.backend == f"tensorrt {fakes.tensorrt.__version__} {precision} {GPU}"
    assert "tensorrt is the first that works here" in caplog.text
    fill(dict(engine.inputs), 0)
    engine.run()
    for name, value in run_once(model, SHAPES).items():
        np.testing.assert_allclose(
            engine.outputs[name], value, rtol=0, atol=5e-3 * np.abs(value).max()
        )


def test_a_run_is_copies_in_one_enqueue_copies_out(fakes: Fakes, tmp_path: Path) -> None:
    trt_engine = importlib.import_module("engines.backends.tensorrt_engine")
    proto = export_trt.fix_shapes(export_trt.load(dense_net(tmp_path)), SHAPES)
    engine = trt_engine.TensorrtEngine(proto.SerializeToString(), "fp32")
    bound = [call[1] for call in fakes.calls if call[0] == "set_tensor_address"]
    assert bound == ["features", "z", "sample", "log_q"]
    fakes.calls.clear()
    engine.run()
    engine.run()
    into, out_of = ["cudaMemcpyHostToDevice"] * 2, ["cudaMemcpyDeviceToHost"] * 2
    assert fakes.names() == [*into, "execute_async_v3", *out_of, "cudaStreamSynchronize"] * 2


@pytest.mark.parametrize(
    "call",
    [
        "create_execution_context",
        "set_tensor_address",
        "cudaMalloc",
        "cudaMallocHost",
        "cudaStreamCreateWithFlags",
    ],
)
def test_no_failure_of_the_start_goes_unnoticed(fakes: Fakes, tmp_path: Path, call: str) -> None:
    trt_engine = importlib.import_module("engines.backends.tensorrt_engine")
    fakes.fail.add(call)
    with pytest.raises(RuntimeError):
        trt_engine.TensorrtEngine(conv_net(tmp_path).read_bytes(), "fp32")


@pytest.mark.parametrize(
    "call",
    [
        "cudaMemcpyHostToDevice",
        "execute_async_v3",
        "cudaMemcpyDeviceToHost",
        "cudaStreamSynchronize",
    ],
)
def test_no_failure_of_a_run_goes_unnoticed(fakes: Fakes, tmp_path: Path, call: str) -> None:
    trt_engine = importlib.import_module("engines.backends.tensorrt_engine")
    engine = trt_engine.TensorrtEngine(conv_net(tmp_path).read_bytes(), "fp32")
    fakes.fail.add(call)
    with pytest.raises(RuntimeError):
        engine.run()


def test_plan_that_tensorrt_refuses_says_so(fakes: Fakes, tmp_path: Path) -> None:
    trt_engine = importlib.import_module("engines.backends.tensorrt_engine")
    fakes.fail.add("deserialize_cuda_engine")
    with pytest.raises(PenumbraError, match="refused the plan; build it again"):
        trt_engine.TensorrtEngine(b"", "fp32")


def test_plan_that_computes_something_else_is_not_kept(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    proto = export_trt.load(conv_net(other))
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == "w3")
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.5, "w3"))
    monkeypatch.setattr(export_trt, "build_plan", lambda data, name: proto.SerializeToString())
    with pytest.raises(PenumbraError, match="nothing is kept"):
        export_trt.export(conv_net(tmp_path), "fp32", 1, tmp_path / "built")
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("cached", [False, True])
def test_plans_are_for_the_landmark_networks_that_are_here(
    cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.blazepose.heavy.is_cached", lambda: cached)
    monkeypatch.setattr("engines.blazepose.models.detector_model", lambda: Path("detector"))
    monkeypatch.setattr(
        "engines.blazepose.models.landmarker_model", lambda network="full": Path(network)
    )
    heavy = ["heavy"] if cached else []
    assert [path.stem for path in export_trt.default_models()] == [
        "detector",
        "full",
        *heavy,
        "flow",
    ]
