"""TFLite to ONNX, for the networks that mediapipe ships and nothing wider.

In: the bytes of a TFLite file. Out: an ONNX model that computes the same numbers in float32.

The file's tensors are channels-last. The graph's are channels-first, its input too: (1, 3, H, W)
float32 RGB in the range that the network was trained on. Its outputs are as in the file,
channels-last, which is how fast CPU kernels hold them anyway. A reshape goes through channels-last:
the order of the numbers is what it preserves.

An operator, or an option of an operator, that is not listed here is refused. What a file can cost
is bounded by `tflite_file` and `tflite_graph`: time in proportion to its size, and memory of some
500 MB for the largest that is accepted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from engines.blazepose.flatbuffer import FlatbufferError
from engines.blazepose.tflite_file import OPERATORS, SAME_PADDING, Operator, TfliteFile
from engines.blazepose.tflite_graph import (
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    Graph,
    UnsupportedError,
)
from engines.errors import PenumbraError
from engines.printable import printable

_DAMAGE = (
    FlatbufferError,
    IndexError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)
"""What a file that contradicts itself comes to, here, in NumPy or in ONNX's checker."""


def import_tflite(
    data: bytes, outputs: Mapping[int, str], input_name: str = "image"
) -> onnx.ModelProto:
    """Translate one TFLite network.

    Args:
        data: the TFLite file.
        outputs: position of an output in the file's list to its name in the ONNX graph. Outputs
            that are not named are left out, with everything that only they need.
        input_name: name of the only input.

    Raises:
        PenumbraError: if the file is damaged, or needs something that is not covered here.
    """
    try:
        return _translate(TfliteFile(data), outputs, input_name)
    except UnsupportedError as error:
        raise PenumbraError(
            f"model: {error}, which is not supported; get the networks with pip install "
            "mediapipe==0.10.21."
        ) from error
    except _DAMAGE as error:
        what = printable(str(error)[:200])
        raise PenumbraError(
            f"model: the TFLite file is damaged ({what}); reinstall mediapipe."
        ) from error


def _translate(file: TfliteFile, outputs: Mapping[int, str], input_name: str) -> onnx.ModelProto:
    source = file.inputs[0]
    wanted = {file.outputs[position]: name for position, name in outputs.items()}
    graph = Graph(file)
    graph.public_names[source] = input_name
    # An image among the outputs keeps its number here: `finish` makes the channels-last form that
    # carries the name.
    graph.public_names |= {
        tensor: name for tensor, name in wanted.items() if len(graph.shape(tensor)) != 4
    }
    for operator in _needed(file.operators, list(wanted)):
        _add_operator(graph, operator)
    return graph.finish(source, wanted)


def _needed(operators: Sequence[Operator], wanted: Sequence[int]) -> list[Operator]:
    """Return the operators that `wanted` tensors depend on, in running order."""
    tensors, kept = set(wanted), []
    for operator in reversed(operators):
        if tensors.intersection(operator.outputs):
            tensors.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def _add_operator(graph: Graph, operator: Operator) -> None:
    if operator.kind not in _TRANSLATORS:
        raise UnsupportedError(f"it has the operator {operator.kind}")
    translate, num_inputs = _TRANSLATORS[operator.kind]
    if num_inputs not in (len(operator.inputs), None) or len(operator.outputs) != 1:
        raise FlatbufferError(f"an operator {operator.kind} has the wrong number of tensors")
    translate(graph, operator)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis for TFLite's SAME padding.

    The output has ceil(size / stride) elements.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _window(graph: Graph, operator: Operator, kernel: tuple[int, int]) -> dict[str, list[int]]:
    """Return strides and pads of a window that slides over the first input."""
    height, width, _ = graph.image_shape(operator.inputs[0])
    strides = (operator.options["stride_h"], operator.options["stride_w"])
    if min(*strides, *kernel) < 1:
        raise FlatbufferError(f"an operator {operator.kind} has an empty window or stride")
    top = bottom = left = right = 0
    if operator.options["padding"] == SAME_PADDING:
        top, bottom = _same_padding(height, kernel[0], strides[0])
        left, right = _same_padding(width, kernel[1], strides[1])
    return {
        "kernel_shape": list(kernel),
        "strides": list(strides),
        "pads": [top, left, bottom, right],
    }


# One function per operator


def _convolution(graph: Graph, operator: Operator, depthwise: bool) -> None:
    if (operator.options["dilation_h"], operator.options["dilation_w"]) != (1, 1):
        raise UnsupportedError(f"an operator {operator.kind} is dilated")
    image, weight, bias = operator.inputs
    kernel = graph.constant(weight).astype(np.float32)
    # Depthwise kernels are (1, H, W, C) and become (C, 1, H, W); the others (out, H, W, in) become
    # (out, in, H, W).
    kernel = kernel.transpose((3, 0, 1, 2) if depthwise else TO_CHANNELS_FIRST)
    attributes: dict[str, Any] = dict(_window(graph, operator, (kernel.shape[2], kernel.shape[3])))
    attributes["group"] = graph.image_shape(image)[2] if depthwise else 1
    inputs = [
        graph.name(image),
        graph.initializer(f"w{weight}", kernel),
        graph.initializer(f"b{bias}", graph.constant(bias).astype(np.float32)),
    ]
    graph.emit_activated("Conv", inputs, operator, **attributes)


