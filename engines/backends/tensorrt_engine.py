"""TensorRT 10.x and 11.x on an NVIDIA GPU.

NOT YET RUN ON HARDWARE: where this was written there was neither a GPU nor TensorRT. It follows
NVIDIA's documentation (docs.nvidia.com/deeplearning/tensorrt, Python API, ICudaEngine and
IExecutionContext), uses only calls that 10.x and 11.x share, and its tests run it against a
stand-in that knows those calls. Nothing falls back: each call's status is checked.

Buffers are allocated once (page-locked on the host, plain on the device) through `cuda.bindings`,
which starts much faster than torch, and their addresses are set once. A run is copies in, one
enqueue and copies out on one stream.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt  # pyright: ignore[reportMissingImports]
from cuda.bindings import runtime as cudart  # pyright: ignore[reportMissingImports]

from engines.backends.engine import Shapes
from engines.backends.plans import Machine, find_plan
from engines.errors import PenumbraError


@dataclass(frozen=True)
class Buffer:
    """One input or output: the same bytes on the host and on the device."""

    host: np.ndarray
    device: int
    """Address on the device."""


class TensorrtEngine:
    """See `engines.backends.engine.Engine`. Its memory is given back when the process ends."""

    device = "cuda:0"

    def __init__(self, plan: bytes, precision: str) -> None:
        """Load a plan and fix its buffers.

        Raises:
            PenumbraError: TensorRT does not accept the plan.
        """
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PenumbraError(
                "backend: TensorRT refused the plan; build it again with python -m "
                "trainer.export_trt."
            )
        self.backend = f"tensorrt {trt.__version__} {precision} {this_machine().gpu}"
        self._engine, self._context = engine, engine.create_execution_context()
        if self._context is None:
            raise RuntimeError(
                "TensorRT could not make an execution context: the GPU's memory may be full."
            )
        self._stream = checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        buffers = {name: self._bind(name) for name in names}
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self._in = [buffers[name] for name in names if is_input[name]]
        self._out = [buffers[name] for name in names if not is_input[name]]
        self.inputs: Mapping[str, np.ndarray] = {
            name: buffers[name].host for name in names if is_input[name]
        }
        self.outputs: Mapping[str, np.ndarray] = {
            name: buffers[name].host for name in names if not is_input[name]
        }

    def _bind(self, name: str) -> Buffer:
        shape = tuple(self._engine.get_tensor_shape(name))
        assert all(size > 0 for size in shape), (
            f"{name} has shape {shape}; plans are built with fixed shapes"
        )
        buffer = allocate(shape, np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))))
        if not self._context.set_tensor_address(name, buffer.device):
            raise RuntimeError(f"TensorRT refused the address of '{name}'.")
        return buffer

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""
        to_device, to_host = (
            cudart.cudaMemcpyKind.cudaMemcpyHostToDevice,
            cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost,
        )
        for buffer in self._in:
            host = buffer.host
            checked(
                cudart.cudaMemcpyAsync(
                    buffer.device, host.ctypes.data, host.nbytes, to_device, self._stream
                )
            )
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT could not enqueue the network; its log above says why.")
        for buffer in self._out:
            host = buffer.host
            checked(
                cudart.cudaMemcpyAsync(
                    host.ctypes.data, buffer.device, host.nbytes, to_host, self._stream
                )
            )
        checked(cudart.cudaStreamSynchronize(self._stream))


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
    """Allocate page-locked host memory, zeroed, and device memory for one array."""
    nbytes = int(np.prod(shape)) * dtype.itemsize
    address = checked(cudart.cudaMallocHost(nbytes))
    host = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(int(address)))
    host[:] = 0
    return Buffer(host.view(dtype).reshape(shape), int(checked(cudart.cudaMalloc(nbytes))))


def checked(result: tuple[Any, ...]) -> Any:
    """Return the value of a `cudart` call, whose first result is its status.

    Raises:
        RuntimeError: if the call failed.
    """
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        raise RuntimeError(f"CUDA says {status.name}.")
    return values[0] if values else None


def this_machine() -> Machine:
    """Return TensorRT's version and the first GPU, the one that is used."""
    attribute = cudart.cudaDeviceAttr
    major = checked(cudart.cudaDeviceGetAttribute(attribute.cudaDevAttrComputeCapabilityMajor, 0))
    minor = checked(cudart.cudaDeviceGetAttribute(attribute.cudaDevAttrComputeCapabilityMinor, 0))
    name = checked(cudart.cudaGetDeviceProperties(0)).name
    return Machine(
        trt.__version__, 10 * major + minor, name.decode() if isinstance(name, bytes) else name
    )


def why_not(model: Path, shapes: Shapes) -> str | None:
    """Return why `auto` passes TensorRT over for this model; None where a plan fits."""
    try:
        find_plan(model, this_machine(), shapes)
    except PenumbraError as error:
        return str(error)
    return None


def open_here(model: Path, shapes: Shapes, device: str, num_threads: int | None) -> TensorrtEngine:
    """See `engines.backends.engine.open_engine`."""
    assert device == "cuda", device
    path, manifest = find_plan(model, this_machine(), shapes)
    engine = TensorrtEngine(path.read_bytes(), manifest.precision)
    engine.run()  # finishes TensorRT's lazy set-up before the first frame
    return engine
