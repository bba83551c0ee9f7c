"""The landmark network's last stage as a torch module that can go on learning.

It is cut out of the imported graph: everything between the feature map that `Landmarks.map` carries
and the features that the landmark and world heads read. It starts with the landmark network's own
weights, so on the first step it says exactly what that network's heads are told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from jaxtyping import Float
from onnx import numpy_helper
from torch import Tensor, nn

from engines.backends.torch_ops import OPS
from engines.blazepose.models import landmarker_model

MAP, HEAD = "map", "landmarks"
_WEIGHTED = frozenset({"Conv"})


@dataclass(frozen=True)
class Node:
    """One operator: inputs are names of values, or of weights."""

    op: str
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    output: str


class LastStage(nn.Module):
    """(B, 4, 4, 288) to (B, `size`)."""

    size = 288 * 2 * 2

    def __init__(
        self, nodes: Sequence[Node], weights: dict[str, Tensor], first: str, last: str
    ) -> None:
        super().__init__()
        self._nodes, self._first, self._last = tuple(nodes), first, last
        learnt = {name for node in nodes if node.op in _WEIGHTED for name in node.inputs}
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(w) for name, w in weights.items() if name in learnt}
        )
        # An operator's steering inputs (bounds of a clip) arrive as lists of Python numbers.
        self._constants = {
            name: w.reshape(-1).tolist() for name, w in weights.items() if name not in learnt
        }

    @classmethod
    def load(cls) -> "LastStage":
        """Cut the stage out of the imported landmark network."""
        graph = onnx.load(str(landmarker_model())).graph
        producer = {name: node for node in graph.node for name in node.output}
        first = producer[MAP].input[0]  # the channels-last output is a transposed copy
        last = _upstream_conv(producer, HEAD).input[0]
        stored = {tensor.name: tensor for tensor in graph.initializer}
        nodes = _between(producer, first, last)
        names = [name for node in nodes for name in node.inputs if name in stored]
        return cls(
            nodes,
            {name: torch.tensor(numpy_helper.to_array(stored[name])) for name in names},
            first,
            last,
        )

    def forward(self, map: Float[Tensor, "B 4 4 288"]) -> Float[Tensor, "B D"]:
        """Run the stage."""
        values: dict[str, Any] = {self._first: map.permute(0, 3, 1, 2), "": None}
        for node in self._nodes:
            inputs = [self._value(values, name) for name in node.inputs]
            values[node.output] = OPS[node.op].function(node.attributes, *inputs)
        return values[self._last].flatten(1)

    def _value(self, values: dict[str, Any], name: str) -> Any:
        if name in values:
            return values[name]
        return self.weights[name] if name in self.weights else self._constants[name]


def _upstream_conv(producer: dict[str, onnx.NodeProto], name: str) -> onnx.NodeProto:
    """The convolution that a head's output is a reshaped copy of."""
    node = producer[name]
    while node.op_type != "Conv":
        node = producer[node.input[0]]
    return node


def _between(producer: dict[str, onnx.NodeProto], first: str, last: str) -> list[Node]:
    """The operators from value `first` to value `last`, in running order."""
    nodes: dict[str, Node] = {}

    def visit(name: str) -> None:
        if name == first or name in nodes or name not in producer:
            return
        node = producer[name]
        for source in node.input:
            visit(source)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        nodes[name] = Node(node.op_type, attributes, tuple(node.input), name)

    visit(last)
    return list(nodes.values())
