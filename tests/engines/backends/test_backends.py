"""Every backend computes the same thing, in the same arrays, and a backend that is not there says
how to get it.
"""

import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch

import engines.backends.engine
from engines.backends.engine import BACKENDS, open_engine
from engines.errors import PenumbraError
from tests.support.paths import ROOT
from tests.support.small_graphs import SHAPES, conv_net, dense_net, fill, one_op

CPU_BACKENDS = ("openvino", "torch")
TOLERANCE = 2e-5
"""Share of an output's largest value: float32 sums in another order."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's cache alone."""
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "cache"))


def build(net: str, folder: Path) -> tuple[Path, dict[str, tuple[int, ...]]]:
    return (conv_net(folder), {}) if net == "conv" else (dense_net(folder), SHAPES)


def assert_agrees(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        np.testing.assert_allclose(
            actual[name], value, rtol=0, atol=TOLERANCE * np.abs(value).max(), err_msg=name
        )


@pytest.mark.parametrize("net", ["conv", "dense"])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_backends_agree_with_onnxruntime(net: str, backend: str, tmp_path: Path) -> None:
    model, shapes = build(net, tmp_path)
    oracle, engine = open_engine(model, "onnxruntime", shapes), open_engine(model, backend, shapes)
    for seed in (0, 1):
        fill(oracle.inputs, seed)
        fill(engine.inputs, seed)
        oracle.run()
        engine.run()
        assert all(
            np.isfinite(value).all() and value.std() > 0
            for value in oracle.outputs.values()
            if value.size > 1
        )
        assert_agrees(engine.outputs, oracle.outputs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("net", ["conv", "dense"])
def test_cuda_graph_agrees_with_onnxruntime(net: str, tmp_path: Path) -> None:
    model, shapes = build(net, tmp_path)
    oracle, engine = (
        open_engine(model, "onnxruntime", shapes),
        open_engine(model, "torch-cuda", shapes),
    )
    for seed in (0, 1):
        fill(oracle.inputs, seed)
        fill(engine.inputs, seed)
        oracle.run()
        engine.run()
        assert_agrees(engine.outputs, oracle.outputs)


@pytest.mark.parametrize("backend", [*CPU_BACKENDS, "onnxruntime"])
def test_arrays_stay_the_same_objects_and_follow_the_inputs(backend: str, tmp_path: Path) -> None:
    engine = open_engine(dense_net(tmp_path), backend, SHAPES)
    outputs, inputs = dict(engine.outputs), dict(engine.inputs)
    assert all((value == 0).all() for value in inputs.values())
    fill(engine.inputs, 0)
    engine.run()
    first = {name: value.copy() for name, value in outputs.items()}
    fill(engine.inputs, 1)
    engine.run()
    for name, value in outputs.items():
        assert engine.outputs[name] is value
        assert not np.allclose(value, first[name])
    fill(inputs, 0)
    engine.run()
    for name, value in outputs.items():
        np.testing.assert_array_equal(value, first[name])


@pytest.mark.parametrize("backend", [*CPU_BACKENDS, "onnxruntime"])
def test_shapes_fix_the_number_of_hypotheses(backend: str, tmp_path: Path) -> None:
    model = dense_net(tmp_path)
    for count in (1, 3):
        engine = open_engine(model, backend, {"z": (count, 5)})
        assert engine.inputs["z"].shape == (count, 5)
        assert engine.outputs["log_q"].shape == (count,)
    with pytest.raises(PenumbraError, match="leaves a dimension of its input 'z' open"):
        open_engine(model, backend)


def test_number_of_threads_is_accepted(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    for backend in (*CPU_BACKENDS, "onnxruntime"):
        open_engine(conv_net(tmp_path), backend, num_threads=1).run()
    torch.set_num_threads(before)


def test_unknown_backend_and_missing_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"'tpu' is unknown.*openvino.*onnxruntime"):
        open_engine(conv_net(tmp_path), "tpu")
    with pytest.raises(PenumbraError, match=r"there is no file .*absent\.onnx"):
        open_engine(tmp_path / "absent.onnx")


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_package_says_how_to_get_it(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.backends.engine, "find_spec", lambda name: None)
    with pytest.raises(
        PenumbraError, match=rf"'{backend}' needs the Python package .* pip install"
    ):
        open_engine(conv_net(tmp_path), backend)


def test_gpu_backend_without_gpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.backends.engine, "cuda_device_count", lambda: 0)
    with pytest.raises(PenumbraError, match="'torch-cuda' needs an NVIDIA GPU"):
        open_engine(conv_net(tmp_path), "torch-cuda")


@pytest.mark.parametrize(
    ("backend", "fitting", "expected"),
    [
        ("auto", {"torch-cuda", "openvino"}, True),
        ("auto", {"openvino"}, False),
        ("torch-cuda", {"torch-cuda"}, True),
        ("tensorrt", {"torch-cuda"}, False),
        ("openvino", {"torch-cuda", "openvino"}, False),
        ("abacus", {"torch-cuda"}, False),
    ],
)
def test_a_gpu_runs_what_a_backend_with_one_takes(
    backend: str, fitting: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = engines.backends.engine
    monkeypatch.setattr(module, "why_unavailable", lambda name: None)
    monkeypatch.setattr(
        module, "_why_not_for", lambda name, model, shapes: None if name in fitting else "no plan"
    )
    assert module.runs_on_gpu(Path("heavy.onnx"), backend) is expected


def test_no_gpu_runs_anything_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.backends.engine, "cuda_device_count", lambda: 0)
    assert not any(
        engines.backends.engine.runs_on_gpu(conv_net(tmp_path), name)
        for name in ("auto", *BACKENDS)
    )


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_library_that_cannot_be_imported_is_passed_over_by_auto_and_named_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    import_module = engines.backends.engine.importlib.import_module

    def broken(name: str) -> ModuleType:
        if name.endswith((".tensorrt_engine", ".openvino_engine")):
            raise error("libbroken.so: cannot open shared object file")
        return import_module(name)

    monkeypatch.setattr(engines.backends.engine.importlib, "import_module", broken)
    monkeypatch.setattr(engines.backends.engine, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(engines.backends.engine, "find_spec", lambda name: name != "torch" or None)
    model = conv_net(tmp_path)
    assert not engines.backends.engine.runs_on_gpu(model)
    with caplog.at_level(logging.INFO):
        assert open_engine(model).backend.startswith("onnxruntime")
    assert "'openvino' is installed and cannot be imported (libbroken.so" in caplog.text
    for backend in ("tensorrt", "openvino"):
        with pytest.raises(PenumbraError, match=f"'{backend}' .*libbroken.* pip install"):
            open_engine(model, backend)


def test_auto_takes_openvino_on_a_cpu_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines.backends.engine, "cuda_device_count", lambda: 0)
    with caplog.at_level(logging.INFO, logger="engines.backends.engine"):
        engine = open_engine(conv_net(tmp_path))
    assert engine.backend == "openvino CPU"
    assert [
        record.getMessage()
        for record in caplog.records
        if "conv.onnx runs on openvino CPU" in record.getMessage()
    ]
    monkeypatch.setattr(
        engines.backends.engine,
        "find_spec",
        lambda name: None if name == "openvino" else find_spec(name),
    )
    assert open_engine(conv_net(tmp_path)).backend == "onnxruntime CPU"
    monkeypatch.setattr(engines.backends.engine, "find_spec", lambda name: None)
    with pytest.raises(PenumbraError, match="auto found none"):
        open_engine(conv_net(tmp_path))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").touch()
    monkeypatch.setenv("PENUMBRA_CACHE", str(tmp_path / "a_file" / "cache"))
    with pytest.raises(PenumbraError, match=r"PENUMBRA_CACHE: cannot write .*; name a folder"):
        open_engine(conv_net(tmp_path), "openvino")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "a head"])
