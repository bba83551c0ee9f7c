"""Time of the fit beside that of sampling: python tests/benchmarks/bm_fit.py [hypotheses]

Medians of many calls in turn, so that all see the same machine. The landmarks are those of the
demo's first frame. References are NumPy float32. The last line is JSON.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from engines.blazepose.tracker import open_tracker  # noqa: E402
from engines.body import BodyModel  # noqa: E402
from engines.fitting.fit import HypothesisFitter, dither  # noqa: E402
from engines.fitting.observation import observe  # noqa: E402
from engines.fitting.reference import fit_reference  # noqa: E402
from engines.fitting.settings import FitConfig  # noqa: E402
from engines.flow.sampler import open_sampler, skeleton_of  # noqa: E402
from engines.priors.load import KINDS, load_prior  # noqa: E402
from engines.priors.prior import PosePrior  # noqa: E402
from realtime import demo  # noqa: E402
from trainer.estimation.objectives import open_objective  # noqa: E402

CONFIGS = {
    "fit": FitConfig(),
    "fit, a Jacobian each": FitConfig(shared_jacobian=False),
    "fit, five iterations": FitConfig(iterations=5),
    "fit, five iterations, a Jacobian each": FitConfig(iterations=5, shared_jacobian=False),
}
REPEATS = 100


def main(num_hypotheses: int) -> None:
    with demo.open_demo() as source:
        frame = source.read()
        camera = demo.GroundTruth.load().intrinsics(source.size)
    assert frame is not None
    landmarks = open_tracker()(frame.image)
    assert landmarks is not None
    body = BodyModel.load()
    skeleton, sampler = skeleton_of(body), open_sampler(body, num_hypotheses)
    samples = sampler(landmarks, camera)

    def fused(config: FitConfig, prior: PosePrior | None = None) -> Callable[[], object]:
        fitter = HypothesisFitter(skeleton, num_hypotheses, config, prior=prior)
        return lambda: fitter(samples, landmarks, camera)

    def reference() -> object:
        config = FitConfig()
        seen = observe(landmarks, camera, samples.view, config)
        return fit_reference(skeleton, samples.hypotheses, seen, dither(num_hypotheses), config)

    calls: dict[str, Callable[[], object]] = {"sampling": lambda: sampler(landmarks, camera)}
    calls |= {name: fused(config) for name, config in CONFIGS.items()}
    for name in KINDS:
        prior = load_prior(name)
        calls[f"fit, {name}"] = fused(FitConfig(), prior)
        calls[f"fit, five iterations, {name}"] = fused(FitConfig(iterations=5), prior)
    for objective in ("smplify", "smplify-x"):
        fit = open_objective(objective, None, body, None, num_hypotheses)
        calls[objective] = partial(fit, [(landmarks, camera)])
        calls[f"{objective}, 16 people"] = partial(fit, 16 * [(landmarks, camera)])
    calls["fit, reference"] = reference
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: round(float(np.median(part[5:])), 3) for name, part in times.items()}
    for name, milliseconds in medians.items():
        share = (medians["sampling"] + milliseconds) / medians["sampling"]
        print(f"  {name:42s}{milliseconds:9.3f} ms   with sampling {share:5.2f} x sampling")
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"
    print(json.dumps({"hypotheses": num_hypotheses, "machine": machine, "median_ms": medians}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
