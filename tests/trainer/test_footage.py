"""Scoring on several cameras: triangulation and alignment against points that are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.blazepose.tracker import open_tracker
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, Hypotheses, Landmarks, Roi
from tests.support.paths import SHARED
from trainer.footage import (
    FootageConfig,
    Look,
    View,
    read_rig,
    reference,
    score,
    triangulate,
    watch,
    without_common_distance,
)

POST_OPTIMIZATION = SHARED / "data" / "multiview" / "post_optimization"


def ring(count: int = 4) -> list[View]:
    """Cameras with lens distortion around a point three metres in front of the first."""
    views = []
    for angle in np.linspace(0, 1.5, count):
        R = Rotation.from_euler("y", angle).as_matrix()
        center = np.array([0.0, 0.0, 3.0])
        camera = Intrinsics(
            900, 905, 640, 350, (1280, 720), (-0.2, 0.05, 0.001, -0.002, 0.01), "test"
        )
        views.append(View(camera, R, center - R @ center, Path()))
    return views


def project(view: View, world: np.ndarray) -> np.ndarray:
    return view.intrinsics.project(world @ view.R.T + view.t)


def test_triangulation_finds_the_point_through_distorting_lenses() -> None:
    world = np.array([0.2, -0.3, 3.1])
    points = np.array([project(view, world[None])[0] for view in ring()])
    found = triangulate(points, ring(), 0.5)
    assert found is not None
    np.testing.assert_allclose(found, world, atol=2e-4)


def test_views_that_disagree_give_nothing() -> None:
    points = np.array([project(view, np.array([[0.2, -0.3, 3.1]]))[0] for view in ring()])
    points[1] += 150
    assert triangulate(points, ring(), 40.0) is None


def bodies_at(joints: np.ndarray) -> Hypotheses:
    """Bodies of which only the joints are known."""
    count = len(joints)
    nothing = np.zeros((count, 24, 3)), np.zeros((count, 10)), np.zeros((count, 3))
    return Hypotheses(*nothing, joints, np.zeros(count), np.full(count, 1 / count))


def looks(views: list[View], body: np.ndarray) -> list[Look]:
    """Perfect estimates of a body of random joints, each in its own camera's frame."""
    rng = np.random.default_rng(0)
    found = []
    for view in views:
        points = np.zeros((33, 2))
        points[list(LIMB_LANDMARKS)] = project(view, body[list(LIMB_LANDMARKS.values())])
        ones = np.ones(33)
        landmarks = Landmarks(
            points,
            0 * ones,
            ones,
            ones,
            rng.normal(0, 0.3, (33, 3)),
            1.0,
            Roi(np.zeros(2), 1.0, 0.0),
        )
        joints = body @ view.R.T + view.t
        joints = joints + np.concatenate([np.zeros((1, 24, 3)), rng.normal(0, 0.05, (19, 24, 3))])
        found.append(
            Look(landmarks, bodies_at(joints), np.tile(1e-4 * np.eye(3), (24, 1, 1)), np.ones(24))
        )
    return found


def test_a_perfect_estimate_scores_zero_and_a_bad_one_does_not() -> None:
    views, rng = ring(), np.random.default_rng(1)
    body = rng.normal((0, 0, 3), 0.3, (24, 3))
    seen = looks(views, body)
    truth = reference(seen, views, FootageConfig(()))
    assert set(truth) == set(LIMB_LANDMARKS)
    result = score(seen[2], truth, views[2])
    assert (
        result.best_estimate < 1
        and result.inside.all()
        and result.inside_camera.all()
        and result.seen.all()
    )
    assert (
        result.best_hypothesis == pytest.approx(result.best_estimate, abs=1e-3)
        and result.landmark_network > 100
    )
    # With a wrong best estimate, one of the draws is the best.
    joints = seen[2].hypotheses.joints[[1, 0, *range(2, 20)]]
    swapped = score(replace(seen[2], hypotheses=bodies_at(joints)), truth, views[2])
    assert swapped.best_estimate > 20 and swapped.best_hypothesis < 1


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    view = replace(ring()[0], video=tmp_path / "cam_0.mp4")
    with pytest.raises(PenumbraError, match=r"--folders: cannot read .*cam_0\.mp4"):
        watch(view, open_tracker())


def test_only_the_common_distance_is_forgiven() -> None:
    ray, cov = np.array([0.0, 0.6, 0.8]), np.tile(1e-2 * np.eye(3), (5, 1, 1))
    own = np.random.default_rng(0).normal(0, 0.05, (5, 3))
    own -= (own @ ray).mean() * ray
    np.testing.assert_allclose(without_common_distance(own + 0.7 * ray, cov, ray), own, atol=1e-12)
    sure = cov.copy()
    sure[0] *= 1e-8  # the joint that is known decides how far the body is
    assert abs(without_common_distance(own + 0.7 * ray, sure, ray)[0] @ ray) < 1e-4


def test_hidden_landmarks_do_not_count() -> None:
    views, rng = ring(), np.random.default_rng(2)
    seen = looks(views, rng.normal((0, 0, 3), 0.3, (24, 3)))
    for one in seen[:3]:
        one.landmarks.visibility[15] = 0.1
    assert 15 not in reference(seen, views, FootageConfig(()))


def test_a_caliscope_folder_is_read() -> None:
    if not POST_OPTIMIZATION.is_dir():
        pytest.skip("the shared multi-view footage is not here")
    views, instants = read_rig(POST_OPTIMIZATION)
    assert len(views) == 4 and len(instants) > 20 and all(len(frames) == 4 for frames in instants)
    for view in views:
        np.testing.assert_allclose(view.R @ view.R.T, np.eye(3), atol=1e-6)
