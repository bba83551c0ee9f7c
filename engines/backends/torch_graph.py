"""An ONNX graph as a list of torch operations.

The graph is planned once: constants, and all that follows from constants and shapes, are computed
at the start, and what is left is a list of steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from engines.backends.engine import Shapes, open_dimension, unfitting, unreadable
from engines.backends.torch_ops import DTYPES, OPS, UnsupportedError
from engines.errors import PenumbraError
from engines.printable import printable

OLDEST_OPSET = 13


@dataclass(frozen=True)
class Step:
    """One node that depends on the inputs, ready to run."""

    run: Callable[..., Tensor]
    attributes: Mapping[str, Any]
    arguments: tuple[Any, ...]
    """One for each input of the node: a `Name` to look up, or the constant itself."""
    output: str


@dataclass(frozen=True)
class Name:
    """An argument that is looked up at run time."""

    name: str


class TorchGraph:
    """The graph as a list of steps on one device."""

    def __init__(self, model: Path, shapes: Shapes, device: str) -> None:
        """Plan the graph by running it once on zeros.

        Raises:
            PenumbraError: if the file cannot be read, or needs an operator, or a variant of one,
                that `engines.backends.torch_ops` does not have.
        """
        try:
            proto = onnx.load(str(model))
            onnx.checker.check_model(proto)
        except (DecodeError, onnx.checker.ValidationError) as error:
            raise unreadable(model, error) from error
        opset = max(
            entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")
        )
        if opset < OLDEST_OPSET:
            raise PenumbraError(
                f"model: {model.name} uses ONNX opset {opset}; export it with {OLDEST_OPSET} or "
                "newer."
            )
        self._model, self._device = model, device
        self._constants = {
            tensor.name: _to_tensor(tensor, device) for tensor in proto.graph.initializer
        }
        self.inputs = {
            value.name: torch.zeros(
                _shape(value, model, shapes), dtype=_dtype(value), device=device
            )
            for value in proto.graph.input
            if value.name not in self._constants
        }
        self._outputs = tuple(value.name for value in proto.graph.output)
        self._steps: list[Step] = []
        self._plan(proto.graph)
        self._constants = {
            name: self._constants[name] for name in self._outputs if name in self._constants
        }

    def run(self) -> dict[str, Tensor]:
        """Run every step on `inputs` as they are now."""
        values = {**self._constants, **self.inputs}
        for step in self._steps:
            values[step.output] = _call(step, values)
        return {name: values[name] for name in self._outputs}

    def _plan(self, graph: onnx.GraphProto) -> None:
        values: dict[str, Tensor] = dict(self.inputs)
        for node in graph.node:
            attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _constant(attributes, self._device)
                continue
            step = self._bind(node, attributes)
            try:
                result = _call(step, values)
            except UnsupportedError as error:
                raise self._refuse(node, f"operator {node.op_type} with {error}") from error
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                given = {name: tuple(value.shape) for name, value in self.inputs.items()}
                raise unfitting(self._model, given, error) from error
            if node.op_type == "Shape" or not any(
                isinstance(argument, Name) for argument in step.arguments
            ):
                self._constants[step.output] = result.to(self._device)
            else:
                values[step.output] = result
                self._steps.append(step)

    def _bind(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> Step:
        """Resolve a node's constants now, and its other inputs to names for run time."""
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPS:
            raise self._refuse(node, f"operator {printable(node.op_type[:40])}")
        if len(node.output) > 1:
            raise self._refuse(
                node, f"operator {printable(node.op_type[:40])} with {len(node.output)} outputs"
            )
        op = OPS[node.op_type]
        arguments: list[Any] = []
        for position, name in enumerate(node.input):
            if not name:
                arguments.append(None)
            elif position in op.host:
                if name not in self._constants:
                    raise self._refuse(
                        node, f"operator {node.op_type} whose input {position} depends on the data"
                    )
                arguments.append(self._constants[name].reshape(-1).tolist())
            else:
                arguments.append(self._constants[name] if name in self._constants else Name(name))
        return Step(op.function, attributes, tuple(arguments), node.output[0])

    def _refuse(self, node: onnx.NodeProto, what: str) -> PenumbraError:
        name = printable((node.name or ", ".join(node.output))[:80])
        return PenumbraError(
            f"backend: torch cannot run {self._model.name}: {what} (node {name}) is not in "
            "engines/backends/torch_ops.py; use openvino or onnxruntime."
        )


def _call(step: Step, values: Mapping[str, Tensor]) -> Tensor:
    arguments = (
        values[value.name] if isinstance(value, Name) else value for value in step.arguments
    )
    return step.run(step.attributes, *arguments)


def _to_tensor(proto: onnx.TensorProto, device: str) -> Tensor:
    return torch.from_numpy(np.array(onnx.numpy_helper.to_array(proto))).to(device)


def _constant(attributes: Mapping[str, Any], device: str) -> Tensor:
    (value,) = attributes.values()
    if isinstance(value, onnx.TensorProto):
        return _to_tensor(value, device)
    return torch.tensor(value, device=device)  # value_float, value_ints and their like


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _dtype(value: onnx.ValueInfoProto) -> torch.dtype:
    return DTYPES[value.type.tensor_type.elem_type]


def _shape(value: onnx.ValueInfoProto, model: Path, shapes: Shapes) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    shape = shapes.get(
        value.name, tuple(dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims)
    )
    if 0 in shape:
        raise open_dimension(model, value.name)
    return tuple(shape)
