"""Times of the kernels against their references: python tests/benchmarks/bm_kernels.py [cpu|cuda:0]

Medians of many calls on the default body's decimated mesh, copies included. References are
NumPy float32 and use as many threads as OMP_NUM_THREADS allows; a kernel uses one core. On CUDA a
row for the captured graph is added. The last line is JSON.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

START = time.perf_counter()
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import warp as wp  # noqa: E402

from engines import kernels  # noqa: E402

IMPORTED = time.perf_counter()

from engines.body import BodyModel  # noqa: E402
from tests.engines.test_kernels import hypothesis_weights, pose_inputs  # noqa: E402

NUM_HYPOTHESES = 100


def median_ms(call: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main(device: str) -> None:
    rng = np.random.default_rng(0)
    model = BodyModel.load()
    K, skin = NUM_HYPOTHESES, model.decimated
    skeleton = kernels.Skeleton(model.J_template, model.J_shapedirs)
    mesh = kernels.SkinnedMesh(skin.v_template, skin.shapedirs, skin.weights)
    inputs, weights = pose_inputs(rng, K), hypothesis_weights(rng, K, "uneven")

    start = time.perf_counter()
    posing = kernels.JointPlan(skeleton, K, device)
    joint_moments = kernels.MomentPlan(K, len(model.J_template), device)
    vertex_moments = kernels.VertexPlan(mesh, K, device)
    vertex_half = kernels.VertexPlan(mesh, K // 2, device)
    posed = posing(**inputs)
    skin_inputs = (inputs["betas"], posed.T_cam_rest, inputs["pelvis"], weights)
    half_of_them = tuple(array[: K // 2] for array in skin_inputs)
    joint_moments(posed.joints, weights)
    vertex_moments(*skin_inputs)
    start_up = {"import_s": IMPORTED - START, "plans_and_first_call_s": time.perf_counter() - start}

    def step() -> None:
        joint_moments(posing(**inputs).joints, weights)

    rows = {
        "joints, reference": median_ms(
            lambda: kernels.pose_joints_reference(**inputs, skeleton=skeleton), 50
        ),
        "joints": median_ms(lambda: posing(**inputs), 300),
        "moments, reference": median_ms(
            lambda: kernels.weighted_moments_reference(posed.joints, weights), 50
        ),
        "moments": median_ms(lambda: joint_moments(posed.joints, weights), 300),
        "joints and moments (one frame)": median_ms(step, 300),
        "vertices, reference": median_ms(
            lambda: kernels.skinned_moments_reference(*skin_inputs, mesh), 3
        ),
        "vertices": median_ms(lambda: vertex_moments(*skin_inputs), 50),
        f"vertices, first {K // 2}": median_ms(lambda: vertex_half(*half_of_them), 50),
    }
    if device != "cpu":
        rows["all three, captured graph"] = captured_ms(
            device, [posing, joint_moments, vertex_moments]
        )
    report(device, rows, start_up, len(skin.v_template))


def captured_ms(device: str, plans: list) -> float:
    with wp.ScopedStream(wp.Stream(device)), wp.ScopedCapture(device=device) as capture:
        for plan in plans:
            plan.launch()

    def replay() -> None:
        wp.capture_launch(capture.graph)
        wp.synchronize_device(device)

    return median_ms(replay, 300)


def report(
    device: str, rows: dict[str, float], start_up: dict[str, float], num_vertices: int
) -> None:
    print(
        f"{device}, K={NUM_HYPOTHESES}, {num_vertices} vertices; median ms; ratio to the reference"
    )
    for name, milliseconds in rows.items():
        reference = rows.get(f"{name}, reference")
        ratio = f"{reference / milliseconds:8.1f} x" if reference else ""
        print(f"  {name:34s}{milliseconds:9.3f}{ratio}")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "warp": wp.__version__,
    }
    machine = {
        "device": wp.get_device(device).name,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
    print(json.dumps({"ms": rows, "start_up": start_up, **versions, **machine, "commit": commit}))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
