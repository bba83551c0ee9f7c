"""ONNX Runtime on the CPU: the portable backend, and the reference for the others.

Inputs and outputs are bound to the engine's own arrays once, so a run copies nothing and allocates
no output.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.backends.engine import Shapes, open_dimension, unfitting, unreadable
from engines.telemetry import no_telemetry

with no_telemetry():
    import onnxruntime
onnxruntime.disable_telemetry_events()  # for a program that imported it before us

# fmt: off
_DTYPES: dict[str, type] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}
# fmt: on


class OnnxruntimeEngine:
    """See `engines.backends.engine.Engine`."""

    backend = "onnxruntime CPU"
    device = "cpu"

    def __init__(
        self, session: onnxruntime.InferenceSession, inputs: Mapping[str, np.ndarray]
    ) -> None:
        """Run once on `inputs` to learn the outputs' shapes, then bind both sides."""
        self._session = session
        names = [output.name for output in session.get_outputs()]
        self.inputs = inputs
        self.outputs: Mapping[str, np.ndarray] = {
            name: np.zeros_like(value)
            for name, value in zip(names, session.run(names, dict(inputs)), strict=True)
        }
        self._binding = session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""
        self._session.run_with_iobinding(self._binding)


def open_here(
    model: Path, shapes: Shapes, device: str, num_threads: int | None
) -> OnnxruntimeEngine:
    """See `engines.backends.engine.open_engine`."""
    assert device == "cpu", device
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the warnings are about its graph optimiser
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library's exceptions have no base class of their own
        raise unreadable(model, error) from error
    inputs = {}
    for arg in session.get_inputs():
        shape = shapes.get(arg.name, tuple(arg.shape))
        if not all(isinstance(size, int) for size in shape):
            raise open_dimension(model, arg.name)
        if arg.type not in _DTYPES:
            raise unfitting(model, shapes, TypeError(f"'{arg.name}' is a {arg.type}"))
        inputs[arg.name] = np.zeros(shape, dtype=_DTYPES[arg.type])
    try:
        return OnnxruntimeEngine(session, inputs)
    except Exception as error:
        raise unfitting(model, shapes, error) from error
