"""Around the kernels: Warp's start, the choice of the device, buffers, and checks by name.

A `Buffer` is one array that the host and the device both see. On the CPU both are the same memory.
On CUDA the host side is pinned memory and `write` / `read` copy; a captured CUDA graph uses
`Buffer.array` and copies nothing.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import warp as wp

from engines.cache import is_damaged, seal, writable_folder
from engines.errors import PenumbraError

_BINARIES = {".o", ".cubin", ".ptx", ".meta"}
_STARTING = threading.Lock()
NO_DRIVER = b"Could not find or load the NVIDIA CUDA driver"


def open_device(device: str) -> wp.Device:
    """Start Warp, at the first call, and return the device, "cpu" or "cuda:N".

    Raises:
        PenumbraError: the device does not exist here.
    """
    _start_warp()
    known = {str(found): found for found in wp.get_devices()}
    if device not in known:
        raise PenumbraError(
            f"device: {device!r} is not available to the kernels on this machine; choose one of "
            f"{', '.join(known)}."
        )
    return known[device]


def _start_warp() -> None:
    """Initialise Warp once, whichever thread comes first: stderr is diverted meanwhile."""
    with _STARTING:
        _start_warp_once()


@cache
def _start_warp_once() -> None:
    """Initialise Warp without its greeting, its compiled kernels in our cache."""
    wp.config.log_level = wp.LOG_WARNING
    if wp.config.kernel_cache_dir is None and "WARP_CACHE_PATH" not in os.environ:
        wp.config.kernel_cache_dir = str(writable_folder("warp"))
    with _without_line(NO_DRIVER):
        wp.init()
    for module in _compiled_modules():
        if any(is_damaged(file) for file in _binaries(module)):
            shutil.rmtree(module, ignore_errors=True)  # Warp compiles it again


def _compiled_modules() -> list[Path]:
    """Return the folders in which Warp keeps our compiled kernels."""
    cache_dir = wp.config.kernel_cache_dir
    assert cache_dir is not None
    return list(Path(cache_dir).glob("wp_engines.kernels.*"))


def _binaries(module: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # another process may be renaming the folder
        return [file for file in module.iterdir() if file.suffix in _BINARIES]
    return []


def record(
    kernel: Any,
    dim: int,
    inputs: list[Any],
    outputs: list[Any],
    device: wp.Device,
    *,
    block_dim: int,
) -> wp.Launch:
    """Compile or load the kernel and bind its arguments once.

    `.launch()` on the result then costs about 7 microseconds of Python.
    """
    command = wp.launch(
        kernel, dim, inputs, outputs, device=device, block_dim=block_dim, record_cmd=True
    )
    assert command is not None
    for module in _compiled_modules():
        for file in _binaries(module):
            seal(file)
    return command


@contextmanager
def _without_line(unwanted: bytes) -> Iterator[None]:
    """Filter from stderr the lines that contain `unwanted`, native code's included.

    Warp prints that line from C++ on every machine without a GPU and has no switch for it.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            caught.seek(0)
            os.write(2, b"".join(line for line in caught if unwanted not in line))
            os.close(saved)


def check_array(
    name: str,
    value: np.ndarray,
    shape: tuple[int, ...],
    dtype: Any = np.float32,
    *,
    contiguous: bool = True,
) -> None:
    """Refuse, by its name, an array that a kernel would misread or that needs a conversion.

    Args:
        name: what the message calls it.
        value: the array.
        shape: that it must have.
        dtype: that it must have.
        contiguous: refuse strided memory too; off for constants, which are copied once.

    Raises:
        ValueError: wrong type, dtype, shape or memory order.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: must be a NumPy array, not a {type(value).__name__}.")
    if value.dtype != dtype:
        raise ValueError(
            f"{name}: must be {np.dtype(dtype).name}, not {value.dtype.name}; convert it."
        )
    if value.shape != shape:
        raise ValueError(f"{name}: must have shape {shape}, not {value.shape}.")
    if contiguous and not value.flags.c_contiguous:
        raise ValueError(f"{name}: must be contiguous, its strides are {value.strides}; copy it.")


def check_weights(weights: np.ndarray) -> None:
    """Refuse weights that have no mean: negative, not finite, or all zero.

    Raises:
        ValueError: as above.
    """
    total = float(weights.sum())
    if not (np.isfinite(total) and total > 0.0 and float(weights.min()) >= 0.0):
        raise ValueError(
            f"weights: must be finite, non-negative and not all zero; their sum is {total}."
        )


class Buffer:
    """One named array, allocated once, that the host and the device both see.

    Args:
        name: what error messages call it.
        shape: as Warp counts it, without the axes of `dtype`: (K, 24) of `wp.vec3` is (K, 24, 3) on
            the host.
        dtype: a Warp scalar, vector or matrix type.
        device: from `open_device`.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any, device: wp.Device):
        self.name = name
        self.array = wp.zeros(shape, dtype=dtype, device=device)
        on_cpu = device.is_cpu
        self._staging = (
            self.array if on_cpu else wp.zeros(shape, dtype=dtype, device="cpu", pinned=True)
        )
        self._on_cpu = on_cpu
        self._host = self._staging.numpy()  # a view, not a copy

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape on the host, the axes of vectors and matrices included."""
        return self._host.shape

    def write(self, value: np.ndarray) -> None:
        """Check `value` and bring it to the device."""
        check_array(self.name, value, self._host.shape, self._host.dtype)
        with self.writing() as to:
            np.copyto(to, value)

    @contextmanager
    def writing(self) -> Iterator[np.ndarray]:
        """Lend the host's memory to write to, and bring it to the device."""
        if not self._on_cpu:  # the staging memory may still be feeding the last copy
            wp.synchronize_stream(self.array.device)
        yield self._host
        if not self._on_cpu:
            wp.copy(self.array, self._staging)

    def read(self) -> np.ndarray:
        """Return a copy of the device's present values."""
        return self.view().copy()

    def view(self) -> np.ndarray:
        """Return the device's present values in the buffer's own memory, until they change."""
        if not self._on_cpu:
            wp.copy(self._staging, self.array)
            wp.synchronize_stream(self.array.device)
        return self._host
