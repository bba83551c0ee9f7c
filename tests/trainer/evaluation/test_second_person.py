"""A walker goes where the camera says, in front of the person of the recording or behind."""

from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.camera import Intrinsics
from trainer.evaluation.second_person import Walker, composite
from trainer.evaluation.triangulation import RigCamera
from trainer.motion.clip import Motion

CAMERA = RigCamera(
    Intrinsics(300.0, 300.0, 160.0, 120.0, (320, 240), (), "test"),
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),  # looks along y, z is up
    np.array([0.0, 1.0, 0.0]),  # at the height of 1 m
    Path(),
)
THROUGH = np.array([0.2, 4.0, 0.05])
FRAMES = 21


@pytest.fixture(scope="module")
def walker(body: BodyModel) -> Walker:
    """Somebody stiff who glides 2 m along z of a world that is y up."""
    transl = np.column_stack([np.full(11, 5.0), np.full(11, 0.9), np.linspace(-1, 1, 11)])
    clip = Motion(np.zeros((11, 24, 3)), transl, 30.0, "glide", "nobody")
    return Walker.of(clip, body, FRAMES, THROUGH, np.array([1.0, 0.0]))


def test_the_walk_is_laid_through_the_place_on_the_floor(walker: Walker) -> None:
    pelvis = np.array([walker.posed(t).joints[0] for t in range(FRAMES)])
    np.testing.assert_allclose(pelvis[FRAMES // 2, :2], THROUGH[:2], atol=1e-5)
    np.testing.assert_allclose(pelvis[-1] - pelvis[0], (2.0, 0.0, 0.0), atol=1e-5)
    for t in (0, FRAMES // 2):
        posed = walker.posed(t)
        assert posed.vertices("decimated")[:, 2].min() == pytest.approx(THROUGH[2], abs=1e-3)
        head, ankle = posed.joints[15], posed.joints[7]
        assert head[2] - ankle[2] > 1.2  # upright


def test_in_front_the_walker_covers_and_behind_is_covered(walker: Walker) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    silhouette = np.zeros((240, 320))
    silhouette[:, 175:] = 1.0
    front = composite(image, CAMERA, walker, FRAMES // 2, 6.0, silhouette)
    behind = composite(image, CAMERA, walker, FRAMES // 2, 2.0, silhouette)
    assert front.in_front and not behind.in_front
    np.testing.assert_allclose(front.joints_px, behind.joints_px)
    np.testing.assert_allclose(
        front.joints_px[0], CAMERA.intrinsics.project(CAMERA.to_camera(
            walker.posed(FRAMES // 2).joints.astype(float)))[0], atol=1e-3,
    )  # fmt: skip
    assert front.visible.mean() > 0.5 and front.covered[:, 175:].any()
    assert (
        not behind.covered[:, 175:].any() and not behind.visible[front.joints_px[:, 0] > 180].any()
    )
    changed = (behind.image != image).any(-1)
    assert changed[:, :172].any() and not changed[:, 175:].any()


def test_who_is_beside_the_camera_or_behind_it_is_not_seen(walker: Walker) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    turned = RigCamera(CAMERA.intrinsics, CAMERA.R * ([1.0], [1.0], [-1.0]), CAMERA.t, Path())
    found = composite(image, turned, walker, 0, 5.0, None)
    assert (found.image == image).all() and not found.visible.any() and not found.covered.any()
