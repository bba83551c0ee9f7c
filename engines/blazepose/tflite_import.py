"""TFLite to ONNX, for the networks that mediapipe ships and nothing wider.

In: the bytes of a TFLite file. Out: an ONNX model that computes the same numbers in float32.

The file's tensors are channels-last. The graph's are channels-first, its input too: (1, 3, H, W) float32 RGB in the
range that the network was trained on. Its outputs are as in the file, channels-last, which is how fast CPU kernels hold
them anyway. A reshape also goes back to channels-last first: the order of the numbers is what it preserves.

Constants are worked out here rather than in the graph: float16 weights are widened, sparse weights are filled in. An
operator, or an option of an operator, that is not listed here is refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import PenumbraError

OPSET = 17
_TO_CHANNELS_FIRST = (0, 3, 1, 2)
_TO_CHANNELS_LAST = (0, 2, 3, 1)
_ACTIVATIONS = {0: None, 1: "Relu", 3: "Relu6"}
"""TFLite's code of a fused activation to what we call it."""


def import_tflite(
    data: bytes,
    schema: ModuleType,
    outputs: Mapping[int, str],
    input_name: str = "image",
) -> onnx.ModelProto:
    """Translate one TFLite network.

    Args:
        data: The TFLite file.
        schema: The module that flatbuffers generated from TFLite's schema.
        outputs: Position of an output in the file's list to its name in the ONNX graph. Outputs that are not named are
            left out, with everything that only they need.
        input_name: Name of the only input.

    Raises:
        PenumbraError: The file is not TFLite, or it needs something that is not covered here.
    """
    if data[4:8] != b"TFL3":
        raise PenumbraError("model: this is not a TFLite file; reinstall mediapipe.")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    subgraph = model.subgraphs[0]
    source = int(subgraph.inputs[0])
    wanted = {int(subgraph.outputs[position]): name for position, name in outputs.items()}
    translation = _Translation(model, schema)
    translation.public_names[source] = input_name
    # A picture among the outputs keeps its number here: `finish` makes the channels-last form that carries the name.
    translation.public_names |= {
        tensor: name for tensor, name in wanted.items() if len(translation.shape(tensor)) != 4
    }
    for operator in _needed(subgraph.operators, list(wanted)):
        translation.add(operator)
    return translation.finish(source, wanted)


def _needed(operators: Sequence[Any], wanted: Sequence[int]) -> list[Any]:
    """The operators that `wanted` tensors depend on, in the file's order, which is a running order."""
    tensors, kept = set(wanted), []
    for operator in reversed(operators):
        if tensors.intersection(map(int, operator.outputs)):
            tensors.update(map(int, operator.inputs))
            kept.append(operator)
    return kept[::-1]


