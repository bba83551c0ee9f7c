"""Kernels in three rings: oracle -> reference, reference -> kernel on the CPU, reference -> kernel
on CUDA.

The truth of rings 2 and 3 is the reference in float64. Kernels compute in float32, whose spacing at
4 m is 4.8e-7 m; along a chain of 9 joints about ten such roundings meet, so positions agree to 5e-6
m, and covariances of clouds of centimetres to decimetres to 1e-5 of their largest entry.
"""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from engines import body, kernels
from engines.errors import PenumbraError
from engines.kernels import joints as joints_module
from engines.kernels import launch, vertex_moments
from engines.kernels import moments as moments_module
from engines.types import PARENTS
from tests.support.paths import ROOT

POSITION = 5e-6  # metres, see above
COVARIANCE = 1e-5  # of the largest entry, see above
SIZES = [1, 2, 7, 100, 257]
WEIGHTS = ["equal", "uneven", "one-hot", "one-hot first", "some zero", "unnormalised"]


def random_skeleton(rng: np.random.Generator) -> kernels.Skeleton:
    return kernels.Skeleton(
        rng.normal(0, 0.3, (24, 3)).astype(np.float32),
        rng.normal(0, 0.01, (24, 3, 10)).astype(np.float32),
    )


def random_mesh(rng: np.random.Generator, num_vertices: int = 301) -> kernels.SkinnedMesh:
    weights = np.zeros((num_vertices, 24), np.float32)
    for row in weights:
        bones = rng.choice(24, rng.integers(1, 7), replace=False)
        row[bones] = rng.dirichlet(np.ones(len(bones)))
    return kernels.SkinnedMesh(
        rng.normal(0, 0.3, (num_vertices, 3)).astype(np.float32),
        rng.normal(0, 0.005, (num_vertices, 3, 10)).astype(np.float32),
        weights,
    )


def pose_inputs(rng: np.random.Generator, K: int) -> dict[str, np.ndarray]:
    inputs = {
        "rotvec": rng.normal(0, 0.6, (K, 24, 3)),
        "R_left": Rotation.random(random_state=1).as_matrix(),
        "betas": rng.normal(size=(K, 10)),
        "pelvis": rng.normal(0, [0.1, 0.1, 0.4], (K, 3)) + np.array([0.3, 0.1, 3.5]),
    }
    return {name: value.astype(np.float32) for name, value in inputs.items()}


def hypothesis_weights(rng: np.random.Generator, K: int, kind: str) -> np.ndarray:
    weights = {
        "equal": np.full(K, 1 / K),
        "uneven": rng.dirichlet(np.full(K, 0.3)),
        "one-hot": np.eye(K)[-1],
        "one-hot first": np.eye(K)[0],
        "some zero": np.where(np.arange(K) % 3 == 1, 0.0, 1.0),
        "unnormalised": rng.uniform(1, 50, K),
    }[kind]
    return weights.astype(np.float32)


def widened(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in inputs.items()}


def assert_close(result: Any, truth: Any) -> None:
    """Compare two results field by field with the tolerances above."""
    for field in fields(truth):
        actual, expected = getattr(result, field.name), getattr(truth, field.name)
        assert actual.dtype == np.float32 and actual.shape == expected.shape, field.name
        tolerance = POSITION
        if field.name == "cov":
            tolerance = COVARIANCE * np.abs(expected).max() + 1e-12
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=field.name)


# Ring 1: oracle -> reference


def test_exponential_matches_scipy() -> None:
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    for angle in (0.0, 1e-12, 1e-6, 1e-3, 1.0, np.pi - 1e-7, np.pi, np.pi + 1e-3, 2 * np.pi, 9.0):
        expected = Rotation.from_rotvec(axes * angle).as_matrix()
        np.testing.assert_allclose(joints_module._exp_reference(axes * angle), expected, atol=1e-14)


