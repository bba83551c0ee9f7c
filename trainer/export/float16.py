"""Write float16 into an ONNX graph, for strongly typed networks, where the types in the graph are
the types that run.

Only what pays is halved: convolutions and matrix products (`ALWAYS`), and what passes their results
on without needing more range or precision (`FOLLOWING`, when all that flows into them is already
half). Exponentials, logarithms, sums and densities stay float32, and so do the graph's inputs and
outputs. Casts stand only where the two meet.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALWAYS = frozenset({"Conv", "Gemm", "MatMul"})
FOLLOWING = frozenset(
    {
        "Add",
        "Clip",
        "Concat",
        "DepthToSpace",
        "MaxPool",
        "PRelu",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
    }
    | {"Tanh", "Transpose"}
)
ONLY_FIRST_INPUT = frozenset({"Resize"})
"""Their other inputs are float32 in every type of network."""


def halve(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 graph that computes in float16 where that is safe.

    Args:
        proto: A graph whose value types are known (`onnx.shape_inference`).
    """
    return _Halving(proto).result()


class _Halving:
    """One pass over the graph in running order."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = onnx.ModelProto()
        self._proto.CopyFrom(proto)
        graph = self._proto.graph
        typed = [*graph.input, *graph.value_info, *graph.output]
        self._float = {
            value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:  # A constant node is a weight by another name.
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._weights[node.output[0]] = node.attribute[0].t
        self._half: dict[str, str] = {}
        """float32 tensor to its float16 twin."""
        self._nodes: list[onnx.NodeProto] = []
        self._new_weights: list[onnx.TensorProto] = []

    def result(self) -> onnx.ModelProto:
        """Run the pass and put the graph together."""
        graph = self._proto.graph
        for node in graph.node:
            self._visit(node)
        read = {name for node in self._nodes for name in node.input} | {
            value.name for value in graph.output
        }
        kept = [
            node for node in self._nodes if any(name in read for name in node.output)
        ]  # Casts nobody reads go.
        weights = [
            tensor for tensor in [*graph.initializer, *self._new_weights] if tensor.name in read
        ]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(kept)
        graph.initializer.extend(weights)
        onnx.checker.check_model(self._proto)
        return self._proto

    def _visit(self, node: onnx.NodeProto) -> None:
        halved = self._halved_inputs(node)
        flowing = [node.input[i] for i in halved if node.input[i] not in self._weights]
        follows = (
            node.op_type in FOLLOWING
            and bool(flowing)
            and all(name in self._half for name in flowing)
        )
        if node.op_type not in ALWAYS and not follows:
            self._nodes.append(node)
            return
        for i in halved:
            node.input[i] = self._to_half(node.input[i])
        self._nodes.append(node)
        for i, name in enumerate(node.output):
            node.output[i] = self._half[name] = f"{name}__half"
            self._nodes.append(
                helper.make_node("Cast", [f"{name}__half"], [name], to=TensorProto.FLOAT)
            )

    def _halved_inputs(self, node: onnx.NodeProto) -> list[int]:
        """Positions of the float32 inputs that would become float16."""
        count = 1 if node.op_type in ONLY_FIRST_INPUT else len(node.input)
        return [i for i in range(count) if node.input[i] and self._is_float(node.input[i])]

    def _is_float(self, name: str) -> bool:
        if name in self._weights:
            return self._weights[name].data_type == TensorProto.FLOAT
        return name in self._float

    def _to_half(self, name: str) -> str:
        if name not in self._half:
            self._half[name] = f"{name}__half"
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name])
                largest = np.finfo(
                    np.float16
                ).max  # A bound such as "no upper limit" stays a finite one.
                halves = np.clip(values, -largest, largest).astype(np.float16)
                self._new_weights.append(numpy_helper.from_array(halves, f"{name}__half"))
            else:
                self._nodes.append(
                    helper.make_node("Cast", [name], [f"{name}__half"], to=TensorProto.FLOAT16)
                )
        return self._half[name]
