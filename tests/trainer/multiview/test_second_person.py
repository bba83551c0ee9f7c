"""A walker goes where the camera says, in front of the person of the recording or behind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.blazepose.landmarker import SIDE
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.types import Roi
from trainer.motion.clip import Motion
from trainer.multiview.rig import RigCamera
from trainer.multiview.second_person import (
    Composite,
    RenderedWalker,
    Silhouettes,
    Walker,
    composite,
)

CAMERA = RigCamera(
    Intrinsics(300.0, 300.0, 160.0, 120.0, (320, 240), (), "test"),
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),  # looks along y, z is up
    np.array([0.0, 1.0, 0.0]),  # at the height of 1 m
    Path(),
)
THROUGH = np.array([0.2, 4.0, 0.05])
FRAMES = 21


def _composite(
    image: np.ndarray,
    camera: RigCamera,
    walker: Walker,
    t: int,
    person_m: float,
    silhouette: np.ndarray | None,
) -> Composite:
    return composite(image, walker.seen_by(camera, image, t), person_m, silhouette)


@pytest.fixture(scope="module")
def walker(body: BodyModel) -> RenderedWalker:
    """Somebody stiff who glides 2 m along z of a world that is y up."""
    transl = np.column_stack([np.full(11, 5.0), np.full(11, 0.9), np.linspace(-1, 1, 11)])
    clip = Motion(np.zeros((11, 24, 3)), transl, 30.0, "glide", "nobody")
    return RenderedWalker.of(clip, body, FRAMES, THROUGH, np.array([1.0, 0.0]))


def test_the_walk_is_laid_through_the_place_on_the_floor(walker: RenderedWalker) -> None:
    pelvis = np.array([walker.posed(t).joints[0] for t in range(FRAMES)])
    np.testing.assert_allclose(pelvis[FRAMES // 2, :2], THROUGH[:2], atol=1e-5)
    np.testing.assert_allclose(pelvis[-1] - pelvis[0], (2.0, 0.0, 0.0), atol=1e-5)
    for t in (0, FRAMES // 2):
        posed = walker.posed(t)
        assert posed.vertices("decimated")[:, 2].min() == pytest.approx(THROUGH[2], abs=1e-3)
        head, ankle = posed.joints[15], posed.joints[7]
        assert head[2] - ankle[2] > 1.2  # upright
        assert (posed.joints[10] - ankle)[0] > 0.08  # the toes point where the walk goes


def test_the_walker_lies_where_the_camera_sees_the_body(walker: RenderedWalker) -> None:
    """In the middle of many walkers: the outline of one is as rough as a pixel."""
    camera = replace(CAMERA, intrinsics=replace(CAMERA.intrinsics, fx=311.3, fy=311.3))
    away = []
    for t in range(FRAMES):
        found = _composite(np.zeros((240, 320, 3), np.uint8), camera, walker, t, 6.0, None)
        vertices = camera.to_camera(walker.posed(t).vertices("decimated").astype(np.float64))
        pixels = camera.intrinsics.project(vertices)
        columns = np.flatnonzero(found.covered.any(0))
        middle = (columns[0] + columns[-1] + 1) / 2  # px from the corner of the image
        away.append(middle - (pixels[:, 0].min() + pixels[:, 0].max()) / 2)
    assert np.mean(away) == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("size", [64.0, 512.0])
def test_a_silhouette_lies_in_the_image_where_the_network_sees_it(
    monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    silhouettes = Silhouettes()
    logits = np.full((1, SIDE, SIDE, 1), -50.0, np.float32)
    logits[:, 64:-64, 96:-96] = 50.0

    def run() -> None:
        silhouettes._engine.outputs["silhouette"][:] = logits

    monkeypatch.setattr(silhouettes._engine, "run", run)
    center = np.array([301.0, 277.0])
    found = silhouettes(np.zeros((600, 640, 3), np.uint8), Roi(center, size, 0.0))
    rows, columns = found.sum(1), found.sum(0)
    middle = (columns @ np.arange(640), rows @ np.arange(600)) / found.sum() + 0.5
    np.testing.assert_allclose(middle, center, atol=0.02)


def test_in_front_the_walker_covers_and_behind_is_covered(walker: RenderedWalker) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    silhouette = np.zeros((240, 320))
    silhouette[:, 175:] = 1.0
    front = _composite(image, CAMERA, walker, FRAMES // 2, 6.0, silhouette)
    behind = _composite(image, CAMERA, walker, FRAMES // 2, 2.0, silhouette)
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


def test_who_is_beside_the_camera_or_behind_it_is_not_seen(walker: RenderedWalker) -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    turned = RigCamera(CAMERA.intrinsics, CAMERA.R * ([1.0], [1.0], [-1.0]), CAMERA.t, Path())
    found = _composite(image, turned, walker, 0, 5.0, None)
    assert (found.image == image).all() and not found.visible.any() and not found.covered.any()
