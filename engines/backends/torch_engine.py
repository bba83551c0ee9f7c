"""ONNX networks through torch, on the CPU or on CUDA.

On CUDA the steps of `torch_graph` are captured into one CUDA graph, so a run is a copy in, one
launch and a copy out. Arithmetic is float32 throughout (no TF32), so that results agree with the
other backends.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.backends.engine import Shapes
from engines.backends.torch_graph import TorchGraph
from engines.errors import PenumbraError

WARM_UP_RUNS = 2
REPLAY_TOLERANCE = 1e-4
"""Largest relative difference between the captured graph and the same steps run one by one."""


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


def _pinned(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=True)