def test_pose_reference_matches_smplx() -> None:
    torch = pytest.importorskip("torch", reason="smplx, the oracle, computes with torch")
    smplx_lbs = pytest.importorskip("smplx.lbs", reason="smplx is the oracle")
    rng = np.random.default_rng(1)
    skeleton, inputs = random_skeleton(rng), widened(pose_inputs(rng, 5))
    result = kernels.pose_joints_reference(**inputs, skeleton=skeleton)
    matrices = (
        Rotation.from_rotvec(inputs["rotvec"].reshape(-1, 3)).as_matrix().reshape(5, 24, 3, 3)
    )
    matrices[:, 0] = inputs["R_left"] @ matrices[:, 0]
    rest = skeleton.J_template + np.einsum("jcb,kb->kjc", skeleton.J_shapedirs, inputs["betas"])
    positions, relative = smplx_lbs.batch_rigid_transform(
        torch.from_numpy(matrices),
        torch.from_numpy(rest),
        torch.tensor(PARENTS),
        dtype=torch.float64,
    )
    transl = inputs["pelvis"] - rest[:, 0]
    np.testing.assert_allclose(result.transl, transl, atol=1e-12)
    np.testing.assert_allclose(result.joints, positions.numpy() + transl[:, None], atol=1e-12)
    np.testing.assert_allclose(
        result.T_cam_rest[..., :3], relative.numpy()[..., :3, :3], atol=1e-12
    )
    np.testing.assert_allclose(
        result.T_cam_rest[..., 3], relative.numpy()[..., :3, 3] + transl[:, None], atol=1e-12
    )
    root = Rotation.from_rotvec(result.root).as_matrix()
    np.testing.assert_allclose(root, matrices[:, 0], atol=1e-6)  # R_left is in float32


@pytest.mark.parametrize("kind", WEIGHTS)
def test_moment_reference_matches_numpy_cov(kind: str) -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(0, 0.1, (40, 5, 3)) + rng.normal(0, 1, (1, 5, 3)) + np.array([0, 0, 4])
    points[:, 0] = points[
        0, 0
    ]  # one and the same pelvis: nothing is moved, so numpy sees the same points
    weights = hypothesis_weights(rng, 40, kind).astype(np.float64)
    result = kernels.weighted_moments_reference(points, weights)
    np.testing.assert_allclose(result.mean, np.average(points, axis=0, weights=weights), atol=1e-12)
    for j in range(5):
        expected = np.cov(points[:, j].T, aweights=weights, ddof=0)
        np.testing.assert_allclose(result.cov[j], expected, atol=1e-13)


def test_moment_reference_takes_the_distance_out() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(0, 0.2, (60, 5, 3)) + np.array([0.5, 0.2, 3])
    weights = rng.dirichlet(np.ones(60))
    result = kernels.weighted_moments_reference(points, weights)
    ray = points[0, 0] / np.linalg.norm(points[0, 0])
    along = points[:, 0] @ ray
    np.testing.assert_allclose(result.ray, ray, atol=1e-15)
    mean = np.average(along, weights=weights)
    np.testing.assert_allclose(
        result.distance, [mean, np.sqrt(np.cov(along, aweights=weights, ddof=0))], atol=1e-12
    )
    np.testing.assert_allclose(
        ray @ result.cov[0] @ ray, 0, atol=1e-15
    )  # the pelvis keeps no spread along the ray
    pushed = (
        points + rng.normal(0, 1, (60, 1, 1)) * ray
    )  # any further change of distance changes nothing ...
    pushed[0] = points[0]
    again = kernels.weighted_moments_reference(pushed, weights)
    np.testing.assert_allclose(again.cov, result.cov, atol=1e-12)
    np.testing.assert_allclose(again.mean, result.mean, atol=1e-12)


def test_vertex_reference_matches_moments_of_the_body() -> None:
    """The skin of `engines.body`, all hypotheses stored, its points fed to the joint moments."""
    rng = np.random.default_rng(4)
    model = body.BodyModel.load()
    model = replace(
        model, decimated=replace(model.decimated, posedirs=None)
    )  # the kernel leaves pose correctives out
    inputs = pose_inputs(rng, 6)
    inputs["R_left"] = np.eye(3, dtype=np.float32)
    skeleton = kernels.Skeleton(model.J_template, model.J_shapedirs)
    mesh = kernels.SkinnedMesh(
        model.decimated.v_template, model.decimated.shapedirs, model.decimated.weights
    )
    posed = kernels.pose_joints_reference(**widened(inputs), skeleton=skeleton)
    theirs = model.shaped(inputs["betas"]).posed(inputs["rotvec"], posed.transl.astype(np.float32))
    np.testing.assert_allclose(posed.joints, theirs.joints, atol=POSITION)
    weights = hypothesis_weights(rng, 6, "uneven")
    points = np.concatenate([theirs.joints[:, :1], theirs.vertices("decimated")], axis=1).astype(
        np.float64
    )
    expected = kernels.weighted_moments_reference(points, weights.astype(np.float64))
    result = kernels.skinned_moments_reference(
        inputs["betas"], posed.T_cam_rest, posed.joints[:, 0], weights, mesh
    )
    np.testing.assert_allclose(result.mean, expected.mean[1:], atol=POSITION)
    full = expected.cov[1:]
    np.testing.assert_allclose(
        result.cov, full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]], atol=COVARIANCE
    )
    np.testing.assert_allclose(result.std, np.sqrt(np.trace(full, axis1=1, axis2=2) / 3), atol=2e-5)


