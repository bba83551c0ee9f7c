"""OpenVINO on the CPU: the default backend where there is no GPU.

The engine's arrays are OpenVINO's tensors, which share their memory, so nothing is copied. It
computes in float32 also where the processor offers bfloat16, so that its results agree with the
other backends. The compiled network is cached for the next start.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.backends.engine import Shapes, open_dimension
from engines.cache import writable_folder
from engines.telemetry import no_telemetry

with no_telemetry():
    import openvino


class OpenvinoEngine:
    """See `engines.backends.engine.Engine`."""

    backend = "openvino CPU"
    device = "cpu"

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        """Bind arrays to every input and output; all shapes must be known."""
        self._request = compiled.create_infer_request()
        self.inputs: Mapping[str, np.ndarray] = {
            port.get_any_name(): self._bind(port) for port in compiled.inputs
        }
        self.outputs: Mapping[str, np.ndarray] = {
            port.get_any_name(): self._bind(port) for port in compiled.outputs
        }

    def _bind(self, port: openvino.ConstOutput) -> np.ndarray:
        array = np.zeros(tuple(port.get_shape()), dtype=port.get_element_type().to_dtype())
        self._request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
        return array

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""
        # `infer` of the Python class copies every output; an asynchronous start does not.
        self._request.start_async()
        self._request.wait()


def open_here(model: Path, shapes: Shapes, device: str, num_threads: int | None) -> OpenvinoEngine:
    """See `engines.backends.engine.open_engine`."""
    assert device == "cpu", device
    core = openvino.Core()
    network = core.read_model(model)
    if shapes:
        names = {name for port in network.inputs for name in port.get_names()}
        network.reshape(
            {
                name: openvino.PartialShape(list(shape))
                for name, shape in shapes.items()
                if name in names
            }
        )
    for port in network.inputs:
        if port.get_partial_shape().is_dynamic:
            raise open_dimension(model, port.get_any_name())
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "CACHE_DIR": str(writable_folder("openvino")),
    }
    if num_threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(num_threads)
    return OpenvinoEngine(core.compile_model(network, "CPU", config))
