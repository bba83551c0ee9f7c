"""What runs a network: one small protocol, and `open_engine`, the only place where a backend is
chosen.

An engine owns fixed host arrays. The caller writes into `inputs` in place, calls `run()`, and reads
`outputs`; the arrays are allocated once and stay the same objects for the life of the engine:

    engine = open_engine(Path("flow.onnx"), shapes={"features": (1, 300), "z": (100, 85)})
    engine.inputs["z"][...] = noise
    engine.run()
    samples = engine.outputs["rotvec"]  # overwritten by the next run: copy what must stay

Importing this module imports no inference library; each backend's module does that, and only when
it is asked for.
"""

import ctypes
import importlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from engines.errors import PenumbraError

log = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]


@runtime_checkable
class Engine(Protocol):
    """A network that is ready to run. Not thread-safe: one engine belongs to one thread at a
    time.
    """

    @property
    def backend(self) -> str:
        """What runs the network, for people to read: "openvino CPU", "onnxruntime CPU", "torch cuda
        NVIDIA L4".
        """
        ...

    @property
    def device(self) -> str:
        """Where it runs, as the kernels name it: "cpu" or "cuda:0"."""
        ...

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """Host arrays that the caller fills in place. Zero at first."""
        ...

    @property
    def outputs(self) -> Mapping[str, np.ndarray]:
        """Host arrays that `run` fills."""
        ...

    def run(self) -> None:
        """Compute `outputs` from `inputs`. Returns when the outputs are there."""
        ...


@dataclass(frozen=True)
class Backend:
    """Where a backend lives and what a user installs to get it."""

    module: str
    """Our module, which offers `open_<name>_engine`; imported only when the backend is used."""
    packages: tuple[str, ...]
    """Import names that must be found."""
    install: str
    """The command that brings them."""
    needs_cuda: bool = False


# fmt: off
BACKENDS: dict[str, Backend] = {
    "tensorrt": Backend("engines.backends.tensorrt_engine", ("tensorrt", "cuda"), "pip install -e '.[trt]'", True),
    "torch-cuda": Backend("engines.backends.torch_engine", ("torch", "onnx"), "pip install -e '.[torch]'", True),
    "openvino": Backend("engines.backends.openvino_engine", ("openvino",), "pip install openvino"),
    "onnxruntime": Backend("engines.backends.onnxruntime_engine", ("onnxruntime",), "pip install onnxruntime"),
    "torch": Backend("engines.backends.torch_engine", ("torch", "onnx"), "pip install -e '.[torch]'"),
}
# fmt: on
"""In the order in which `auto` prefers them. It never takes "torch": on a CPU the two before it are
faster.
"""


def open_engine(
    model: Path,
    backend: str = "auto",
    shapes: Shapes | None = None,
    *,
    num_threads: int | None = None,
) -> Engine:
    """Make the network in `model` ready to run on `backend`.

    Args:
        model: An ONNX file.
        backend: A key of `BACKENDS`, or "auto" to take the fastest that works here. A named backend
            is used or refused, never replaced by another.
        shapes: Full shapes of the inputs whose shape the file leaves open, e.g. `{"z": (100, 85)}`.
        num_threads: CPU threads for one run; None leaves it to the backend. Ignored by the GPU
            backends.

    Raises:
        PenumbraError: The file or the backend is not there, or a dimension stays open.
    """
    if not model.is_file():
        raise PenumbraError(f"model: there is no file {model}.")
    shapes = dict(shapes or {})
    if backend != "auto":
        return _open(model, backend, shapes, num_threads)
    chosen, why = _choose(model, shapes)
    engine = _open(model, chosen, shapes, num_threads)
    log.info("%s runs on %s (auto: %s)", model.name, engine.backend, why)
    return engine


def why_unavailable(name: str) -> str | None:
    """The sentence that says how to get backend `name`, or None where it can be used. Imports
    nothing heavy.
    """
    spec = BACKENDS[name]
    missing = [package for package in spec.packages if find_spec(package) is None]
    if missing:
        return (
            f"backend: '{name}' needs the Python package {missing[0]}; get it with {spec.install}."
        )
    if spec.needs_cuda and cuda_device_count() == 0:
        return f"backend: '{name}' needs an NVIDIA GPU and its driver, and none answers here; use openvino on a CPU."
    return None


def cuda_device_count() -> int:
    """Number of CUDA devices, asked of the driver itself, which is much cheaper than importing
    torch to ask.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def open_dimension(model: Path, name: str) -> PenumbraError:
    """What to raise when the file and `shapes` together leave a dimension of input `name` open."""
    return PenumbraError(
        f"shapes: {model.name} leaves a dimension of its input '{name}' open; give its full shape."
    )


def _open(model: Path, backend: str, shapes: Shapes, num_threads: int | None) -> Engine:
    if backend not in BACKENDS:
        raise PenumbraError(
            f"backend: '{backend}' is unknown; choose one of auto, {', '.join(BACKENDS)}."
        )
    refusal = why_unavailable(backend)
    if refusal:
        raise PenumbraError(refusal)
    module = importlib.import_module(BACKENDS[backend].module)
    return module.open_here(
        model,
        shapes,
        device="cuda" if BACKENDS[backend].needs_cuda else "cpu",
        num_threads=num_threads,
    )


def _choose(model: Path, shapes: Shapes) -> tuple[str, str]:
    """The backend that `auto` takes for `model`, and why, for the log."""
    passed_over: list[str] = []
    for name in BACKENDS:
        if name == "torch":
            continue
        refusal = why_unavailable(name)
        reason = f"no {name}" if refusal else _why_not_for(name, model, shapes)
        if reason is None:
            return name, "; ".join([*passed_over, f"{name} is the first that works here"])
        passed_over.append(reason)
    raise PenumbraError("backend: auto found none to run on; get one with pip install openvino.")


def _why_not_for(name: str, model: Path, shapes: Shapes) -> str | None:
    """What only the backend's own library can tell: is there a plan for this model, was torch built
    for CUDA?
    """
    if not BACKENDS[name].needs_cuda:
        return None
    return importlib.import_module(BACKENDS[name].module).why_not(model, shapes)
