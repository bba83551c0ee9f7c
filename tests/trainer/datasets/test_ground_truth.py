"""Fits of a person's place against exact projections, and cameras as samples assume them."""

import numpy as np
import pytest

from engines.body import BodyModel
from tests.support.labelled_people import WIDE, rooted_joints
from tests.support.scenes import standing_pose
from trainer.datasets.ground_truth import centre_camera, fit_box, fit_translation


def test_the_pelvis_is_found_from_exact_keypoints(body: BodyModel) -> None:
    joints = rooted_joints(body, standing_pose(20.0))
    for pelvis in ([0.3, -0.2, 4.0], [-1.0, 0.4, 2.5]):
        px = WIDE.project(joints + pelvis)
        np.testing.assert_allclose(fit_translation(joints, px, WIDE), pelvis, atol=1e-9)


def test_a_fit_to_the_box_fills_it(body: BodyModel) -> None:
    joints = rooted_joints(body, standing_pose(20.0))
    center = np.array([300.0, 500.0])
    side = 240.0
    px = WIDE.project(joints + fit_box(joints, center, side, WIDE))
    np.testing.assert_allclose((px.min(0) + px.max(0)) / 2, center, atol=0.01)
    assert np.ptp(px, axis=0).max() == pytest.approx(side / 1.2, rel=1e-4)


def test_a_centred_camera_keeps_every_ray() -> None:
    points = np.random.default_rng(0).uniform(0, 700, (20, 2))
    focal, move = centre_camera(WIDE)
    moved = points @ move[:, :2].T + move[:, 2]
    np.testing.assert_allclose(
        (moved - np.array(WIDE.size) / 2) / focal, WIDE.rays(points), atol=1e-12
    )
