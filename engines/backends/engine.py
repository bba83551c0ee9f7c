"""Inference engines: a small protocol, and `open_engine`, where the backend is chosen.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np

from engines.errors import PenumbraError
from engines.printable import printable

log = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]


@runtime_checkable
class Engine(Protocol):
    """A network that is ready to run, by one thread at a time."""

    @property
    def backend(self) -> str:
        """Name of backend and device: "openvino CPU", "torch cuda NVIDIA L4"."""
        ...

    @property
    def device(self) -> str:
        """Device in the kernels' spelling: "cpu" or "cuda:0"."""
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


@runtime_checkable
class AsyncEngine(Engine, Protocol):
    """An engine whose run has two halves; several of one network compute at the same time."""

    def start(self) -> None:
        """Begin to compute; `inputs` must stay as they are until `wait` returns."""
        ...

    def wait(self) -> None:
        """Return when `outputs` are there, or raise what went wrong."""
        ...


@dataclass(frozen=True)
class Backend:
    """Module of a backend, and what a user installs to get it."""

    module: str
    """Module of this folder with its `open_here`, imported only when the backend is used."""
    packages: tuple[str, ...]
    """Import names that must be found."""
    install: str
    """The command that installs them."""
    needs_cuda: bool = False
    side_by_side: bool = False
    """Whether the module has `open_several`."""


_TORCH = "pip install -e '.[torch]'"
# fmt: off
BACKENDS: dict[str, Backend] = {
    "tensorrt": Backend("tensorrt_engine", ("tensorrt", "cuda"), "pip install -e '.[trt]'", True),
    "torch-cuda": Backend("torch_engine", ("torch", "onnx"), _TORCH, True),
    "openvino": Backend("openvino_engine", ("openvino",), "pip install openvino", False, True),
    "onnxruntime": Backend("onnxruntime_engine", ("onnxruntime",), "pip install onnxruntime"),
    "torch": Backend("torch_engine", ("torch", "onnx"), _TORCH),
}
# fmt: on
"""Backends in the order in which `auto` prefers them. `auto` never takes "torch": on a CPU the two
before it are faster."""


def open_engine(
    model: Path,
    backend: str = "auto",
    shapes: Shapes | None = None,
    *,
    num_threads: int | None = None,
) -> Engine:
    """Make the network in `model` ready to run on `backend`.

    Args:
        model: an ONNX file.
        backend: a key of `BACKENDS`, or "auto" to take the fastest that works here. A named backend
            is used or refused, never replaced by another.
        shapes: full shapes of the inputs whose shape the file leaves open, e.g. `{"z": (100, 85)}`.
        num_threads: CPU threads for one run; None leaves it to the backend. Ignored by the GPU
            backends.

    Raises:
        PenumbraError: if the file or the backend is not there, or a dimension stays open.
    """
    if not model.is_file():
        raise PenumbraError(f"model: there is no file {model}; name an ONNX file.")
    shapes = dict(shapes or {})
    if backend != "auto":
        return _usable(backend).open_here(model, shapes, _device(backend), num_threads)
    chosen, why = _choose(model, shapes)
    engine = _usable(chosen).open_here(model, shapes, _device(chosen), num_threads)
    log.info("%s runs on %s (auto: %s)", model.name, engine.backend, why)
    return engine


def open_several(
    model: Path, backend: str = "auto", shapes: Shapes | None = None, *, count: int
) -> Sequence[AsyncEngine]:
    """Open engines of one network that compute side by side; see `engines.backends.several`.

    Args:
        model: as for `open_engine`, like the next two.
        backend: as above.
        shapes: as above.
        count: number of engines.

    Returns:
        Nothing where one input at a time is all that the backend can do, or all that is asked for.
    """
    shapes = dict(shapes or {})
    chosen = _choose(model, shapes)[0] if backend == "auto" else backend
    module = _usable(chosen)
    if count < 2 or not BACKENDS[chosen].side_by_side:
        return ()
    return module.open_several(model, shapes, count)


