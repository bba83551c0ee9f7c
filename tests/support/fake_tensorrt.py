"""A stand-in for `tensorrt` and `cuda.bindings.runtime`, so that our wiring to them can be tested
without a GPU.

It has the calls that NVIDIA documents for TensorRT 10 and 11 and that we use, no others, and it is
not TensorRT: "device" memory is the host's, a "plan" is the ONNX file itself, and ONNX Runtime
computes what the plan should. What it shows is that calls are made in order, that buffers reach the
network and come back, and that every failing status is noticed.
"""

import ctypes
import sys
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.telemetry import no_telemetry

with no_telemetry():
    import onnxruntime

GPU = "Stand-in GPU"


class Fakes:
    """Both modules, and what was asked of them."""

    def __init__(self, version: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fail: set[str] = set()
        """Names of calls that shall report failure."""
        self.memory: dict[int, Any] = {}
        self.tensorrt, self.cudart = _tensorrt(self, version), _cudart(self)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put them where `import` finds them, and unload our module that imports them."""
        cuda, bindings = _module("cuda"), _module("cuda.bindings")
        cuda.bindings, bindings.runtime = bindings, self.cudart  # type: ignore[attr-defined]
        named = {"tensorrt": self.tensorrt, "cuda": cuda, "cuda.bindings": bindings}
        for name, module in {**named, "cuda.bindings.runtime": self.cudart}.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "engines.backends.tensorrt_engine", raising=False)
        monkeypatch.setattr("engines.backends.engine.cuda_device_count", lambda: 1)

    def record(self, name: str, *arguments: Any) -> bool:
        """Note a call; False where it shall fail."""
        self.calls.append((name, *arguments))
        return name not in self.fail

    def names(self) -> list[str]:
        """The calls so far, without their arguments."""
        return [call[0] for call in self.calls]


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module


def _tensorrt(fakes: Fakes, version: str) -> ModuleType:
    trt = _module("tensorrt")
    major = int(version.split(".")[0])

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None: ...

    class Parser:
        num_errors = 1

        def __init__(self, network: Any, logger: Logger) -> None:
            self.network = network

        def parse(self, data: bytes) -> bool:
            self.network.data = data
            return fakes.record("parse")

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "no importer for this node")

    class Builder:
        def __init__(self, logger: Logger) -> None: ...

        def create_network(self, *flags: int) -> Any:
            fakes.record("create_network", *flags)
            return SimpleNamespace(data=b"")

        def create_builder_config(self) -> Any:
            fakes.record("create_builder_config")
            return SimpleNamespace(
                set_memory_pool_limit=lambda pool, size: fakes.record("set_memory_pool_limit"),
                clear_flag=lambda flag: fakes.record("clear_flag", flag.name),
            )

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            return network.data if fakes.record("build_serialized_network") else None

    class Runtime:
        def __init__(self, logger: Logger) -> None: ...

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            return _CudaEngine(fakes, plan) if fakes.record("deserialize_cuda_engine") else None

    # As documented: 11 has no FP16 flag any more, and keeps STRONGLY_TYPED although it means
    # nothing there.
    flags = {"TF32": 7} if major >= 11 else {"FP16": 0, "TF32": 7}
    trt.__dict__.update(
        __version__=version,
        Logger=Logger,
        OnnxParser=Parser,
        Builder=Builder,
        Runtime=Runtime,
        BuilderFlag=IntEnum("BuilderFlag", flags),
        MemoryPoolType=IntEnum("MemoryPoolType", ["WORKSPACE"]),
        NetworkDefinitionCreationFlag=IntEnum(
            "NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1}
        ),
        TensorIOMode=_MODES,
        nptype=lambda dtype: dtype,
    )
    return trt


_MODES = IntEnum("_MODES", ["INPUT", "OUTPUT"])


class _CudaEngine:
    """An engine and its context in one: names, shapes, addresses, and a run on what lies at the
    addresses.
    """

    def __init__(self, fakes: Fakes, plan: bytes) -> None:
        self._fakes = fakes
        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        self._values = {
            **zeros,
            **dict(zip(self._outputs, self._session.run(None, zeros), strict=True)),
        }
        self._addresses: dict[str, int] = {}
        self.num_io_tensors = len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> Any:
        return _MODES.INPUT if name in self._inputs else _MODES.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._values[name].shape

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def create_execution_context(self) -> "_CudaEngine | None":
        return self if self._fakes.record("create_execution_context") else None

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._fakes.record("set_tensor_address", name)

    def execute_async_v3(self, stream: int) -> bool:
        if not self._fakes.record("execute_async_v3"):
            return False
        results = self._session.run(self._outputs, {name: self._at(name) for name in self._inputs})
        for name, value in zip(self._outputs, results, strict=True):
            self._at(name)[...] = value
        return True

    def _at(self, name: str) -> np.ndarray:
        value = self._values[name]
        raw = (ctypes.c_uint8 * value.nbytes).from_address(self._addresses[name])
        return np.frombuffer(raw, dtype=np.float32).reshape(value.shape)


def _cudart(fakes: Fakes) -> ModuleType:
    cudart = _module("cuda.bindings.runtime")
    status = IntEnum("cudaError_t", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2})

    def answer(name: str, *values: Any) -> tuple[Any, ...]:
        good = fakes.record(name)
        return (status.cudaSuccess if good else status.cudaErrorMemoryAllocation, *values)

    def allocate(name: str, size: int) -> tuple[Any, ...]:
        block = (ctypes.c_uint8 * size)()
        fakes.memory[ctypes.addressof(block)] = block
        return answer(name, ctypes.addressof(block))

    def copy(target: int, source: int, size: int, kind: Any, stream: Any) -> tuple[Any, ...]:
        ctypes.memmove(target, source, size)
        return answer(kind.name)

    capability = {"cudaDevAttrComputeCapabilityMajor": 75, "cudaDevAttrComputeCapabilityMinor": 76}
    attributes = IntEnum("cudaDeviceAttr", capability)
    cudart.__dict__.update(
        cudaError_t=status,
        cudaDeviceAttr=attributes,
        cudaStreamNonBlocking=1,
        cudaMemcpyKind=IntEnum(
            "cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2}
        ),
        cudaStreamCreateWithFlags=lambda flags: answer("cudaStreamCreateWithFlags", 17),
        cudaStreamSynchronize=lambda stream: answer("cudaStreamSynchronize"),
        cudaMallocHost=lambda size: allocate("cudaMallocHost", size),
        cudaMalloc=lambda size: allocate("cudaMalloc", size),
        cudaMemcpyAsync=copy,
        cudaDeviceGetAttribute=lambda which, device: answer(
            "cudaDeviceGetAttribute", {75: 8, 76: 9}[which]
        ),
        cudaGetDeviceProperties=lambda device: answer(
            "cudaGetDeviceProperties", SimpleNamespace(name=GPU.encode())
        ),
    )
    return cudart