def test_covariance_of_perturbed_joints_is_the_predicted_one() -> None:
    """Monte Carlo: Gaussian joints of known covariance, one wide shared distance, K large."""
    rng = np.random.default_rng(5)
    K, J = 60_000, 4
    base = np.array([[0.2, 0.1, 3.0], [0.3, -0.4, 3.2], [-0.1, 0.5, 2.9], [0.6, 0.2, 3.1]])
    ray = base[0] / np.linalg.norm(base[0])
    roots = rng.normal(0, 0.05, (J, 3, 3))
    points = base + np.einsum("jxy,kjy->kjx", roots, rng.normal(size=(K, J, 3)))
    points += rng.normal(0, 0.5, (K, 1, 1)) * ray
    points[0] = base
    result = kernels.MomentPlan(K, J)(points.astype(np.float32), np.full(K, 1 / K, np.float32))
    true = roots @ np.swapaxes(roots, 1, 2)
    across = np.eye(3) - np.outer(ray, ray)
    pelvis_along = ray @ true[0] @ ray
    predicted = true + pelvis_along * np.outer(
        ray, ray
    )  # moving by the pelvis' distance adds the pelvis' own spread
    predicted[0] = across @ true[0] @ across
    # an estimated variance has a relative standard error of sqrt(2 / K); five of them
    np.testing.assert_allclose(result.cov, predicted, atol=5 * np.sqrt(2 / K) * predicted.max())
    assert result.distance[1] == pytest.approx(np.sqrt(0.25 + pelvis_along), rel=5 / np.sqrt(2 * K))


# Ring 2: reference -> kernel on the CPU


@pytest.mark.parametrize("K", SIZES)
def test_pose_kernel_matches_reference(K: int) -> None:
    rng = np.random.default_rng(K)
    skeleton, inputs = random_skeleton(rng), pose_inputs(rng, K)
    truth = kernels.pose_joints_reference(**widened(inputs), skeleton=skeleton)
    assert_close(kernels.JointPlan(skeleton, K)(**inputs), truth)


@pytest.mark.parametrize(
    "angle", [0.0, 1e-20, 1e-7, 0.9e-3, 1.1e-3, np.pi - 1e-3, np.pi, np.pi + 1e-3, 6.0]
)
def test_pose_kernel_at_special_angles(angle: float) -> None:
    rng = np.random.default_rng(6)
    skeleton, inputs = random_skeleton(rng), pose_inputs(rng, 9)
    direction = rng.normal(size=(9, 24, 3))
    inputs["rotvec"] = (
        angle * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    ).astype(np.float32)
    truth = kernels.pose_joints_reference(**widened(inputs), skeleton=skeleton)
    assert_close(kernels.JointPlan(skeleton, 9)(**inputs), truth)


@pytest.mark.parametrize("K", SIZES)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_moment_kernel_matches_reference(K: int, kind: str) -> None:
    rng = np.random.default_rng(K)
    points = (
        rng.normal(0, 0.1, (K, 24, 3)) + rng.normal(0, 0.5, (24, 3)) + np.array([0, 0, 4])
    ).astype(np.float32)
    weights = hypothesis_weights(rng, K, kind)
    truth = kernels.weighted_moments_reference(
        points.astype(np.float64), weights.astype(np.float64)
    )
    result = kernels.MomentPlan(K, 24)(points, weights)
    assert_close(result, truth)
    np.testing.assert_array_equal(result.cov, np.swapaxes(result.cov, 1, 2))
    if kind.startswith("one-hot") or K == 1:
        np.testing.assert_array_equal(result.cov, 0)


