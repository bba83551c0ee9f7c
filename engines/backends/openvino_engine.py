"""OpenVINO on the CPU: the default backend where there is no GPU.

The engine's arrays are OpenVINO's tensors, which share their memory, so nothing is copied. It
computes in float32 also where the processor offers bfloat16, so that its results agree with the
other backends. The compiled network is cached for the next start.
"""

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.backends.engine import Shapes, open_dimension, unfitting, unreadable
from engines.backends.plans import file_sha256
from engines.cache import load, store, writable_folder
from engines.telemetry import no_telemetry

with no_telemetry():
    import openvino

log = logging.getLogger(__name__)


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
        # In the calling thread; an asynchronous start hands over to another and back, 0.3 ms.
        self._request.infer(share_outputs=True)  # else every output is copied

    def start(self) -> None:
        """Begin to compute."""
        self._request.start_async()

    def wait(self) -> None:
        """Return when `outputs` are there."""
        self._request.wait()


def open_here(model: Path, shapes: Shapes, device: str, num_threads: int | None) -> OpenvinoEngine:
    """See `engines.backends.engine.open_engine`."""
    assert device == "cpu", device
    config = {"PERFORMANCE_HINT": "LATENCY"}
    if num_threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(num_threads)
    return OpenvinoEngine(_compiled(openvino.Core(), model, shapes, config))


def open_several(model: Path, shapes: Shapes, count: int) -> list[OpenvinoEngine]:
    """See `engines.backends.engine.open_several`; none where there is a single core.

    They share the weights. OpenVINO runs as many at a time as it has streams, each on its part of
    the cores.
    """
    core = openvino.Core()
    most = core.get_property("CPU", "RANGE_FOR_STREAMS")[1]
    if most < 2:
        return []
    config = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(min(count, most))}
    compiled = _compiled(core, model, shapes, config)
    return [OpenvinoEngine(compiled) for _ in range(count)]


def _compiled(
    core: openvino.Core, model: Path, shapes: Shapes, config: Mapping[str, str]
) -> openvino.CompiledModel:
    """Compile a network, or load what was compiled before."""
    config = {**config, "INFERENCE_PRECISION_HINT": "f32"}
    cached = _cached_path(core, model, shapes, config)
    compiled = _from_cache(core, cached, config)
    if compiled is None:
        network = _read(core, model, shapes)
        try:
            compiled = core.compile_model(network, "CPU", config)
        except RuntimeError as error:
            raise unfitting(model, shapes, error) from error
        store(cached, compiled.export_model().getvalue())
    return compiled


def _cached_path(
    core: openvino.Core, model: Path, shapes: Shapes, config: Mapping[str, str]
) -> Path:
    """Return where the compiled network is cached: by everything that it depends on."""
    facts = {
        "onnx": file_sha256(model),
        "shapes": sorted(shapes.items()),
        "config": sorted(config.items()),
        "openvino": openvino.get_version(),
        "cpu": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    }
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    return writable_folder("openvino") / f"{model.stem}-{key[:16]}.blob"


def _from_cache(
    core: openvino.Core, cached: Path, config: Mapping[str, str]
) -> openvino.CompiledModel | None:
    """Return the cached network; None where there is none that is intact."""
    blob = load(cached)
    if blob is None:
        return None
    try:
        return core.import_model(io.BytesIO(blob), "CPU", dict(config))
    except RuntimeError as error:
        log.warning("%s is compiled again: %s", cached.name, error)
        return None


def _read(core: openvino.Core, model: Path, shapes: Shapes) -> openvino.Model:
    """Read an ONNX file and fix the shapes of its inputs."""
    try:
        network = core.read_model(model)
    except RuntimeError as error:
        raise unreadable(model, error) from error
    names = {name for port in network.inputs for name in port.get_names()}
    fixed = {name: shape for name, shape in shapes.items() if name in names}
    if fixed:
        try:
            network.reshape(
                {name: openvino.PartialShape(list(shape)) for name, shape in fixed.items()}
            )
        except RuntimeError as error:
            raise unfitting(model, fixed, error) from error
    for port in network.inputs:
        if port.get_partial_shape().is_dynamic:
            raise open_dimension(model, port.get_any_name())
    return network
