"""A network that takes an image as cameras give it, instead of one that takes prepared planes.

The conversion is part of the graph, so whatever runs the network does it, with all its threads, and
an image is handed over in a quarter of the bytes.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import PenumbraError

_CHANNELS_FIRST = (0, 3, 1, 2)


def take_pixels(model: onnx.ModelProto, low: float, high: float) -> None:
    """Let a network take bytes, (1, H, W, 3) BGR uint8, in place of its float input.

    Args:
        model: with one input, (1, 3, H, W) RGB float32; changed in place.
        low: what the network was trained to take for 0.
        high: the same for 255.

    Raises:
        PenumbraError: The network takes something else.
    """
    graph = model.graph
    name = graph.input[0].name
    shape = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
    if len(graph.input) != 1 or len(shape) != 4 or shape[:2] != [1, 3]:
        raise PenumbraError(f"model: takes no image (1, 3, H, W) but {shape}; name another.")
    planes = f"{name}_planes"
    for node in graph.node:
        node.input[:] = [planes if one == name else one for one in node.input]
    constants = {
        f"{name}_scale": np.array((high - low) / 255.0, np.float32),
        f"{name}_low": np.array(low, np.float32),
        f"{name}_red_green_blue": np.array([2, 1, 0]),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in constants.items()
    )
    scale, offset, order = constants
    steps = [
        helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_float", scale], [f"{name}_scaled"]),
        helper.make_node("Add", [f"{name}_scaled", offset], [f"{name}_stretched"]),
        helper.make_node("Gather", [f"{name}_stretched", order], [f"{name}_rgb"], axis=3),
        helper.make_node("Transpose", [f"{name}_rgb"], [planes], perm=_CHANNELS_FIRST),
    ]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    pixels = helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *shape[2:], 3])
    graph.input[0].CopyFrom(pixels)
    onnx.checker.check_model(model, full_check=True)
