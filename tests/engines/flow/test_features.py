"""The flow's input: the view is aimed at the torso, and place and size of a person drop out."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.flow.features import (
    LAYOUT,
    LAYOUT_2D,
    NUM_FEATURES,
    NUM_FEATURES_2D,
    TORSO,
    VirtualCamera,
    landmark_features,
    landmark_features_2d,
)
from engines.flow.sampler import features_of
from engines.types import Landmarks, Roi
from tests.support.random_samples import random_records
from trainer.data import samples as data

MIDDLE = np.array([-0.3, 0.1, 3.0])
"""Where `person` stands."""
AHEAD = np.array([0.0, 0.0, 1.0])
POINTS = LAYOUT["points"]
WORLD = LAYOUT["world"]
CENTER = LAYOUT["center"]
LOG_HALF_SIZE = LAYOUT["log_half_size"].start


def person(seed: int = 0) -> np.ndarray:
    """33 points of a person who faces the camera 3 m away, a little left of its axis."""
    rng = np.random.default_rng(seed)
    marks = rng.normal(0, [0.25, 0.5, 0.15], (33, 3))
    for landmark, x, y in zip(TORSO, (0.2, -0.2, 0.12, -0.12), (-0.5, -0.5, 0.0, 0.0), strict=True):
        marks[landmark] = x, y, 0.0
    return marks + MIDDLE


def features_from(
    marks: np.ndarray, world: np.ndarray | None = None, **changes: np.ndarray
) -> tuple[np.ndarray, VirtualCamera]:
    """Features of points in the camera frame."""
    ones = np.ones(33)
    inputs = {
        "rays": marks[:, :2] / marks[:, 2:],
        "depth": (marks[:, 2] - marks[23:25, 2].mean()) / marks[23:25, 2].mean(),
        "inside": ones.astype(bool),
        "visibility": 0.9 * ones,
        "presence": ones,
        "world": marks - marks[23:25].mean(0) if world is None else world,
    }
    return landmark_features(**inputs | changes)


def test_the_vector_has_the_stated_parts() -> None:
    marks = person()
    visibility, presence = np.linspace(0, 1, 33), np.linspace(1, 0, 33)
    vector, view = features_from(
        marks, visibility=visibility, presence=presence, inside=np.arange(33) % 2 == 0
    )
    assert vector.shape == (NUM_FEATURES,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector[LAYOUT["visibility"]], 2 * visibility - 1, atol=1e-6)
    np.testing.assert_allclose(vector[LAYOUT["presence"]], 2 * presence - 1, atol=1e-6)
    assert vector[165:198].tolist() == [1.0, -1.0] * 16 + [1.0]
    np.testing.assert_allclose(vector[WORLD], (marks - marks[23:25].mean(0)).ravel(), atol=1e-6)
    np.testing.assert_allclose(
        vector[CENTER], (marks[:, :2] / marks[:, 2:])[list(TORSO)].mean(0), rtol=1e-6
    )
    assert np.exp(vector[LOG_HALF_SIZE]) == pytest.approx(view.half_size, rel=1e-5)


def test_the_view_looks_at_the_torso_by_the_smallest_rotation() -> None:
    _, view = features_from(person())
    R = view.R_cam_view
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    ray = np.append((person()[:, :2] / person()[:, 2:])[list(TORSO)].mean(0), 1)
    np.testing.assert_allclose(R[:, 2], ray / np.linalg.norm(ray), atol=1e-12)
    rotvec = Rotation.from_matrix(R).as_rotvec()
    assert rotvec[2] == pytest.approx(0, abs=1e-12)  # no roll
    assert np.linalg.norm(rotvec) == pytest.approx(np.arccos(R[2, 2]))


def test_view_coordinates_are_the_projection_by_the_view() -> None:
    marks = person()
    vector, view = features_from(marks)
    in_view = marks @ view.R_cam_view
    np.testing.assert_allclose(
        vector[POINTS].reshape(33, 2) * view.half_size, in_view[:, :2] / in_view[:, 2:], atol=1e-6
    )


@pytest.mark.parametrize("degrees", [90.0, -35.0, 180.0])
def test_rolling_the_camera_rolls_the_view_and_nothing_else(degrees: float) -> None:
    roll = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    before, view = features_from(person())
    after, rolled = features_from(person() @ roll.T)
    np.testing.assert_allclose(rolled.R_cam_view, roll @ view.R_cam_view @ roll.T, atol=1e-12)
    np.testing.assert_allclose(
        after[POINTS].reshape(33, 2), before[POINTS].reshape(33, 2) @ roll[:2, :2].T, atol=1e-5
    )
    np.testing.assert_allclose(rolled.R_view_anchor, roll @ view.R_view_anchor, atol=1e-12)
    assert rolled.half_size == pytest.approx(view.half_size)


def test_a_torso_in_one_point_makes_panning_invisible() -> None:
    # The mean of the torso's rays is the one thing here that is not exactly projective; a point has
    # no such mean.
    marks, world = person(), person() - MIDDLE
    marks[list(TORSO)] = (-0.4, 0.0, 3.0)
    before, view = features_from(marks, world)
    for degrees in (-20.0, 10.0, 30.0):
        pan = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
        after, panned = features_from(
            marks @ pan.T, world, depth=before[LAYOUT["depth"]] * view.half_size
        )
        np.testing.assert_allclose(panned.R_cam_view, pan @ view.R_cam_view, atol=1e-12)
        np.testing.assert_allclose(np.delete(after, CENTER), np.delete(before, CENTER), atol=2e-6)
        assert abs(after[CENTER] - before[CENTER]).max() > 0.1


def test_panning_hardly_changes_a_real_torso() -> None:
    marks = person()
    before, view = features_from(marks)
    pan = Rotation.from_euler("yx", [25, 10], degrees=True).as_matrix()
    after, _ = features_from(marks @ pan.T)
    rays, turned = (m[:, :2] / m[:, 2:] / view.half_size for m in (marks, marks @ pan.T))
    shift = np.abs(after[POINTS] - before[POINTS]).max()
    assert shift < 0.1 * np.abs(turned - rays).max()


def test_twice_as_far_is_half_as_large_and_otherwise_the_same() -> None:
    marks = person() - 3 * AHEAD
    marks[:, 2] = 0  # flat, so that perspective scales all of it
    near, near_view = features_from(marks + 2 * AHEAD, world=person())
    far, far_view = features_from(marks + 4 * AHEAD, world=person())
    assert far_view.half_size == pytest.approx(near_view.half_size / 2, rel=0.02)
    centred = marks - np.append(marks[list(TORSO), :2].mean(0), 0)
    near, near_view = features_from(centred + 2 * AHEAD, world=person())
    far, far_view = features_from(centred + 4 * AHEAD, world=person())
    assert far_view.half_size == pytest.approx(near_view.half_size / 2, rel=1e-5)
    np.testing.assert_allclose(far[:LOG_HALF_SIZE], near[:LOG_HALF_SIZE], atol=1e-5)
    assert near[LOG_HALF_SIZE] - far[LOG_HALF_SIZE] == pytest.approx(np.log(2), abs=1e-5)


def test_the_anchor_of_a_person_who_faces_the_camera() -> None:
    # The body's left is the image's right, its up the image's up, its front towards the camera.
    _, view = features_from(person())
    np.testing.assert_allclose(view.R_view_anchor, np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_the_anchor_follows_the_torso() -> None:
    for turn in Rotation.random(20, random_state=0):
        _, view = features_from(person(), world=(person() - MIDDLE) @ turn.as_matrix().T)
        np.testing.assert_allclose(
            view.R_view_anchor, turn.as_matrix() @ np.diag([1.0, -1.0, -1.0]), atol=1e-12
        )


@pytest.mark.parametrize("seed", range(5))
def test_the_anchor_is_a_rotation_whatever_the_landmarks(seed: int) -> None:
    _, view = features_from(person(), world=np.random.default_rng(seed).normal(size=(33, 3)))
    R = view.R_view_anchor
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)


DEGENERATE = {
    "all in one point": np.tile([0.1, 0.2, 2.0], (33, 1)),
    "all on the axis": np.tile([0.0, 0.0, 2.0], (33, 1)),
    "shoulders on the hips": np.where(
        np.isin(np.arange(33), TORSO)[:, None], [0.0, 0.0, 3.0], person()
    ),
    "a torso without width": person() * np.array([0.0, 1.0, 1.0]),
    "far to the side": person() * np.array([1.0, 1.0, 0.01]),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_landmarks_give_finite_features_and_a_rotation(name: str) -> None:
    vector, view = features_from(DEGENERATE[name])
    assert np.isfinite(vector).all() and np.abs(vector).max() <= 8
    assert view.half_size > 0
    for R in (view.R_cam_view, view.R_view_anchor):
        np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-9)
        assert np.linalg.det(R) == pytest.approx(1)


def test_a_batch_is_its_rows() -> None:
    marks = np.stack([person(seed) for seed in range(4)])
    rays, ones = marks[..., :2] / marks[..., 2:], np.ones((4, 33))
    vectors, view = landmark_features(rays, 0 * ones, ones > 0, ones, ones, marks)
    for i in range(4):
        vector, one = landmark_features(
            rays[i], 0 * ones[i], ones[i] > 0, ones[i], ones[i], marks[i]
        )
        np.testing.assert_allclose(vectors[i], vector, atol=1e-6)
        np.testing.assert_allclose(view.R_cam_view[i], one.R_cam_view, atol=1e-12)
        np.testing.assert_allclose(view.R_view_anchor[i], one.R_view_anchor, atol=1e-12)


def test_trainer_and_live_system_see_the_same(body: BodyModel, tmp_path: Path) -> None:
    raw = random_records(6, 3, body)
    np.savez(tmp_path / "00000.npz", **raw)
    trained = data.encode(data.read(tmp_path, body), body)
    for i in range(6):
        found = Landmarks(
            *(
                raw[key][i].astype(float)
                for key in ("points", "depth", "visibility", "presence", "world")
            ),
            score=1.0,
            roi=Roi(np.zeros(2), 1.0, 0.0),
        )
        focal, size = float(raw["focal"][i]), (1280, 720)
        live, view = features_of(found, Intrinsics(focal, focal, size[0] / 2, size[1] / 2, size))
        np.testing.assert_allclose(live, trained.features[i].numpy(), atol=2e-6)
        np.testing.assert_allclose(view.R_view_anchor, trained.R_anchor[i].numpy(), atol=1e-6)
        assert view.half_size == pytest.approx(trained.half_size[i].item(), rel=1e-6)


def test_the_layout_is_the_one_that_the_shipped_flow_was_trained_with() -> None:
    starts = [LAYOUT[name].start for name in LAYOUT]
    assert " ".join(LAYOUT) == (
        "points depth visibility presence inside world center log_half_size"
    )
    assert starts == [0, 66, 99, 132, 165, 198, 297, 299] and NUM_FEATURES == 300


def test_landmarks_2d_are_landmarks_3d_with_peaks_but_without_depth_and_world() -> None:
    marks = np.stack([person(seed) for seed in range(4)])
    rays, ones = marks[..., :2] / marks[..., 2:], np.ones((4, 33))
    given = ones > 0, 0.9 * ones, 0.8 * ones
    whole, view = landmark_features(rays, 0 * ones, *given, marks)
    vectors, view_2d = landmark_features_2d(rays, *given, 0.75 * ones)
    assert vectors.shape == (4, NUM_FEATURES_2D) and NUM_FEATURES_2D == 201
    assert " ".join(LAYOUT_2D) == "points visibility presence inside center log_half_size peak"
    np.testing.assert_array_equal(vectors[:, LAYOUT_2D["peak"]], 0.5)
    for name in LAYOUT_2D.keys() - {"peak"}:
        part = LAYOUT_2D[name]
        np.testing.assert_array_equal(vectors[:, part], whole[:, LAYOUT[name]], err_msg=name)
    np.testing.assert_array_equal(view_2d.R_cam_view, view.R_cam_view)
    np.testing.assert_array_equal(view_2d.half_size, view.half_size)
    np.testing.assert_array_equal(view_2d.R_view_anchor, np.tile(np.eye(3), (4, 1, 1)))


def test_peaks_that_are_unknown_say_nothing() -> None:
    marks, ones = person(), np.ones(33)
    given = marks[:, :2] / marks[:, 2:], ones > 0, ones, ones
    unknown, _ = landmark_features_2d(*given, np.nan * ones)
    even, _ = landmark_features_2d(*given, 0.5 * ones)
    np.testing.assert_array_equal(unknown, even)


def test_features_tell_which_landmarks_are_outside_the_image() -> None:
    inside = np.zeros((2, 33), bool)
    inside[0] = True
    vectors = [features_from(person(), inside=row)[0] for row in inside]
    assert (vectors[0] != vectors[1]).sum() == 33