def test_a_damaged_model_is_refused(tmp_path: Path, backend: str, damage: str) -> None:
    model = conv_net(tmp_path)
    good = model.read_bytes()
    contents = {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "text": b"this is no network",
        "a head": good[:-1],
    }
    model.write_bytes(contents[damage])
    with pytest.raises(PenumbraError, match=r"model: .*; (export|name|use)"):
        open_engine(model, backend)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_a_network_that_contradicts_itself_is_refused(tmp_path: Path, backend: str) -> None:
    proto = onnx.load(str(conv_net(tmp_path)))
    node = next(node for node in proto.graph.node if node.op_type == "Conv")
    for attribute in node.attribute:
        if attribute.name == "group":
            attribute.i = 7
            break
    else:
        node.attribute.append(onnx.helper.make_attribute("group", 7))
    path = tmp_path / "wrong.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(PenumbraError, match=r"model: .*wrong\.onnx .*; (export|name|use)"):
        open_engine(path, backend)


def test_torch_refuses_an_operator_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        PenumbraError,
        match=r"operator Hardmax \(node the_node\) is not in engines/backends/torch_ops",
    ):
        open_engine(one_op(tmp_path, "Hardmax", [1, 4]), "torch")
    with pytest.raises(PenumbraError, match="operator MaxPool with auto_pad"):
        open_engine(
            one_op(tmp_path, "MaxPool", [1, 1, 4, 4], kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
            "torch",
        )


def test_cpu_run_imports_neither_torch_nor_mediapipe_nor_onnx(tmp_path: Path) -> None:
    model = conv_net(tmp_path)
    code = (
        "import sys; from pathlib import Path; import engines.backends.engine as e\n"
        "heavy = {'torch', 'mediapipe', 'onnx', 'openvino', 'onnxruntime', 'tensorrt'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
        f"e.open_engine(Path({str(model)!r}), 'openvino').run()\n"
        "heavy = {'torch', 'mediapipe', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
