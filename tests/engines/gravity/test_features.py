"""The network's input, by hand, for one camera that is rolled and pitched."""

import numpy as np
import pytest

from engines.gravity.features import LAYOUT, gravity_features

# Columns: the pelvis' x (left), y (up) and z (forward) in the camera frame (x right, y down, z
# ahead). The person lies on their right, turned half towards the camera.
R_CAM_ROOT = np.array([[0.0, -0.6, 0.8], [-1.0, 0.0, 0.0], [0.0, -0.8, -0.6]])


@pytest.fixture
def parts() -> dict[str, np.ndarray]:
    joints = np.tile([0.0, 1.8, 2.4], (24, 1))
    joints[1] += R_CAM_ROOT @ (0.1, 0.2, 0.3)
    cov = np.broadcast_to(np.diag([0.1, 0.2, 0.4]) ** 2, (24, 3, 3))
    visible = np.r_[0.75, np.ones(23)]
    found = gravity_features(R_CAM_ROOT, joints, cov, visible)
    ends = np.cumsum(list(LAYOUT.values()))
    return dict(zip(LAYOUT, np.split(found, ends[:-1]), strict=True))


def test_the_camera_is_seen_from_the_pelvis(parts: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(np.linalg.det(R_CAM_ROOT), 1.0)
    np.testing.assert_allclose(parts["camera_up"], [1, 0, 0], atol=1e-6)  # to the left
    np.testing.assert_allclose(parts["camera_forward"], [0, -0.8, -0.6], atol=1e-6)
    ray = 0.6 * np.array([-1.0, 0, 0]) + 0.8 * np.array([0, -0.8, -0.6])
    np.testing.assert_allclose(parts["ray"], ray, atol=1e-6)


def test_joints_and_their_errors_are_along_the_pelvis_axes(parts: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(parts["joints"][:3], [0.1, 0.2, 0.3], atol=1e-6)
    # x of the pelvis is y of the image; y and z share x and the depth, 0.36 to 0.64.
    variance = np.array([0.04, 0.36 * 0.01 + 0.64 * 0.16, 0.64 * 0.01 + 0.36 * 0.16])
    expected = 0.5 * np.log(variance + 0.005**2) - np.log(0.1)
    np.testing.assert_allclose(
        parts["log_std"].reshape(24, 3), np.tile(expected, (24, 1)), rtol=1e-5
    )
    np.testing.assert_allclose(parts["visible"][:2], [0.5, 1.0])
