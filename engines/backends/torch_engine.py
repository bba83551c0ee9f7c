"""ONNX networks through torch, on the CPU or on CUDA.

The graph is planned once: constants and all that follows from constants and shapes are computed at
the start, and what is left is a list of steps. On CUDA the steps are captured into one CUDA graph,
so a run is a copy in, one launch and a copy out. Arithmetic is float32 throughout (no TF32), so
that results agree with the other backends.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
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

OLDEST_OPSET = 13
WARM_UP_RUNS = 2
REPLAY_TOLERANCE = 1e-4
"""Largest relative difference between the captured graph and the same steps run one by one."""


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
            PenumbraError: The model needs an operator, or a variant of one, that
                `engines.backends.torch_ops` does not have.
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
        self._host: dict[str, list[Any]] = {}
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
            raise self._refuse(node, f"operator {node.op_type}")
        if len(node.output) > 1:
            raise self._refuse(node, f"operator {node.op_type} with {len(node.output)} outputs")
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
        name = node.name or ", ".join(node.output)
        return PenumbraError(
            f"backend: torch cannot run {self._model.name}: {what} (node {name}) is not in "
            "engines/backends/torch_ops.py; use openvino or onnxruntime."
        )


class TorchCpuEngine:
    """See `engines.backends.engine.Engine`."""

    backend = "torch CPU"
    device = "cpu"

    def __init__(self, graph: TorchGraph) -> None:
        """The host arrays are the graph's own tensors."""
        self._graph = graph
        self.inputs: Mapping[str, np.ndarray] = {
            name: tensor.numpy() for name, tensor in graph.inputs.items()
        }
        with torch.inference_mode():
            results = graph.run()
        self._results = {
            name: torch.zeros(result.shape, dtype=result.dtype) for name, result in results.items()
        }
        self.outputs: Mapping[str, np.ndarray] = {
            name: tensor.numpy() for name, tensor in self._results.items()
        }

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""
        with torch.inference_mode():
            for name, result in self._graph.run().items():
                self._results[name].copy_(result)


class TorchCudaEngine:
    """See `engines.backends.engine.Engine`. All its work is on one stream of its own."""

    device = "cuda:0"

    def __init__(self, graph: TorchGraph) -> None:
        """Warm up, capture, and compare the capture with a plain run."""
        self.backend = f"torch cuda {torch.cuda.get_device_name()}"
        self._graph = graph
        self._stream = torch.cuda.Stream()
        self._captured = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())  # The weights were uploaded there.
        with torch.inference_mode(), torch.cuda.stream(self._stream), _exact_float32():
            for _ in range(WARM_UP_RUNS):
                graph.run()
            # Other threads may call CUDA during the capture; only this thread's calls belong to it.
            with torch.cuda.graph(
                self._captured, stream=self._stream, capture_error_mode="thread_local"
            ):
                self._results = {name: result.contiguous() for name, result in graph.run().items()}
        self._pinned_in = {name: _pinned(tensor) for name, tensor in graph.inputs.items()}
        self._pinned_out = {name: _pinned(tensor) for name, tensor in self._results.items()}
        self.inputs: Mapping[str, np.ndarray] = {
            name: tensor.numpy() for name, tensor in self._pinned_in.items()
        }
        self.outputs: Mapping[str, np.ndarray] = {
            name: tensor.numpy() for name, tensor in self._pinned_out.items()
        }
        self._compare_with_plain_run()

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for name, tensor in self._graph.inputs.items():
                tensor.copy_(self._pinned_in[name], non_blocking=True)
            self._captured.replay()
            for name, tensor in self._results.items():
                self._pinned_out[name].copy_(tensor, non_blocking=True)
        self._stream.synchronize()

    def _compare_with_plain_run(self) -> None:
        rng = np.random.default_rng(0)
        for array in self.inputs.values():
            array[...] = rng.random(array.shape)
        self.run()
        with torch.inference_mode(), torch.cuda.stream(self._stream), _exact_float32():
            expected = {name: result.cpu().numpy() for name, result in self._graph.run().items()}
        for name, array in self.outputs.items():
            scale = float(np.abs(expected[name]).max(initial=1e-3))
            if not np.allclose(
                array, expected[name], rtol=0, atol=REPLAY_TOLERANCE * scale, equal_nan=True
            ):
                raise RuntimeError(
                    f"The captured CUDA graph and a plain run differ in output '{name}'."
                )
        for array in self.inputs.values():
            array[...] = 0


def why_not(model: Path, shapes: Shapes) -> str | None:
    """Return why `auto` passes torch on CUDA over; None where it works."""
    return None if torch.cuda.is_available() else "this build of torch has no CUDA"


def open_here(
    model: Path, shapes: Shapes, device: str, num_threads: int | None
) -> TorchCpuEngine | TorchCudaEngine:
    """See `engines.backends.engine.open_engine`; `num_threads` holds for the whole process."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise PenumbraError(
                "backend: 'torch-cuda' needs a torch that was built for CUDA; see "
                "pytorch.org/get-started."
            )
        with torch.inference_mode(), _exact_float32():
            graph = TorchGraph(model, shapes, "cuda")
        return TorchCudaEngine(graph)
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    with torch.inference_mode():
        return TorchCpuEngine(TorchGraph(model, shapes, "cpu"))


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Convolutions without TF32, which would round each factor to ten bits."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=False
    ):
        yield


def _call(step: Step, values: Mapping[str, Tensor]) -> Tensor:
    arguments = (
        values[value.name] if isinstance(value, Name) else value for value in step.arguments
    )
    return step.run(step.attributes, *arguments)


def _pinned(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=True)


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
