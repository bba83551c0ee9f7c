"""TFLite files of one operator, written with the schema that mediapipe carries."""

import importlib.util
from functools import cache
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np

from engines.blazepose import models


@cache
def schema() -> ModuleType:
    """TFLite's flatbuffer schema as Python classes; the file stands alone, outside its package."""
    path = models.in_mediapipe("tasks/metadata/schema_py_generated.py")
    spec = importlib.util.spec_from_file_location("tflite_schema", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constant(values: np.ndarray) -> Any:
    """A tensor and the bytes of its buffer, to be passed to `network`."""
    kinds = {"float32": schema().TensorType.FLOAT32, "float16": schema().TensorType.FLOAT16}
    kinds["int32"] = schema().TensorType.INT32
    return list(values.shape), kinds[values.dtype.name], values.tobytes()


def network(
    operator: str,
    options: Any = None,
    options_type: int = 0,
    constants: tuple[Any, ...] = (),
    out_shape: tuple[int, ...] = (1, 4, 4, 2),
) -> bytes:
    """One operator from an image (1, 4, 4, 2), and constants, to `out_shape`."""
    s = schema()
    model, graph, code, node = s.ModelT(), s.SubGraphT(), s.OperatorCodeT(), s.OperatorT()
    model.buffers, graph.tensors = [s.BufferT()], []
    described = [([1, 4, 4, 2], 0, b""), (list(out_shape), 0, b""), *constants]
    for number, (shape, kind, content) in enumerate(described):
        tensor = s.TensorT()
        tensor.shape, tensor.type, tensor.name = shape, kind, f"tensor {number}"
        tensor.buffer = 0
        if content:
            tensor.buffer = len(model.buffers)
            buffer = s.BufferT()
            buffer.data = np.frombuffer(content, np.uint8)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    node.opcodeIndex = 0
    node.inputs, node.outputs = [0, *range(2, len(described))], [1]
    node.builtinOptions, node.builtinOptionsType = options, options_type
    graph.operators, graph.inputs, graph.outputs = [node], [0], [1]
    code.builtinCode = getattr(s.BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def convolution() -> bytes:
    """CONV_2D with a ReLU6."""
    s = schema()
    options = s.Conv2DOptionsT()
    options.strideH = options.strideW = 2
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = s.ActivationFunctionType.RELU6
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 3, 3, 2)).astype(np.float16)
    constants = constant(weights), constant(np.zeros(3, np.float32))
    return network("CONV_2D", options, s.BuiltinOptions.Conv2DOptions, constants, (1, 2, 2, 3))