@pytest.mark.parametrize("K", SIZES)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_vertex_kernel_matches_reference(K: int, kind: str) -> None:
    rng = np.random.default_rng(K)
    skeleton, mesh, inputs = random_skeleton(rng), random_mesh(rng), pose_inputs(rng, K)
    T_cam_rest = kernels.pose_joints_reference(**inputs, skeleton=skeleton).T_cam_rest
    arguments = {
        "betas": inputs["betas"],
        "T_cam_rest": T_cam_rest,
        "pelvis": inputs["pelvis"],
        "weights": hypothesis_weights(rng, K, kind),
    }
    truth = kernels.skinned_moments_reference(**widened(arguments), mesh=mesh)
    result = kernels.VertexPlan(mesh, K)(**arguments)
    assert_close(
        replace(result, std=result.std**2), replace(truth, std=truth.std**2)
    )  # a root hides nothing near 0
    np.testing.assert_allclose(result.std, truth.std, atol=2e-5)


def test_sparse_bones_keep_every_weight() -> None:
    mesh = random_mesh(np.random.default_rng(7))
    bones, weights, counts = vertex_moments.sparse_bones(mesh.weights)
    dense = np.zeros_like(mesh.weights)
    for v, count in enumerate(counts):
        dense[v, bones[v, :count]] = weights[v, :count]
    np.testing.assert_array_equal(dense, mesh.weights)


def test_results_belong_to_the_caller() -> None:
    rng = np.random.default_rng(9)
    skeleton, inputs = random_skeleton(rng), pose_inputs(rng, 4)
    plan = kernels.JointPlan(skeleton, 4)
    first = plan(**inputs)
    kept = first.joints.copy()
    assert not np.allclose(plan(**pose_inputs(rng, 4)).joints, kept)
    np.testing.assert_array_equal(first.joints, kept)


@pytest.mark.parametrize("name", ["rotvec", "R_left", "betas", "pelvis"])
def test_bad_arguments_are_named(name: str) -> None:
    rng = np.random.default_rng(10)
    skeleton, inputs = random_skeleton(rng), pose_inputs(rng, 4)
    plan = kernels.JointPlan(skeleton, 4)
    good = inputs[name]
    doubled = np.repeat(good, 2, axis=-1)
    bad = {
        "dtype": good.astype(np.float64),
        "shape": good[1:],
        "contiguity": doubled[..., ::2],
        "type": good.tolist(),
    }
    for value in bad.values():
        with pytest.raises(ValueError, match=name):
            plan(**{**inputs, name: value})


def test_weights_without_a_mean_are_refused() -> None:
    points, plan = np.ones((3, 2, 3), np.float32), kernels.MomentPlan(3, 2)
    for weights in ([0, 0, 0], [1, -1, 1], [np.nan, 1, 1]):
        with pytest.raises(ValueError, match="weights"):
            plan(points, np.array(weights, np.float32))


def test_bad_constants_and_plans_are_refused() -> None:
    rng = np.random.default_rng(11)
    skeleton, mesh = random_skeleton(rng), random_mesh(rng)
    with pytest.raises(ValueError, match="J_template"):
        replace(skeleton, J_template=skeleton.J_template[:5])
    with pytest.raises(ValueError, match="parents"):
        replace(skeleton, parents=(-1, *PARENTS[2:], 23))
    with pytest.raises(ValueError, match="shapedirs"):
        replace(mesh, shapedirs=mesh.shapedirs[..., :4])
    with pytest.raises(ValueError, match="num_hypotheses"):
        kernels.JointPlan(skeleton, 0)
    with pytest.raises(PenumbraError, match="cuda:99"):
        kernels.JointPlan(skeleton, 5, device="cuda:99")


def test_start_is_silent_and_needs_neither_torch_nor_mediapipe() -> None:
    code = (
        "import sys; from engines.kernels.launch import open_device; open_device('cpu');"
        "import engines.kernels, engines.flow.statistics;"
        "assert not {'torch', 'mediapipe'} & set(sys.modules)"
    )
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_messages_on_stderr_pass_the_filter(capfd: pytest.CaptureFixture[str]) -> None:
    with launch._without_line(launch.NO_DRIVER):
        os.write(2, b"kept\n" + launch.NO_DRIVER + b"\nalso kept\n")
    assert capfd.readouterr().err == "kept\nalso kept\n"


@pytest.mark.parametrize("module", [joints_module, moments_module, vertex_moments])
def test_kernels_compile_for_cuda_without_owning_one(module: Any, tmp_path: Path) -> None:
    launch.open_device("cpu")
    wp.compile_aot_module(module, arch=90, module_dir=tmp_path, use_ptx=True)
    (ptx,) = tmp_path.glob("*.ptx")
    assert b".entry" in ptx.read_bytes()