def why_unavailable(name: str) -> str | None:
    """Return the sentence that says how to get backend `name`, or None where it can be used.

    It imports nothing heavy.
    """
    spec = BACKENDS[name]
    missing = [package for package in spec.packages if find_spec(package) is None]
    if missing:
        return (
            f"backend: '{name}' needs the Python package {missing[0]}; get it with {spec.install}."
        )
    if spec.needs_cuda and cuda_device_count() == 0:
        return (
            f"backend: '{name}' needs an NVIDIA GPU and its driver, and none answers here; use "
            "openvino on a CPU."
        )
    return None


def runs_on_gpu(model: Path, backend: str = "auto") -> bool:
    """Tell whether `open_engine` would run the network in `model` on a GPU.

    Args:
        model: an ONNX file whose shapes are all known.
        backend: as for `open_engine`.
    """
    return any(
        spec.needs_cuda
        and backend in (name, "auto")
        and why_unavailable(name) is None
        and _why_not_for(name, model, {}) is None
        for name, spec in BACKENDS.items()
    )


def cuda_device_count() -> int:
    """Count the CUDA devices by asking the driver, which is much faster than importing torch."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def open_dimension(model: Path, name: str) -> PenumbraError:
    """Return the error for an input `name` whose shape neither the file nor `shapes` gives."""
    return PenumbraError(
        f"shapes: {model.name} leaves a dimension of its input '{name}' open; give its full shape."
    )


def unreadable(model: Path, error: Exception) -> PenumbraError:
    """Return the error for a file that a backend cannot read."""
    return PenumbraError(
        f"model: {model} is no ONNX network that can be read ({_first_line(error)}); export or "
        "download it again."
    )


def unfitting(model: Path, shapes: Shapes, error: Exception) -> PenumbraError:
    """Return the error for a network that cannot be run with inputs of `shapes`."""
    return PenumbraError(
        f"model: {model.name} cannot be run with inputs of {dict(shapes)} ({_first_line(error)}); "
        "name the network that these inputs are for."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1][:200].rstrip(".")) if lines else type(error).__name__


def _usable(backend: str) -> ModuleType:
    """Return the module of a backend that can be used here.

    Raises:
        PenumbraError: it is unknown, or something is missing or broken.
    """
    if backend not in BACKENDS:
        raise PenumbraError(
            f"backend: '{backend}' is unknown; choose one of auto, {', '.join(BACKENDS)}."
        )
    refusal = why_unavailable(backend)
    if refusal:
        raise PenumbraError(refusal)
    return _module_of(backend)


def _device(backend: str) -> str:
    return "cuda" if BACKENDS[backend].needs_cuda else "cpu"


def _module_of(backend: str) -> ModuleType:
    """Import the module of a backend, and with it the backend's library.

    Raises:
        PenumbraError: the library is installed and cannot be imported.
    """
    spec = BACKENDS[backend]
    try:
        return importlib.import_module(f"engines.backends.{spec.module}")
    except (ImportError, OSError) as error:  # OSError: a library that torch loads by ctypes
        raise PenumbraError(
            f"backend: '{backend}' is installed and cannot be imported ({_first_line(error)}); "
            f"install it again with {spec.install}."
        ) from error


def _choose(model: Path, shapes: Shapes) -> tuple[str, str]:
    """Return the backend that `auto` takes for `model`, and why, for the log."""
    passed_over: list[str] = []
    for name in BACKENDS:
        if name == "torch":
            continue
        refusal = why_unavailable(name)
        reason = f"no {name}" if refusal else _why_not_for(name, model, shapes)
        if reason is None:
            return name, "; ".join([*passed_over, f"{name} is the first that works here"])
        passed_over.append(reason.rstrip("."))
    raise PenumbraError(
        f"backend: auto found none to run on ({'; '.join(passed_over)}); get one with pip install "
        "openvino."
    )


def _why_not_for(name: str, model: Path, shapes: Shapes) -> str | None:
    """Ask the backend's own library.

    Can it be imported, is there a plan for this model, has torch CUDA?
    """
    try:
        module = _module_of(name)
    except PenumbraError as error:
        return str(error)
    return module.why_not(model, shapes) if BACKENDS[name].needs_cuda else None
