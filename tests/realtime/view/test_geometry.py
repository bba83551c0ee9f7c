"""Projections, ellipsoids and the virtual camera of the world."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.covariance import ELLIPSOID_90
from realtime.view.geometry import (
    box_around,
    ellipsoid_outline,
    ellipsoid_rings,
    project,
    shadow,
    through_lens,
    unit_rings,
)
from realtime.view.state import SIDE, TOP, Orbit, shoulder
from realtime.view.world_camera import directions, fit, place
from tests.support.views import CAMERA

K = CAMERA.matrix


def random_cov(seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(3, 3)) * 0.1
    return root @ root.T + 1e-4 * np.eye(3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_ellipsoid_surface_has_the_right_mahalanobis_distance(seed: int) -> None:
    cov, center = random_cov(seed), np.array([0.1, -0.2, 3.0])
    away = ellipsoid_rings(center, cov) - center
    squared = np.einsum("ni,ij,nj->n", away, np.linalg.inv(cov), away)
    np.testing.assert_allclose(squared, ELLIPSOID_90, rtol=1e-6)


def test_ninety_percent_of_draws_lie_in_the_ellipsoid() -> None:
    draws = np.random.default_rng(0).standard_normal((200_000, 3))
    inside = np.mean((draws**2).sum(axis=1) < ELLIPSOID_90)
    assert inside == pytest.approx(0.9, abs=0.003)  # four standard errors


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_outline_is_the_hull_of_the_projected_ellipsoid(seed: int) -> None:
    cov, center = random_cov(seed), np.array([0.4, -0.3, 4.0])
    outline = ellipsoid_outline(center, cov, K)
    assert outline is not None
    directions = np.random.default_rng(seed).normal(size=(4000, 3))
    sphere = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    surface = sphere @ np.linalg.cholesky(ELLIPSOID_90 * cov).T + center
    hull = cv2.convexHull(project(surface, K).astype(np.float32))
    ellipse = outline.astype(np.float32)[:, None]
    shared, _ = cv2.intersectConvexConvex(ellipse, hull)
    assert shared == pytest.approx(cv2.contourArea(ellipse), rel=0.02)
    assert shared == pytest.approx(cv2.contourArea(hull), rel=0.02)


def test_no_outline_for_an_ellipsoid_that_reaches_behind_the_camera() -> None:
    assert ellipsoid_outline(np.array([0.0, 0, 0.2]), np.eye(3), K) is None


def test_rings_are_closed_loops_on_the_unit_sphere() -> None:
    points, lines = unit_rings()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    assert (np.bincount(lines.ravel(), minlength=len(points)) == 2).all()


def test_points_behind_the_camera_have_no_pixel() -> None:
    points = np.array([[0.1, 0.2, 2.0], [0.1, 0.2, -2.0]])
    for uv in (project(points, K), through_lens(points, CAMERA)):
        assert np.isfinite(uv[0]).all() and np.isnan(uv[1]).all()


def test_a_shadow_lies_straight_below_on_the_floor() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    fallen = shadow(points)
    np.testing.assert_array_equal(fallen[:, 2], 0)
    np.testing.assert_array_equal(fallen[:, :2], points[:, :2])


def test_box_is_cut_at_the_image_and_none_outside() -> None:
    points = np.array([[5.0, 5], [20, 9], [np.nan, 1]])
    assert box_around(points, (100, 100, 3), margin=6) == (0, 0, 26, 15)
    assert box_around(points - 500, (100, 100, 3)) is None
    assert box_around(np.full((3, 2), np.nan), (100, 100, 3)) is None


@pytest.mark.parametrize("orbit", [shoulder(0.7), shoulder(1.4), SIDE, TOP, Orbit(-150.0, 40.0)])
@pytest.mark.parametrize("aspect", [0.6, 1.0, 1.8])
def test_everything_that_must_fit_is_in_the_picture(orbit: Orbit, aspect: float) -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform([-1, 1, 0], [1.5, 5, 1.9], (60, 3))
    size = (round(600 * aspect), 600)
    camera = place(fit(points, orbit, aspect), orbit, size)
    uv = project(camera.see(points), camera.K)
    assert ((uv > 0) & (uv < size)).all()
    filled = np.ptp(uv, axis=0) / size
    assert filled.max() > 0.75  # and no room is wasted


def test_orbits_look_where_they_say() -> None:
    np.testing.assert_allclose(directions(Orbit(0.0, 0.0))[2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(directions(Orbit(90.0, 0.0))[2], [-1, 0, 0], atol=1e-12)
    assert directions(TOP)[2, 2] < -0.99
    for orbit in (shoulder(1.0), SIDE, TOP):
        R = directions(orbit)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1)
        assert R[1, 2] <= 0  # the world's up is up in the picture


def test_zoom_enlarges_and_pan_moves() -> None:
    points = np.random.default_rng(1).uniform([-1, 1, 0], [1, 4, 1.9], (30, 3))
    base = shoulder(1.0)
    found = fit(points, base, 1.0)

    def seen(orbit: Orbit) -> np.ndarray:
        camera = place(found, orbit, (500, 500))
        return project(camera.see(points), camera.K)

    plain = seen(base)
    np.testing.assert_allclose(seen(base.zoomed(2.0)) - 250, 2 * (plain - 250))
    np.testing.assert_allclose(seen(base.panned(0.1, 0.2)) - plain, np.tile([50.0, -100], (30, 1)))
    assert base.turned(0, 500).elevation_deg < 90