# Ring 3: reference -> kernel on CUDA


@pytest.fixture
def cuda() -> str:
    launch.open_device("cpu")
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device on this machine")
    return "cuda:0"


def assert_as_good_as_float32(result: Any, working: Any, truth: Any) -> None:
    """err(kernel) <= 2 err(reference in float32) + a few units in the last place at 4 m."""
    for field in fields(truth):
        exact = getattr(truth, field.name)
        allowed = 2 * np.abs(getattr(working, field.name) - exact).max() + 2e-6
        assert np.abs(getattr(result, field.name) - exact).max() <= allowed, field.name


@pytest.mark.gpu
@pytest.mark.parametrize("K", SIZES)
def test_kernels_on_cuda_match_references(cuda: str, K: int) -> None:
    rng = np.random.default_rng(K)
    skeleton, mesh, inputs = random_skeleton(rng), random_mesh(rng), pose_inputs(rng, K)
    weights = hypothesis_weights(rng, K, "uneven")
    truth = kernels.pose_joints_reference(**widened(inputs), skeleton=skeleton)
    working = kernels.pose_joints_reference(**inputs, skeleton=skeleton)
    assert_as_good_as_float32(kernels.JointPlan(skeleton, K, cuda)(**inputs), working, truth)
    exact = kernels.weighted_moments_reference(
        working.joints.astype(np.float64), weights.astype(np.float64)
    )
    result = kernels.MomentPlan(K, 24, cuda)(working.joints, weights)
    assert_as_good_as_float32(
        result, kernels.weighted_moments_reference(working.joints, weights), exact
    )
    arguments = {
        "betas": inputs["betas"],
        "T_cam_rest": working.T_cam_rest,
        "pelvis": inputs["pelvis"],
        "weights": weights,
    }
    exact = kernels.skinned_moments_reference(**widened(arguments), mesh=mesh)
    result = kernels.VertexPlan(mesh, K, cuda)(**arguments)
    assert_as_good_as_float32(
        result, kernels.skinned_moments_reference(**arguments, mesh=mesh), exact
    )


@pytest.mark.gpu
def test_captured_graph_replays_on_inputs_changed_in_place(cuda: str) -> None:
    rng = np.random.default_rng(12)
    skeleton, mesh = random_skeleton(rng), random_mesh(rng)
    posing = kernels.JointPlan(skeleton, 100, device=cuda)
    joints = kernels.MomentPlan(100, 24, device=cuda)
    skin = kernels.VertexPlan(mesh, 100, device=cuda)
    weights = hypothesis_weights(rng, 100, "uneven")
    inputs = pose_inputs(rng, 100)
    posed = posing(**inputs)
    joints(posed.joints, weights)
    skin(inputs["betas"], posed.T_cam_rest, inputs["pelvis"], weights)
    with wp.ScopedStream(wp.Stream(cuda)), wp.ScopedCapture(device=cuda) as capture:
        posing.launch()
        joints.launch()
        skin.launch()
    inputs = pose_inputs(rng, 100)
    posing.rotvec.write(inputs["rotvec"])
    posing.R_left.write(inputs["R_left"][None])
    posing.betas.write(inputs["betas"])
    posing.pelvis.write(inputs["pelvis"])
    truth = kernels.pose_joints_reference(**widened(inputs), skeleton=skeleton)
    joints.points.write(truth.joints.astype(np.float32))
    skin.betas.write(inputs["betas"])
    skin.T_cam_rest.write(truth.T_cam_rest.astype(np.float32))
    skin.pelvis.write(inputs["pelvis"])
    wp.synchronize_device(cuda)
    used = wp.get_mempool_used_mem_current(cuda)
    wp.capture_launch(capture.graph)
    wp.synchronize_device(cuda)
    assert wp.get_mempool_used_mem_current(cuda) == used  # a replay allocates nothing
    np.testing.assert_allclose(posing.joints.read(), truth.joints, atol=POSITION)
    moments = kernels.weighted_moments_reference(truth.joints, weights.astype(np.float64))
    np.testing.assert_allclose(joints.cov.read(), moments.cov, atol=COVARIANCE)
    vertices = kernels.skinned_moments_reference(
        inputs["betas"].astype(np.float64),
        truth.T_cam_rest,
        truth.joints[:, 0],
        weights.astype(np.float64),
        mesh,
    )
    np.testing.assert_allclose(skin.cov.read(), vertices.cov, atol=COVARIANCE)