@dataclass
class _Translation:
    """One network on its way from TFLite to ONNX."""

    model: Any
    schema: ModuleType
    public_names: dict[int, str] = field(default_factory=dict)
    """Tensor of the file to its name in the graph; the others are numbered."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    """Values that an operator of the file computed from constants alone."""

    def __post_init__(self) -> None:
        self.subgraph = self.model.subgraphs[0]

    # Reading the file ------------------------------------------------------------------------------------------------

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape as in the file: channels last."""
        return tuple(int(size) for size in self.subgraph.tensors[tensor].shape)

    def constant(self, tensor: int) -> np.ndarray:
        """Value of a constant, in the file's layout."""
        if tensor in self.constants:
            return self.constants[tensor]
        described = self.subgraph.tensors[tensor]
        raw = self.model.buffers[described.buffer].data
        if raw is None or len(raw) == 0:
            raise PenumbraError(
                f"model: {described.name.decode()} should be a constant and is computed instead."
            )
        code = self.schema.TensorType
        types = {code.FLOAT32: "<f4", code.FLOAT16: "<f2", code.INT32: "<i4"}
        if described.type not in types:
            raise PenumbraError(
                f"model: constant {described.name.decode()} has element type {described.type}."
            )
        values = np.frombuffer(bytes(raw), types[described.type])
        return (
            _fill_in(values, described)
            if described.sparsity
            else values.reshape(self.shape(tensor))
        )

    def operator_name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(
            code.builtinCode, code.deprecatedBuiltinCode
        )  # Old files have room for one byte only.
        named = {
            value: name
            for name, value in vars(self.schema.BuiltinOperator).items()
            if not name.startswith("_")
        }
        return named.get(number, f"number {number}")

    # Writing the graph -----------------------------------------------------------------------------------------------

    def name(self, tensor: int) -> str:
        """Name of a tensor's value in the graph."""
        return self.public_names.get(int(tensor), f"t{tensor}")

    def add(self, operator: Any) -> None:
        name = self.operator_name(operator)
        if name not in _OPERATORS:
            raise PenumbraError(
                f"model: the operator {name} is not supported; supported are {', '.join(_OPERATORS)}."
            )
        _OPERATORS[name](self, operator)

    def initializer(self, name: str, value: np.ndarray) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def emit(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))

    def emit_activated(
        self, kind: str, inputs: Sequence[str], operator: Any, activation: int, **attributes: Any
    ) -> None:
        """Add a node and the activation that TFLite fuses into it."""
        if activation not in _ACTIVATIONS:
            name = self.operator_name(operator)
            raise PenumbraError(
                f"model: the operator {name} has fused activation {activation}, which is not supported."
            )
        output, wanted = self.name(operator.outputs[0]), _ACTIVATIONS[activation]
        linear = output if wanted is None else f"{output}_linear"
        self.emit(kind, inputs, linear, **attributes)
        if wanted == "Relu":
            self.emit("Relu", [linear], output)
        elif wanted == "Relu6":
            low, high = (
                self.initializer("zero", np.array(0, "f4")),
                self.initializer("six", np.array(6, "f4")),
            )
            self.emit("Clip", [linear, low, high], output)

    def finish(self, source: int, outputs: Mapping[int, str]) -> onnx.ModelProto:
        """Name the outputs and close the graph."""
        for tensor, name in outputs.items():
            if self.name(tensor) != name:
                self.emit("Transpose", [self.name(tensor)], name, perm=_TO_CHANNELS_LAST)
        channels_first = [self.shape(source)[axis] for axis in _TO_CHANNELS_FIRST]
        inputs = [
            helper.make_tensor_value_info(self.name(source), TensorProto.FLOAT, channels_first)
        ]
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(t))
            for t, name in outputs.items()
        ]
        graph = helper.make_graph(
            self.nodes, "tflite", inputs, infos, list(self.initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, producer_name="penumbra", opset_imports=opsets, ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _fill_in(values: np.ndarray, described: Any) -> np.ndarray:
    """Dense form of a sparse constant: all axes dense but the last, which lists the columns that are not zero."""
    sparsity, shape = described.sparsity, tuple(int(size) for size in described.shape)
    formats = [dimension.format for dimension in sparsity.dimMetadata]
    plain_order = list(sparsity.traversalOrder) == list(range(len(shape)))
    if not plain_order or formats != [0] * (len(shape) - 1) + [1]:
        raise PenumbraError(
            f"model: the sparse layout of {described.name.decode()} is not supported."
        )
    last = sparsity.dimMetadata[-1]
    segments = np.asarray(last.arraySegments.values, np.int64)
    columns = np.asarray(last.arrayIndices.values, np.int64)
    dense = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    rows = np.repeat(np.arange(len(dense)), np.diff(segments))
    dense[rows, columns] = values[: len(columns)]
    return dense.reshape(shape)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis for TFLite's SAME padding: the output has ceil(size / stride) elements."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _window(t: _Translation, operator: Any, kernel: tuple[int, int]) -> dict[str, list[int]]:
    """Strides and pads of a window that slides over the first input."""
    options = operator.builtinOptions
    _, height, width, _ = t.shape(int(operator.inputs[0]))
    strides = (options.strideH, options.strideW)
    if options.padding == t.schema.Padding.SAME:
        (top, bottom), (left, right) = (
            _same_padding(*axis) for axis in zip((height, width), kernel, strides, strict=True)
        )
    else:
        top = bottom = left = right = 0
    return {
        "kernel_shape": list(kernel),
        "strides": list(strides),
        "pads": [top, left, bottom, right],
    }


# One function per operator -------------------------------------------------------------------------------------------


def _convolution(t: _Translation, operator: Any, depthwise: bool) -> None:
    options = operator.builtinOptions
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        raise PenumbraError(
            f"model: the operator {t.operator_name(operator)} is dilated, which is not supported."
        )
    image, weight, bias = map(int, operator.inputs)
    kernel = t.constant(weight).astype(np.float32)
    # Depthwise kernels are (1, H, W, C) and become (C, 1, H, W); the others (out, H, W, in) become (out, in, H, W).
    kernel = kernel.transpose((3, 0, 1, 2) if depthwise else _TO_CHANNELS_FIRST)
    attributes: dict[str, Any] = dict(_window(t, operator, (kernel.shape[2], kernel.shape[3])))
    attributes["group"] = t.shape(image)[3] if depthwise else 1
    inputs = [
        t.name(image),
        t.initializer(f"w{weight}", kernel),
        t.initializer(f"b{bias}", t.constant(bias).astype(np.float32)),
    ]
    t.emit_activated("Conv", inputs, operator, options.fusedActivationFunction, **attributes)


def _conv(t: _Translation, operator: Any) -> None:
    _convolution(t, operator, depthwise=False)


def _depthwise_conv(t: _Translation, operator: Any) -> None:
    _convolution(t, operator, depthwise=True)


def _max_pool(t: _Translation, operator: Any) -> None:
    options = operator.builtinOptions
    window = _window(t, operator, (options.filterHeight, options.filterWidth))
    t.emit_activated(
        "MaxPool", [t.name(operator.inputs[0])], operator, options.fusedActivationFunction, **window
    )


def _add(t: _Translation, operator: Any) -> None:
    inputs = [t.name(tensor) for tensor in operator.inputs]
    t.emit_activated("Add", inputs, operator, operator.builtinOptions.fusedActivationFunction)


def _pad(t: _Translation, operator: Any) -> None:
    image, amounts = map(int, operator.inputs)
    output = int(operator.outputs[0])
    channels_first = t.constant(amounts)[
        list(_TO_CHANNELS_FIRST)
    ]  # (4, 2): before and after each axis
    pads = t.initializer(f"pads{amounts}", channels_first.T.reshape(-1).astype(np.int64))
    t.emit("Pad", [t.name(image), pads], t.name(output), mode="constant")


def _resize_bilinear(t: _Translation, operator: Any) -> None:
    options = operator.builtinOptions
    if options.alignCorners or not options.halfPixelCenters:
        raise PenumbraError(
            "model: the operator RESIZE_BILINEAR is supported with half-pixel centres only."
        )
    image, output = int(operator.inputs[0]), int(operator.outputs[0])
    (_, height, width, _), (_, new_height, new_width, _) = t.shape(image), t.shape(output)
    factors = np.array([1, 1, new_height / height, new_width / width], np.float32)
    scales = t.initializer(f"scales{output}", factors)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    t.emit("Resize", [t.name(image), "", scales], t.name(output), **attributes)


def _depth_to_space(t: _Translation, operator: Any) -> None:
    output, block = int(operator.outputs[0]), operator.builtinOptions.blockSize
    image = t.name(operator.inputs[0])
    t.emit("DepthToSpace", [image], t.name(output), blocksize=block, mode="DCR")


def _reshape(t: _Translation, operator: Any) -> None:
    source, output = int(operator.inputs[0]), int(operator.outputs[0])
    if len(t.shape(output)) == 4:
        raise PenumbraError(
            "model: the operator RESHAPE is not supported where its result has four axes."
        )
    value = t.name(source)
    if len(t.shape(source)) == 4:
        value = f"t{output}_channels_last"
        t.emit("Transpose", [t.name(source)], value, perm=_TO_CHANNELS_LAST)
    shape = t.initializer(f"shape{output}", np.array(t.shape(output), np.int64))
    t.emit("Reshape", [value, shape], t.name(output))


def _concatenation(t: _Translation, operator: Any) -> None:
    options, output = operator.builtinOptions, int(operator.outputs[0])
    axis, rank = options.axis, len(t.shape(output))
    if rank == 4:
        axis = _TO_CHANNELS_FIRST.index(axis % rank)
    t.emit_activated(
        "Concat",
        [t.name(tensor) for tensor in operator.inputs],
        operator,
        options.fusedActivationFunction,
        axis=axis,
    )


def _logistic(t: _Translation, operator: Any) -> None:
    output = int(operator.outputs[0])
    t.emit("Sigmoid", [t.name(operator.inputs[0])], t.name(output))


def _fold(t: _Translation, operator: Any) -> None:
    """DEQUANTIZE of float16 and DENSIFY: only of constants, and `constant` has done the work already."""
    source, output = int(operator.inputs[0]), int(operator.outputs[0])
    t.constants[output] = t.constant(source)


_OPERATORS: dict[str, Callable[[_Translation, Any], None]] = {
    "ADD": _add,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DENSIFY": _fold,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": _fold,
    "LOGISTIC": _logistic,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize_bilinear,
}