def _conv(graph: Graph, operator: Operator) -> None:
    _convolution(graph, operator, depthwise=False)


def _depthwise_conv(graph: Graph, operator: Operator) -> None:
    _convolution(graph, operator, depthwise=True)


def _max_pool(graph: Graph, operator: Operator) -> None:
    kernel = (operator.options["filter_h"], operator.options["filter_w"])
    window = _window(graph, operator, kernel)
    graph.emit_activated("MaxPool", [graph.name(operator.inputs[0])], operator, **window)


def _add(graph: Graph, operator: Operator) -> None:
    graph.emit_activated("Add", [graph.name(tensor) for tensor in operator.inputs], operator)


def _pad(graph: Graph, operator: Operator) -> None:
    image, amounts = operator.inputs
    each_axis = graph.constant(amounts)[list(TO_CHANNELS_FIRST)]  # (4, 2): before and after
    pads = graph.initializer(f"pads{amounts}", each_axis.T.reshape(-1).astype(np.int64))
    graph.emit("Pad", [graph.name(image), pads], graph.name(operator.outputs[0]), mode="constant")


def _resize_bilinear(graph: Graph, operator: Operator) -> None:
    if operator.options["align_corners"] or not operator.options["half_pixel_centers"]:
        raise UnsupportedError("an operator RESIZE_BILINEAR has other than half-pixel centres")
    image, output = operator.inputs[0], operator.outputs[0]
    height, width, _ = graph.image_shape(image)
    new_height, new_width, _ = graph.image_shape(output)
    factors = np.array([1, 1, new_height / height, new_width / width], np.float32)
    scales = graph.initializer(f"scales{output}", factors)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    graph.emit("Resize", [graph.name(image), "", scales], graph.name(output), **attributes)


def _depth_to_space(graph: Graph, operator: Operator) -> None:
    image, output = graph.name(operator.inputs[0]), graph.name(operator.outputs[0])
    block = operator.options["block_size"]
    if block < 1:
        raise FlatbufferError("an operator DEPTH_TO_SPACE has an empty block")
    graph.emit("DepthToSpace", [image], output, blocksize=block, mode="DCR")


def _reshape(graph: Graph, operator: Operator) -> None:
    source, output = operator.inputs[0], operator.outputs[0]
    if len(graph.shape(output)) == 4:
        raise UnsupportedError("an operator RESHAPE has a result with four axes")
    value = graph.name(source)
    if len(graph.shape(source)) == 4:
        value = f"t{output}_channels_last"
        graph.emit("Transpose", [graph.name(source)], value, perm=TO_CHANNELS_LAST)
    shape = graph.initializer(f"shape{output}", np.array(graph.shape(output), np.int64))
    graph.emit("Reshape", [value, shape], graph.name(output))


def _concatenation(graph: Graph, operator: Operator) -> None:
    axis, rank = operator.options["axis"], len(graph.shape(operator.outputs[0]))
    if rank == 4:
        axis = TO_CHANNELS_FIRST.index(axis % rank)
    inputs = [graph.name(tensor) for tensor in operator.inputs]
    graph.emit_activated("Concat", inputs, operator, axis=axis)


def _logistic(graph: Graph, operator: Operator) -> None:
    graph.emit("Sigmoid", [graph.name(operator.inputs[0])], graph.name(operator.outputs[0]))


def _fold(graph: Graph, operator: Operator) -> None:
    """Translate DEQUANTIZE of float16 and DENSIFY, of constants only: `constant` does the work."""
    graph.folded[operator.outputs[0]] = graph.constant(operator.inputs[0])


_TRANSLATORS: dict[str, tuple[Callable[[Graph, Operator], None], int | None]] = {
    "ADD": (_add, 2),
    "CONCATENATION": (_concatenation, None),
    "CONV_2D": (_conv, 3),
    "DENSIFY": (_fold, 1),
    "DEPTHWISE_CONV_2D": (_depthwise_conv, 3),
    "DEPTH_TO_SPACE": (_depth_to_space, 1),
    "DEQUANTIZE": (_fold, 1),
    "LOGISTIC": (_logistic, 1),
    "MAX_POOL_2D": (_max_pool, 1),
    "PAD": (_pad, 2),
    "RESHAPE": (_reshape, None),
    "RESIZE_BILINEAR": (_resize_bilinear, 2),
}
"""Operator to its translator and its number of inputs; None where that varies."""
assert set(_TRANSLATORS) == set(OPERATORS.values())
