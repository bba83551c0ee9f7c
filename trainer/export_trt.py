"""Build TensorRT plans, check each against ONNX Runtime, and keep them in `engines/built/`.

    python -m trainer.export_trt                        # all three networks, 100 hypotheses
    python -m trainer.export_trt --precision fp16 --hypotheses 64
    python -m trainer.export_trt --onnx some.onnx       # one network

Every shape is fixed in the graph before it is built, and every network is strongly typed: the types
in the graph are the types that run. TensorRT 11 knows no other kind, 10 does it when asked, so
float16 is written into the graph by `trainer.export.float16`. NOT YET RUN ON HARDWARE, see
`engines.backends.tensorrt_engine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from engines.backends.engine import Engine, Shapes, open_dimension, open_engine, why_unavailable
from engines.backends.plans import BUILT, Manifest, file_sha256, plan_path, write_plan
from engines.errors import PenumbraError, check_at_least
from trainer.command import start
from trainer.export.float16 import halve
from trainer.runs.git import git

FLOW = Path(__file__).parents[1] / "engines" / "assets" / "flow.onnx"
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest relative difference from ONNX Runtime that is put down to the precision; a plan beyond it
is not kept.
"""
WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class PlanConfig:
    """Which plans to build."""

    precision: Literal["fp32", "fp16"] = "fp32"
    hypotheses: int = 100
    """K, fixed in the flow's plan."""
    onnx: Path | None = None
    """Build this one file instead of the three networks."""


def main(config: PlanConfig) -> None:
    """Build, check and keep the plans.

    Raises:
        PenumbraError: TensorRT is not there, or a plan cannot be built or computes something else.
    """
    check_at_least(1, config, "hypotheses")
    refusal = why_unavailable("tensorrt")
    if refusal:
        raise PenumbraError(refusal)
    for model in [config.onnx] if config.onnx else default_models():
        export(model, config.precision, config.hypotheses)


def export(model: Path, precision: str, hypotheses: int, folder: Path = BUILT) -> Path:
    """Build, check and keep the plan for one ONNX file.

    Args:
        model: The float32 ONNX file.
        precision: "fp32" or "fp16".
        hypotheses: Size of a first dimension that the file leaves open.
        folder: Where plans are kept.

    Raises:
        PenumbraError: The file cannot be read or built, or the plan computes something else.
    """
    from engines.backends.tensorrt_engine import TensorrtEngine, this_machine  # Needs TensorRT.

    print(f"{model.name}: building a {precision} plan; this takes a minute or more", flush=True)
    proto = load(model)
    shapes = input_shapes(proto, model, hypotheses)
    graph = fix_shapes(proto, shapes)
    graph = halve(graph) if precision == "fp16" else graph
    plan = build_plan(graph.SerializeToString(), model.name)
    error = compare(TensorrtEngine(plan, precision), open_engine(model, "onnxruntime", shapes))
    worst = max(error.values())
    if not worst <= TOLERANCE[precision]:  # Also where it is NaN.
        raise PenumbraError(
            f"precision: the {precision} plan of {model.name} is off by {worst:.1e}; nothing is "
            "kept."
        )
    machine = this_machine()
    path = plan_path(model, machine, precision, folder)
    manifest = Manifest(
        model.name,
        file_sha256(model),
        machine,
        precision,
        shapes,
        error,
        git("rev-parse", "--short", "HEAD"),
    )
    write_plan(path, plan, manifest)
    print(
        f"{model.name}: {path} ({len(plan) / 2**20:.1f} MiB), off by at most {worst:.1e} of each "
        "output's range"
    )
    return path


def build_plan(onnx_bytes: bytes, name: str) -> bytes:
    """Let TensorRT build a strongly typed network with fixed shapes.

    Raises:
        PenumbraError: TensorRT cannot read the graph or finds no way to run it.
    """
    import tensorrt as trt  # pyright: ignore[reportMissingImports]

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(*_creation_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise PenumbraError(f"--onnx: TensorRT cannot read {name}: {reasons}.")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(
        trt.BuilderFlag.TF32
    )  # On by default, it would round float32 factors to ten bits.
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PenumbraError(f"--onnx: TensorRT could not build {name}; its messages above say why.")
    return bytes(plan)


def _creation_flags(trt: Any) -> tuple[int, ...]:
    """TensorRT 10 must be asked for strong typing; in 11 it is the only kind, and the flag is
    deprecated.
    """
    if int(trt.__version__.split(".")[0]) >= 11:
        return ()
    return (1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),)


def fix_shapes(proto: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """A copy with the inputs' shapes written in, and the types and shapes that follow from them."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    sizes: dict[str, int] = {}
    for value in fixed.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if dim.dim_param:  # Fixed dimensions and unnamed open ones all have the empty name.
                sizes[dim.dim_param] = size
            dim.dim_value = size
    for dim in (dim for value in fixed.graph.output for dim in value.type.tensor_type.shape.dim):
        if dim.dim_param in sizes and not dim.HasField("dim_value"):
            dim.dim_value = sizes[dim.dim_param]
    del fixed.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(fixed, data_prop=True)


def input_shapes(
    proto: onnx.ModelProto, model: Path, hypotheses: int
) -> dict[str, tuple[int, ...]]:
    """Every input's full shape: an open first dimension counts hypotheses, another open one is an
    error.
    """
    shapes = {}
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
        shape[:1] = [shape[0] or hypotheses]
        if 0 in shape:
            raise open_dimension(model, value.name)
        shapes[value.name] = tuple(shape)
    return shapes


def compare(engine: Engine, reference: Engine) -> dict[str, float]:
    """Largest difference per output, relative to the reference's largest value, on one random
    input.
    """
    rng = np.random.default_rng(0)
    for name, array in engine.inputs.items():
        is_image = array.dtype == np.uint8
        array[...] = (
            rng.integers(0, 256, array.shape) if is_image else rng.standard_normal(array.shape)
        )
        reference.inputs[name][...] = array
    engine.run()
    reference.run()
    return _relative_error(engine.outputs, reference.outputs)


def _relative_error(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    return {
        name: float(np.abs(actual[name] - value).max() / max(float(np.abs(value).max()), 1e-3))
        for name, value in expected.items()
    }


def default_models() -> list[Path]:
    """The networks of a run, in the order of the data flow; the heavy one if it is in the cache.

    Raises:
        PenumbraError: One is not there.
    """
    from engines.blazepose.heavy import is_cached
    from engines.blazepose.models import detector_model, landmarker_model

    if not FLOW.is_file():
        raise PenumbraError(
            f"--onnx: there is no {FLOW}; write it with python -m trainer.export_onnx."
        )
    heavy = [landmarker_model("heavy")] if is_cached() else []
    return [detector_model(), landmarker_model(), *heavy, FLOW]


def load(model: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        PenumbraError: It is not there, or it is not ONNX.
    """
    try:
        proto = onnx.load(str(model))
        onnx.checker.check_model(proto)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise PenumbraError(f"--onnx: {model} is not a readable ONNX file.") from error
    return proto


if __name__ == "__main__":
    start(main, PlanConfig)
