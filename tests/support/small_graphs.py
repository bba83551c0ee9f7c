"""Two small ONNX graphs shaped like our networks: pictures through convolutions, vectors through
dense layers.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPES = {"features": (1, 6), "z": (7, 5)}
"""For `dense_net`, whose number of noise vectors is open."""


def conv_net(folder: Path) -> Path:
    """What the BlazePose graphs are made of, and a sum: `image` (1, 3, 16, 16) to `heatmap` and
    `score`.
    """
    rng = np.random.default_rng(1)
    w = {
        "w1": rng.standard_normal((8, 3, 3, 3)) * 0.3,
        "b1": rng.standard_normal(8),
        "w2": rng.standard_normal((8, 1, 3, 3)) * 0.3,
        "w3": rng.standard_normal((16, 16, 1, 1)) * 0.2,
        "zero": np.array(0.0),
        "six": np.array(6.0),
        "scales": np.array([1.0, 1.0, 2.0, 2.0]),
        "share": np.array(1 / 1024),
    }
    ints = {"pads": [0, 0, 0, 0, 0, 8, 0, 0], "flat": [1, -1], "one": [1]}
    conv = {"kernel_shape": [3, 3]}
    nodes = [
        # Stride 2 with uneven pads, as TensorFlow's "same" padding gives.
        helper.make_node(
            "Conv", ["image", "w1", "b1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1], **conv
        ),
        helper.make_node("Clip", ["c1", "zero", "six"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], group=8, pads=[1, 1, 1, 1], **conv),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("MaxPool", ["sum"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Resize",
            ["pooled", "", "scales"],
            ["up"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Pad", ["up", "pads"], ["padded"], mode="constant"),
        helper.make_node("Conv", ["padded", "w3"], ["c3"]),
        helper.make_node("DepthToSpace", ["c3"], ["big"], blocksize=2, mode="DCR"),
        helper.make_node("Transpose", ["big"], ["heatmap"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["heatmap", "flat"], ["row"]),
        helper.make_node("ReduceSum", ["row", "one"], ["total"]),
        helper.make_node("Mul", ["total", "share"], ["mean"]),
        helper.make_node("Sigmoid", ["mean"], ["score"]),
    ]
    inputs = [_value("image", [1, 3, 16, 16])]
    return _save(folder / "conv.onnx", nodes, inputs, ["heatmap", "score"], w, ints)


def dense_net(folder: Path) -> Path:
    """What a flow exports to: shapes taken from the input, softplus, exp, slices, halves. K is
    open.
    """
    rng = np.random.default_rng(2)
    w = {
        "w1": rng.standard_normal((5, 8)),
        "b1": rng.standard_normal(8),
        "gain": rng.random(8) + 0.5,
        "wf": rng.standard_normal((6, 8)),
        "low": np.array(-2.0),
        "high": np.array(2.0),
    }
    ints = {"two": [2], "four": [4], "last": [-1], "start": [6], "end": [0], "back": [-2]}
    ints |= {"pick": [3, 0, -1], "first": [0], "0": 0, "1": 1}
    nodes = [
        helper.make_node("Gemm", ["features", "wf"], ["context"]),  # (1, 8)
        helper.make_node("Shape", ["z"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"], axis=0),
        helper.make_node("Gemm", ["z", "w1", "b1"], ["h"]),
        helper.make_node("Add", ["h", "context"], ["h1"]),
        helper.make_node("LayerNormalization", ["h1", "gain"], ["h2"], axis=-1),
        helper.make_node("Concat", ["count", "two", "four"], ["halved"], axis=0),
        helper.make_node("Reshape", ["h2", "halved"], ["halves"]),  # (K, 2, 4)
        helper.make_node("Gather", ["halves", "0"], ["left"], axis=1),
        helper.make_node("Gather", ["halves", "1"], ["right"], axis=1),
        helper.make_node("Clip", ["left", "low", "high"], ["log_scale"]),
        helper.make_node("Exp", ["log_scale"], ["scale"]),
        helper.make_node("Softplus", ["right"], ["soft"]),
        helper.make_node("Mul", ["scale", "soft"], ["product"]),
        helper.make_node("Sqrt", ["soft"], ["root"]),
        helper.make_node("Concat", ["product", "root"], ["joined"], axis=-1),
        helper.make_node(
            "Slice", ["joined", "start", "end", "last", "back"], ["odd"]
        ),  # backwards, step -2
        helper.make_node("Gather", ["joined", "pick"], ["picked"], axis=1),
        helper.make_node("Concat", ["odd", "picked"], ["sample"], axis=1),
        helper.make_node("ReduceSum", ["log_scale", "last"], ["log_q"], keepdims=0),
    ]
    inputs = [_value("features", [1, 6]), _value("z", ["K", 5])]
    return _save(folder / "dense.onnx", nodes, inputs, ["sample", "log_q"], w, ints)


def one_op(folder: Path, op_type: str, shape: list[int], **attributes: object) -> Path:
    """A graph of one node, from `x` to `y`."""
    node = helper.make_node(op_type, ["x"], ["y"], name="the_node", **attributes)
    return _save(folder / f"{op_type}.onnx", [node], [_value("x", shape)], ["y"], {}, {})


def fill(inputs: dict[str, np.ndarray], seed: int) -> None:
    """Fill an engine's inputs with noise that depends on `seed` alone."""
    rng = np.random.default_rng(seed)
    for name in sorted(inputs):
        inputs[name][...] = rng.standard_normal(inputs[name].shape)


def _value(name: str, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _save(
    path: Path, nodes: list, inputs: list, outputs: list[str], weights: dict, ints: dict
) -> Path:
    tensors = [
        numpy_helper.from_array(np.asarray(a, dtype=np.float32), name)
        for name, a in weights.items()
    ]
    tensors += [
        numpy_helper.from_array(np.asarray(a, dtype=np.int64), name) for name, a in ints.items()
    ]
    graph = helper.make_graph(
        nodes, path.stem, inputs, [_value(name, None) for name in outputs], tensors
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, data_prop=True), str(path))
    return path
