"""Rotations: the group's axioms and scipy as the oracle, with samples near the identity and near
half a turn.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engines import rotations as rot

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-14}
ANGLES = [
    0.0,
    1e-12,
    1e-8,
    1e-4,
    9.9e-4,
    1.1e-3,
    0.1,
    1.0,
    2.0,
    3.0,
    np.pi - 1e-3,
    np.pi - 1e-6,
    np.pi - 1e-9,
    np.pi,
]


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    vectors[:3] = np.eye(3)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.mark.parametrize("angle", ANGLES)
def test_exp_and_log_match_scipy(angle: float, dtype: type) -> None:
    rotvec = (unit_vectors(64) * angle).astype(dtype)
    matrix = rot.exp_so3(rotvec)
    assert matrix.dtype == dtype
    np.testing.assert_allclose(
        matrix, Rotation.from_rotvec(rotvec).as_matrix(), atol=TOLERANCE[dtype]
    )
    back = rot.log_so3(matrix)
    assert back.dtype == dtype
    # at half a turn v and -v are the same rotation, so rotations are compared, and lengths
    np.testing.assert_allclose(rot.exp_so3(back), matrix, atol=3 * TOLERANCE[dtype])
    np.testing.assert_allclose(np.linalg.norm(back, axis=-1), angle, atol=3 * TOLERANCE[dtype])


@pytest.mark.parametrize("angle", [a for a in ANGLES if a < 3.1])
def test_log_inverts_exp(angle: float, dtype: type) -> None:
    rotvec = (unit_vectors(64, 1) * angle).astype(dtype)
    np.testing.assert_allclose(rot.log_so3(rot.exp_so3(rotvec)), rotvec, atol=3 * TOLERANCE[dtype])


def test_log_keeps_relative_accuracy_near_the_identity() -> None:
    rotvec = unit_vectors(32) * 10.0 ** np.linspace(-12, 0, 32)[:, None]
    np.testing.assert_allclose(rot.log_so3(rot.exp_so3(rotvec)), rotvec, rtol=1e-9, atol=1e-24)


def test_group_axioms(dtype: type) -> None:
    rng = np.random.default_rng(2)
    scale = np.array([1e-7, 1e-3, 1.0, 3.0])[:, None, None]
    a, b, c = (rot.exp_so3((rng.normal(size=(4, 50, 3)) * scale).astype(dtype)) for _ in range(3))
    eye = np.broadcast_to(np.eye(3, dtype=dtype), a.shape)
    tolerance = 5 * TOLERANCE[dtype]
    np.testing.assert_allclose(np.linalg.det(a @ b), 1.0, atol=tolerance)
    np.testing.assert_allclose(a @ np.swapaxes(a, -1, -2), eye, atol=tolerance)
    np.testing.assert_allclose((a @ b) @ c, a @ (b @ c), atol=tolerance)
    np.testing.assert_allclose(rot.exp_so3(-rot.log_so3(a)) @ a, eye, atol=tolerance)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_quaternions_match_scipy(vector: list[float]) -> None:
    matrix = Rotation.from_rotvec(vector).as_matrix()
    quat = rot.matrix_to_quat_wxyz(matrix)
    oracle = np.roll(Rotation.from_matrix(matrix).as_quat(), 1)
    assert quat[0] >= 0
    np.testing.assert_allclose(
        min(np.abs(quat - oracle).max(), np.abs(quat + oracle).max()), 0, atol=1e-12
    )


@pytest.mark.parametrize("angle", ANGLES)
def test_geodesic_angle_is_the_angle_and_is_invariant(angle: float) -> None:
    a = rot.exp_so3(unit_vectors(16, 3) * 1.3)
    b = a @ rot.exp_so3(unit_vectors(16, 4) * angle)
    g = rot.exp_so3(unit_vectors(16, 5) * 2.1)
    np.testing.assert_allclose(rot.geodesic_angle(a, b), angle, atol=1e-13)
    np.testing.assert_allclose(
        rot.geodesic_angle(g @ a, g @ b), rot.geodesic_angle(b, a), atol=1e-13
    )


def test_interpolate_goes_at_constant_speed() -> None:
    a, b = rot.exp_so3(unit_vectors(20, 6)), rot.exp_so3(unit_vectors(20, 7) * 2)
    np.testing.assert_allclose(rot.interpolate(a, b, 0.0), a, atol=1e-14)
    np.testing.assert_allclose(rot.interpolate(a, b, 1.0), b, atol=1e-14)
    whole = rot.geodesic_angle(a, b)
    np.testing.assert_allclose(
        rot.geodesic_angle(a, rot.interpolate(a, b, 0.3)), 0.3 * whole, atol=1e-13
    )
    per_item = np.linspace(0, 1, 20)
    np.testing.assert_allclose(
        rot.geodesic_angle(a, rot.interpolate(a, b, per_item)), per_item * whole, atol=1e-13
    )


def test_batches_of_any_rank_and_empty() -> None:
    assert rot.exp_so3(np.zeros((2, 0, 3))).shape == (2, 0, 3, 3)
    assert rot.log_so3(np.zeros((0, 3, 3))).shape == (0, 3)
    np.testing.assert_array_equal(rot.exp_so3(np.zeros(3, np.float32)), np.eye(3))


@pytest.mark.parametrize("angle", [0.0, 1e-5, 5e-3, 1.1e-2, 0.7, 2.5, 3.1])
def test_right_jacobians_are_derivatives_of_the_exponential_and_the_logarithm(angle: float) -> None:
    w = angle * np.array([0.36, -0.48, 0.8])
    h = 1e-6
    by_exp, by_log = np.empty((3, 3)), np.empty((3, 3))
    for i, e in enumerate(h * np.eye(3)):
        ahead, behind = rot.exp_so3(w + e), rot.exp_so3(w - e)
        by_exp[:, i] = rot.log_so3(behind.T @ ahead) / (2 * h)
        turned = [rot.log_so3(rot.exp_so3(w) @ rot.exp_so3(sign * e)) for sign in (1, -1)]
        by_log[:, i] = (turned[0] - turned[1]) / (2 * h)
    np.testing.assert_allclose(rot.right_jacobian(w), by_exp, atol=1e-8)
    np.testing.assert_allclose(rot.inverse_right_jacobian(w), by_log, atol=1e-8)
    product = rot.right_jacobian(w) @ rot.inverse_right_jacobian(w)
    np.testing.assert_allclose(product, np.eye(3), atol=1e-9)
