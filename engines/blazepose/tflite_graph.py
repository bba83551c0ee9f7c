"""The ONNX graph that a TFLite network becomes, and its constants.

Constants are decoded here rather than in the graph: float16 weights are widened, sparse weights are
made dense. All of them together may take `MAX_CONSTANT_BYTES`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.blazepose.flatbuffer import FlatbufferError
from engines.blazepose.tflite_file import FLOAT16, FLOAT32, INT32, Operator, Tensor, TfliteFile

OPSET = 17
MAX_CONSTANT_BYTES = 128 * 2**20
"""Largest size of all decoded constants together; BlazePose's networks have 13 MB."""
TO_CHANNELS_FIRST = (0, 3, 1, 2)
TO_CHANNELS_LAST = (0, 2, 3, 1)
_ACTIVATIONS = {0: None, 1: "Relu", 3: "Relu6"}
"""TFLite's code of a fused activation to its name."""
_DTYPES = {FLOAT32: "<f4", FLOAT16: "<f2", INT32: "<i4"}


class UnsupportedError(Exception):
    """Raised for a network outside of this importer's scope; the message says what is."""


@dataclass
class Graph:
    """An ONNX graph in the making, beside the TFLite file that it is made from."""

    file: TfliteFile
    public_names: dict[int, str] = field(default_factory=dict)
    """Tensor of the file to its name in the graph; the others are numbered."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    folded: dict[int, np.ndarray] = field(default_factory=dict)
    """Values that an operator of the file computes from constants alone."""
    bytes_left: int = MAX_CONSTANT_BYTES

    # Reading the file

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a shape as in the file: channels last."""
        return self.file.tensor(tensor).shape

    def image_shape(self, tensor: int) -> tuple[int, int, int]:
        """Return height, width and channels of a tensor of four axes."""
        shape = self.shape(tensor)
        if len(shape) != 4:
            raise FlatbufferError(f"{self.file.tensor(tensor).name} is no image")
        return shape[1:]

    def constant(self, tensor: int) -> np.ndarray:
        """Decode a constant, in the file's layout."""
        if tensor in self.folded:
            return self.folded[tensor]
        described = self.file.tensor(tensor)
        if not len(described.content):
            raise FlatbufferError(f"{described.name} should be a constant and is computed instead")
        if described.type not in _DTYPES:
            raise UnsupportedError(
                f"the constant {described.name} has element type {described.type}"
            )
        self.spend(4 * math.prod(described.shape))
        values = described.content.view(_DTYPES[described.type])
        return _dense(values, described) if described.sparse else values.reshape(described.shape)

    def spend(self, count: int) -> None:
        """Account for memory that a constant takes."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise FlatbufferError(f"its constants take more than {MAX_CONSTANT_BYTES} bytes")

    # Writing the graph

    def name(self, tensor: int) -> str:
        """Return the name of a tensor's value in the graph."""
        return self.public_names.get(tensor, f"t{tensor}")

    def initializer(self, name: str, value: np.ndarray) -> str:
        """Add a constant to the graph, once."""
        if name not in self.initializers:
            self.spend(value.nbytes)
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """Add a node."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))

    def emit_activated(
        self, kind: str, inputs: Sequence[str], operator: Operator, **attributes: Any
    ) -> None:
        """Add a node and the activation that TFLite fuses into it."""
        code = operator.options["activation"]
        if code not in _ACTIVATIONS:
            raise UnsupportedError(f"an operator {operator.kind} has fused activation {code}")
        output, activation = self.name(operator.outputs[0]), _ACTIVATIONS[code]
        linear = output if activation is None else f"{output}_linear"
        self.emit(kind, inputs, linear, **attributes)
        if activation == "Relu":
            self.emit("Relu", [linear], output)
        elif activation == "Relu6":
            low = self.initializer("zero", np.array(0, "f4"))
            high = self.initializer("six", np.array(6, "f4"))
            self.emit("Clip", [linear, low, high], output)

    def finish(self, source: int, outputs: Mapping[int, str]) -> onnx.ModelProto:
        """Name the outputs and close the graph."""
        for tensor, name in outputs.items():
            if self.name(tensor) != name:
                self.emit("Transpose", [self.name(tensor)], name, perm=TO_CHANNELS_LAST)
        height, width, channels = self.image_shape(source)
        shape = [self.shape(source)[0], channels, height, width]
        inputs = [helper.make_tensor_value_info(self.name(source), TensorProto.FLOAT, shape)]
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(tensor))
            for tensor, name in outputs.items()
        ]
        constants = list(self.initializers.values())
        graph = helper.make_graph(self.nodes, "tflite", inputs, infos, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, producer_name="penumbra", opset_imports=opsets, ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _dense(values: np.ndarray, described: Tensor) -> np.ndarray:
    """Return a sparse constant with its zeros."""
    layout, shape = described.sparse, described.shape
    assert layout is not None
    lengths = np.diff(layout.segments.astype(np.int64))
    columns = layout.columns.astype(np.int64)
    dense = np.zeros((math.prod(shape[:-1]), shape[-1]), values.dtype)
    rows_fit = len(lengths) == len(dense) and (lengths >= 0).all()
    if not (rows_fit and lengths.sum() == len(columns) <= len(values)):
        raise FlatbufferError(f"the sparse constant {described.name} has rows that do not fit")
    if not ((columns >= 0) & (columns < shape[-1])).all():
        raise FlatbufferError(f"the sparse constant {described.name} has columns that do not fit")
    rows = np.repeat(np.arange(len(dense)), lengths)
    dense[rows, columns] = values[: len(columns)]
    return dense.reshape(shape)
