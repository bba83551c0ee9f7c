"""The fused fit against its specification, and its kernels against theirs.

The truth is the reference in float64. Kernels compute in float32, and a step solves a system whose
condition number is in the thousands, so steps agree to a thousandth of a radian or metre.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warp as wp

from engines.coordinates import DIM
from engines.fitting.bodies import bodies_of, moved, pose, steps_from_first
from engines.fitting.charts import Turns
from engines.fitting.fit import HypothesisFitter, dither
from engines.fitting.limits import HINGES, HingeLimits
from engines.fitting.observation import JOINTS, LANDMARKS, Observation
from engines.fitting.reference import fit_reference
from engines.fitting.residuals import LandmarkResiduals
from engines.fitting.settings import FitConfig
from engines.kernels import Skeleton, launch, solve, step_kernels, steps
from engines.kernels.solve import SolvePlan, solve_reference
from engines.kernels.steps import Marks, StepPlan
from engines.rotations import geodesic_angle, log_so3
from engines.types import NUM_JOINTS, PARENTS, Hypotheses
from tests.support.fitting_problem import draws_around, random_anchor, random_bodies

MARKS = Marks(tuple(JOINTS.tolist()), tuple((hinge.joint, hinge.axis) for hinge in HINGES))
SIZES = [1, 2, 100]


def hypotheses(skeleton: Skeleton, count: int, seed: int, std: float = 0.06) -> Hypotheses:
    """Draws around a body, as single precision holds them, in float64."""
    center = random_bodies(skeleton, 1, seed)
    start = draws_around(skeleton, center, random_anchor(seed + 1, std), count, seed + 2)
    rest = skeleton.J_template[0] + start.betas @ skeleton.J_shapedirs[0].T
    arrays = (log_so3(start.R), start.betas, start.pelvis - rest, start.joints)
    wide = [part.astype(np.float32).astype(np.float64) for part in arrays]
    return Hypotheses(*wide, np.zeros(count), np.full(count, 1 / count))


def single(bodies: Hypotheses) -> Hypotheses:
    arrays = {name: part.astype(np.float32) for name, part in vars(bodies).items()}
    return Hypotheses(**arrays)


def observation(drawn: Hypotheses, seed: int, noise: float = 0.01) -> Observation:
    """All limb landmarks but one near those of a body between two of the draws."""
    points = drawn.joints[[0, -1]].mean(0)[JOINTS]
    rays = points[:, :2] / points[:, 2:]
    rays = rays + np.random.default_rng(seed).normal(0, noise, rays.shape)
    index = np.delete(np.arange(12), 5)
    return Observation(index, rays[index].astype(np.float32), np.full(11, 0.008, np.float32))


def plan_of(skeleton: Skeleton, drawn: Hypotheses, device: str = "cpu") -> StepPlan:
    plan = StepPlan(skeleton, len(drawn.betas), MARKS, device)
    start = single(drawn)
    plan.load(start.rotvec, start.betas, np.ascontiguousarray(start.joints[:, 0]))
    return plan


@pytest.mark.parametrize("K", SIZES)
@pytest.mark.parametrize("size", [0.0, 1e-4, 0.05, 0.4])
def test_kernels_move_bodies_as_the_reference(skeleton: Skeleton, K: int, size: float) -> None:
    check_kernels(skeleton, K, size, "cpu")


def check_kernels(skeleton: Skeleton, K: int, size: float, device: str) -> None:
    drawn = hypotheses(skeleton, K, 30)
    step = size * np.random.default_rng(K).standard_normal((K, DIM))
    step = step.astype(np.float32).astype(np.float64)
    plan, start = plan_of(skeleton, drawn, device), bodies_of(skeleton, drawn)
    plan.move(np.zeros_like(step, np.float32))
    np.testing.assert_allclose(plan.steps_from_first(), steps_from_first(start), atol=3e-6)
    predicted, angles = plan.move(step.astype(np.float32))
    after = moved(skeleton, start, step)
    landmarks = LandmarkResiduals(skeleton, JOINTS, np.zeros((1, 12, 2)), np.ones(12), 3.0)
    J, projected = landmarks.projected(after)
    np.testing.assert_allclose(predicted, projected, atol=5e-6)
    rotvec = log_so3(after.R)
    found = [rotvec[:, hinge.joint, hinge.axis] for hinge in HINGES]
    np.testing.assert_allclose(angles, np.stack(found, 1), atol=5e-6)
    out = plan.bodies()
    np.testing.assert_allclose(out.joints, after.joints, atol=1e-5)
    np.testing.assert_allclose(out.betas, after.betas, atol=1e-6)
    pelvis_at_rest = skeleton.J_template[0] + after.betas @ skeleton.J_shapedirs[0].T
    np.testing.assert_allclose(out.transl, after.pelvis - pelvis_at_rest, atol=5e-6)
    np.testing.assert_allclose(out.T_cam_rest[..., :3], after.R_cam, atol=5e-6)
    check_jacobian(plan, skeleton, after, J, step)


def check_jacobian(
    plan: StepPlan, skeleton: Skeleton, after: Any, J: np.ndarray, step: np.ndarray
) -> None:
    """Rows of landmarks and of hinges, by the step from the start."""
    K = len(step)
    expected = np.concatenate([J.reshape(K, -1, DIM), HingeLimits()(after).J], 1)
    expected = Turns(skeleton, after).derivative(expected, step)
    others = np.setdiff1d(np.arange(DIM), plan.columns)
    np.testing.assert_array_equal(expected[..., others], 0)
    everything = plan.jacobian().copy()
    np.testing.assert_allclose(everything, expected[..., plan.columns], atol=3e-5)
    np.testing.assert_array_equal(plan.jacobian(first_only=True), everything[:1])


def test_the_kernel_differentiates_joints_that_are_too_near_as_the_reference(
    skeleton: Skeleton,
) -> None:
    drawn = hypotheses(skeleton, 4, 30)
    plan, far = plan_of(skeleton, drawn, "cpu"), bodies_of(skeleton, drawn)
    depth = far.joints[:, JOINTS[0], 2] - 0.05
    near = pose(skeleton, far.R, far.betas, far.pelvis - depth[:, None] * [0, 0, 1])
    plan.pelvis.write(near.pelvis.astype(np.float32))
    plan.move(np.zeros((4, DIM), np.float32))
    landmarks = LandmarkResiduals(skeleton, JOINTS, np.zeros((1, 12, 2)), np.ones(12), 3.0)
    J = landmarks.projected(near)[0].reshape(4, -1, DIM)[..., plan.columns]
    np.testing.assert_allclose(plan.jacobian()[:, :24], J, rtol=1e-3, atol=1e-2)


def test_columns_are_those_of_the_bones_above_limb_joints() -> None:
    bones = steps.moving_bones(PARENTS, MARKS.joints)
    assert bones == (0, 1, 2, 3, 4, 5, 6, 9, 13, 14, 16, 17, 18, 19)
    columns = steps.columns_of(bones, NUM_JOINTS)
    assert len(columns) == 3 * 14 + 13 and columns[-1] == DIM - 1


@pytest.mark.parametrize("systems", [1, 16, 50])
@pytest.mark.parametrize("size", [1, 5, 28])
def test_systems_are_solved_of_every_size_that_fits(size: int, systems: int) -> None:
    plan = SolvePlan(systems, 28)
    for n in (28, size, min(size + 3, 28)):  # what the one before left is not seen
        check_systems(plan, n, systems, shared=False)
        check_systems(plan, n, systems, shared=True)


def check_systems(plan: SolvePlan, size: int, systems: int, *, shared: bool) -> None:
    rng = np.random.default_rng(size)
    half = rng.standard_normal((1 if shared else systems, size, size + 3)).astype(np.float32)
    A = half @ half.swapaxes(1, 2)
    v = rng.uniform(0.5, 2.0, (systems, size)).astype(np.float32)
    t = rng.standard_normal((systems, size)).astype(np.float32)
    truth = solve_reference(*(part.astype(np.float64) for part in (A, v, t)))
    np.testing.assert_allclose(plan(A, v, t), truth, atol=2e-4)


def test_systems_that_are_not_positive_definite_are_refused() -> None:
    A = np.broadcast_to(np.diag([1.0, -2.0]).astype(np.float32), (1, 2, 2))
    with pytest.raises(np.linalg.LinAlgError):
        SolvePlan(3, 2)(A, np.ones((3, 2), np.float32), np.ones((3, 2), np.float32))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_fused_fit_is_the_reference(
    skeleton: Skeleton, iterations: int, noise: float, shared: bool
) -> None:
    """With the larger noise some steps are taken back and damped."""
    drawn = hypotheses(skeleton, 40, 50)
    seen = observation(drawn, 53, noise)
    config = FitConfig(
        iterations=iterations, shared_jacobian=shared, full_belief=50.0, no_belief=100.0
    )
    wide = Observation(seen.index, *(part.astype(float) for part in (seen.rays, seen.sigma)))
    truth = fit_reference(skeleton, drawn, wide, dither(40).astype(float), config)
    posed = HypothesisFitter(skeleton, 40, config).fit(single(drawn), seen)
    assert truth is not None and posed is not None
    apart = np.linalg.norm(posed.hypotheses.joints - truth.joints, axis=-1)
    assert np.median(apart) < 1e-4 and np.quantile(apart, 0.98) < 2e-3
    assert np.linalg.norm(truth.joints - drawn.joints, axis=-1).mean() > 0.02
    turned = geodesic_angle(truth.R, bodies_of(skeleton, posed.hypotheses).R)
    assert np.median(turned) < 1e-3


@pytest.mark.parametrize("full_belief", [0.0, 1e3])
def test_they_believe_alike(skeleton: Skeleton, full_belief: float) -> None:
    drawn = hypotheses(skeleton, 30, 60)
    seen = observation(drawn, 63, noise=0.03)
    config = FitConfig(full_belief=full_belief, no_belief=full_belief + 1.0)
    truth = fit_reference(skeleton, drawn, seen, dither(30), config)
    posed = HypothesisFitter(skeleton, 30, config).fit(single(drawn), seen)
    assert (truth is None) == (posed is None) == (full_belief == 0.0)


@pytest.mark.parametrize("module", [step_kernels, solve])
def test_kernels_compile_for_cuda_without_owning_one(module: Any, tmp_path: Path) -> None:
    launch.open_device("cpu")
    wp.compile_aot_module(module, arch=90, module_dir=tmp_path, use_ptx=True)
    (ptx,) = tmp_path.glob("*.ptx")
    assert b".entry" in ptx.read_bytes()


@pytest.mark.gpu
def test_kernels_on_cuda_match_the_reference(skeleton: Skeleton) -> None:
    launch.open_device("cpu")
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device on this machine")
    check_kernels(skeleton, 100, 0.05, "cuda:0")


def test_results_belong_to_the_caller(skeleton: Skeleton) -> None:
    drawn = hypotheses(skeleton, 5, 70)
    plan = plan_of(skeleton, drawn)
    predicted, _ = plan.move(np.zeros((5, DIM), np.float32))
    kept = predicted.copy()
    plan.move(np.full((5, DIM), 0.1, np.float32))
    np.testing.assert_array_equal(predicted, kept)
    assert len(LANDMARKS) == len(JOINTS)


def test_only_chosen_bodies_move(skeleton: Skeleton) -> None:
    drawn = hypotheses(skeleton, 6, 80)
    plan, start = plan_of(skeleton, drawn), single(drawn)
    plan.move(np.full((6, DIM), 0.1, np.float32))
    before, chosen = plan.bodies(), np.arange(6) % 2 == 0
    predicted, _ = plan.move(np.zeros((6, DIM), np.float32), chosen)
    after = plan.bodies()
    np.testing.assert_allclose(after.joints[chosen], start.joints[chosen], atol=1e-5)
    np.testing.assert_array_equal(after.joints[~chosen], before.joints[~chosen])
    assert np.abs(before.joints[~chosen] - start.joints[~chosen]).max() > 0.1
    projected = after.joints[:, JOINTS]
    np.testing.assert_allclose(predicted, projected[..., :2] / projected[..., 2:], atol=1e-5)


def test_steps_from_the_first_body_lead_to_all(skeleton: Skeleton) -> None:
    drawn = hypotheses(skeleton, 6, 81)
    plan, start = plan_of(skeleton, drawn), single(drawn)
    steps = plan.steps_from_first()
    plan.load_first()
    plan.move(steps)
    after = plan.bodies()
    np.testing.assert_allclose(after.joints, start.joints, atol=1e-5)
    np.testing.assert_allclose(after.rotvec, start.rotvec, atol=1e-5)
    np.testing.assert_array_equal(plan.first_rotations(), after.T_cam_rest[0, :, :, :3])
