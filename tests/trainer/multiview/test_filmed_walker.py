"""Who was filmed stands upright in the world, as high as a person, and walks the right way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.rotations import exp_so3
from engines.types import LIMB_LANDMARKS, MIRRORED_LANDMARKS
from tests.engines.blazepose.people.bodies import STICK
from trainer.multiview.filmed_walker import CutOut, FilmedWalker, cut_out
from trainer.multiview.rig import RigCamera

SIZE = (640, 480)
CAMERA = RigCamera(
    Intrinsics(300.0, 300.0, 320.0, 240.0, SIZE, (), "test"),
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),  # looks along y, z is up
    np.array([0.0, 1.0, 0.0]),  # at the height of 1 m
    Path(),
)
FEET, EYE = 240.0 + 85, 240.0 - 90
"""Rows of the lowest and of the highest landmarks of the stick figure in the video."""
RED = (0, 0, 255)


def filmed(x: float) -> CutOut:
    """A stick figure with its hips at a column, in a red box from its feet to its eyes."""
    image, alpha = np.zeros((400, 300, 3), np.uint8), np.zeros((400, 300), np.float32)
    box = np.s_[round(EYE) : round(FEET), round(x) - 20 : round(x) + 20]
    image[box], alpha[box] = RED, 1.0
    return CutOut(image, alpha, STICK * 100.0 + (x, 240.0))


@pytest.fixture
def walker() -> FilmedWalker:
    """To the right, 4 m from the camera, on a floor at 0.1 m."""
    places = np.column_stack([np.linspace(-1, 1, 21), np.full(21, 4.0), np.full(21, 0.1)])
    return FilmedWalker([filmed(x) for x in np.linspace(60, 240, 11)], places, 1.7)


def test_feet_are_on_the_floor_and_eyes_where_those_of_that_height_are(
    walker: FilmedWalker,
) -> None:
    for t in (0, 10, 20):
        layer = walker.seen_by(CAMERA, np.zeros((480, 640, 3), np.uint8), t)
        rows, columns = np.nonzero(layer.alpha > 0.5)
        place = walker.places[t]
        floor, eyes = CAMERA.intrinsics.project(
            CAMERA.to_camera(place + np.array([[0, 0, 0], [0, 0, 0.936 * 1.7]]))
        )
        assert rows.max() + 1 == pytest.approx(floor[1], abs=1)
        assert rows.min() == pytest.approx(eyes[1], abs=1)
        assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(floor[0], abs=1)
        assert layer.depth_m == pytest.approx(4.0)
        assert (layer.image[layer.alpha == 1.0] == RED).all()


def test_joints_are_the_landmarks_of_the_video(walker: FilmedWalker) -> None:
    layer = walker.seen_by(CAMERA, np.zeros((480, 640, 3), np.uint8), 10)
    known = list(LIMB_LANDMARKS.values())
    assert np.isnan(np.delete(layer.joints_px, known, 0)).all() and layer.visible[known].all()
    stick = STICK[list(LIMB_LANDMARKS)]
    a, b = layer.joints_px[known], stick - stick.mean(0)
    scale = (b * (a - a.mean(0))).sum() / (b**2).sum()
    np.testing.assert_allclose(a - a.mean(0), scale * b, atol=1e-6)


def test_in_a_camera_on_its_side_they_lie_on_their_side(walker: FilmedWalker) -> None:
    roll = exp_so3(np.array([0.0, 0.0, np.pi / 2]))
    rolled = replace(CAMERA, R=roll @ CAMERA.R, t=roll @ CAMERA.t)
    joints = [
        walker.seen_by(camera, np.zeros((640, 640, 3), np.uint8), 10).joints_px
        for camera in (CAMERA, rolled)
    ]
    centred = [one - (320.0, 240.0) for one in joints]
    np.testing.assert_allclose(centred[1], centred[0] @ [[0, 1], [-1, 0]], atol=1e-9)


def test_from_the_other_side_they_are_mirrored(walker: FilmedWalker) -> None:
    back = replace(walker, places=walker.places[::-1])
    image = np.zeros((480, 640, 3), np.uint8)
    there, away = walker.seen_by(CAMERA, image, 10), back.seen_by(CAMERA, image, 10)
    joint = {landmark: LIMB_LANDMARKS[landmark] for landmark in LIMB_LANDMARKS}
    for landmark, at in joint.items():
        mirrored = away.joints_px[joint[MIRRORED_LANDMARKS[landmark]]]
        np.testing.assert_allclose(mirrored * (-1, 1) + (640, 0), there.joints_px[at], atol=1e-6)


def test_behind_the_camera_nobody_is_seen(walker: FilmedWalker) -> None:
    behind = replace(walker, places=walker.places * (1, -1, 1))
    layer = behind.seen_by(CAMERA, np.zeros((480, 640, 3), np.uint8), 10)
    assert not layer.alpha.any() and not layer.visible.any() and layer.depth_m < 0


def test_no_video_is_said(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"walk: .*; is it a video file"):
        cut_out(tmp_path / "none.mp4", (0.0, 1.0), "walk")
