"""Triangulation and the geometry of a rig, against points that are known."""

from dataclasses import replace

import numpy as np

from engines.camera import Intrinsics
from engines.types import LIMB_LANDMARKS
from tests.support.rigs import perfect_estimates, project, ring
from trainer.multiview.rig import relative_pose
from trainer.multiview.triangulation import TriangulationConfig, triangulate, triangulate_landmarks

POINT = np.array([0.2, -0.3, 3.1])


def test_triangulation_finds_the_point_through_distorting_lenses() -> None:
    points = np.array([project(camera, POINT[None])[0] for camera in ring()])
    found = triangulate(points, ring(), 0.5)
    assert found is not None
    np.testing.assert_allclose(found, POINT, atol=2e-4)


def test_cameras_that_disagree_give_nothing() -> None:
    points = np.array([project(camera, POINT[None])[0] for camera in ring()])
    points[1] += 150
    assert triangulate(points, ring(), 40.0) is None


def test_rays_that_meet_behind_the_cameras_or_nowhere_give_nothing() -> None:
    first = replace(ring()[0], R=np.eye(3), t=np.zeros(3), intrinsics=pinhole())
    second = replace(first, t=np.array([-1.0, 0.0, 0.0]))  # stands 1 m to the right of it
    for u, depth in ((0.1, 5.0), (-0.05, None), (0.0, None)):  # towards each other, away, parallel
        rays = np.array([[u, 0.0], [-u, 0.0]])
        found = triangulate(500 * rays + 500, [first, second])
        if depth is None:
            assert found is None
        else:
            np.testing.assert_allclose(found, [0.5, 0.0, depth], atol=1e-9)


def pinhole() -> Intrinsics:
    return Intrinsics(500.0, 500.0, 500.0, 500.0, (1000, 1000))


def test_landmarks_are_triangulated_where_joints_are() -> None:
    cameras = ring()
    body = np.random.default_rng(1).normal((0, 0, 3), 0.3, (24, 3))
    landmarks = [one.landmarks for one in perfect_estimates(cameras, body)]
    found = triangulate_landmarks(landmarks, cameras, TriangulationConfig())
    assert set(found) == set(LIMB_LANDMARKS)
    for landmark, point in found.items():
        np.testing.assert_allclose(point, body[LIMB_LANDMARKS[landmark]], atol=1e-3)


def test_occluded_landmarks_do_not_count() -> None:
    cameras = ring()
    body = np.random.default_rng(2).normal((0, 0, 3), 0.3, (24, 3))
    landmarks = [one.landmarks for one in perfect_estimates(cameras, body)]
    for one in landmarks[:3]:
        one.visibility[15] = 0.1
    assert 15 not in triangulate_landmarks(landmarks, cameras, TriangulationConfig())


def test_relative_pose_takes_points_of_one_camera_to_another() -> None:
    first, second = ring()[1], ring()[3]
    world = np.random.default_rng(0).normal((0, 0, 3), 0.3, (5, 3))
    T = relative_pose(first, second)
    in_second = first.to_camera(world) @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(in_second, second.to_camera(world), atol=1e-12)
