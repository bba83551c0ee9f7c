"""How long one run of a network takes on each backend that is here.

    python tests/benchmarks/bm_engines.py  # detector, landmarker, flow
    python tests/benchmarks/bm_engines.py --onnx some.onnx --hypotheses 64
    python tests/benchmarks/bm_engines.py --backends openvino --threads 1 2

Copies to and from a GPU count, since the caller pays for them. Give the machine nothing else to do.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from engines.backends.engine import BACKENDS, Engine, open_engine
from engines.blazepose.models import detector_model, landmarker_model
from engines.errors import PenumbraError
from trainer.export_trt import FLOW, input_shapes, load


def milliseconds(engine: Engine, seconds: float) -> np.ndarray:
    """Time of every run during `seconds`, after a tenth of that to warm up."""
    rng = np.random.default_rng(0)
    for array in engine.inputs.values():
        array[...] = rng.random(array.shape)
    times, start = [], time.perf_counter()
    while (begin := time.perf_counter()) < start + 1.1 * seconds or len(times) < 3:
        engine.run()
        if begin > start + 0.1 * seconds:
            times.append(1e3 * (time.perf_counter() - begin))
    return np.array(times)


def main() -> None:
    """Print one row per network, backend and number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", type=Path, nargs="*")
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument(
        "--threads", type=int, nargs="*", default=[0], help="0 leaves it to the backend"
    )
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    models = options.onnx or [
        detector_model(),
        landmarker_model(),
        *([FLOW] if FLOW.is_file() else []),
    ]
    print(
        f"{'network':36} {'backend':28} {'threads':>7} {'open s':>7} "
        f"{'p50 ms':>8} {'p95 ms':>8} {'min ms':>8}"
    )
    for model in models:
        shapes = input_shapes(load(model), model, options.hypotheses)
        for backend in options.backends:
            for threads in options.threads:
                begin = time.perf_counter()
                try:
                    engine = open_engine(model, backend, shapes, num_threads=threads or None)
                except PenumbraError as error:
                    print(f"{model.stem:36} {error}")
                    break
                opened, times = time.perf_counter() - begin, milliseconds(engine, options.seconds)
                row = f"{model.stem:36} {engine.backend:28} {threads or 'auto':>7} {opened:7.2f}"
                print(
                    f"{row} {np.median(times):8.2f} {np.percentile(times, 95):8.2f} "
                    f"{times.min():8.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
