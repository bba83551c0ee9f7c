"""The view: what is drawn where, and in which colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.body import BodyModel
from engines.covariance import ELLIPSOID_90, std_from_cov
from realtime.view.geometry import (
    ellipsoid_outline,
    ellipsoid_rings,
    project,
    through_lens,
    unit_rings,
)
from realtime.view.overlay import draw_dot, draw_overlay
from realtime.view.person_view import build_scene, colormap, sample_skeletons, std_colors
from realtime.view.renderer import (
    BACKGROUND,
    LEGEND_HEIGHT,
    Renderer,
    draw_legend,
    draw_mesh,
    legend_ticks,
    vertex_normals,
    view_intrinsics,
)
from realtime.view.scene import ViewConfig
from tests.support.views import CAMERA, standing

K = CAMERA.matrix
CONFIG = ViewConfig()


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


def test_std_of_an_isotropic_covariance() -> None:
    assert std_from_cov(np.eye(3) * 0.05**2) == pytest.approx(0.05)


def test_colors_grow_lighter_with_the_standard_deviation_and_saturate() -> None:
    lab = cv2.cvtColor(colormap()[None], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lab) >= 0).all()
    assert lab[-1] - lab[0] > 100
    end = CONFIG.max_std_cm / 100
    np.testing.assert_array_equal(
        std_colors(np.array([end, 10 * end]), CONFIG), [colormap()[255] / 255] * 2
    )


def test_legend_shows_the_color_of_each_of_its_ticks() -> None:
    legend = draw_legend(794, CONFIG)
    row = legend[37]
    bar = np.flatnonzero((row != BACKGROUND).any(axis=1))
    start, end = bar[0], bar[0] + round(0.40 * 794) - 1
    for value, _ in legend_ticks(CONFIG):
        x = round(start + (end - start) * value / CONFIG.max_std_cm)
        expected = std_colors(np.array(value / 100), CONFIG)[::-1] * 255
        np.testing.assert_allclose(row[x], expected, atol=4)
    assert legend.shape[0] == LEGEND_HEIGHT


def test_a_dot_is_centred_on_its_point() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    draw_dot(image, np.array([40.25, 60.75]), 6, (255, 255, 255), hollow=False)
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[0:100, 0:100] + 0.5  # pixel centres lie half a pixel from the corner
    center = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    np.testing.assert_allclose(center, [40.25, 60.75], atol=0.1)


def test_overlay_puts_a_joint_on_its_pixel_at_any_scale(body: BodyModel) -> None:
    frame = standing(body)
    scene = build_scene(frame, CONFIG)
    assert scene is not None
    for scale in (1.0, 0.6):
        drawn = draw_overlay(frame, scene, CONFIG, scale)
        assert drawn.shape == (round(480 * scale), round(640 * scale), 3)
        u, v = project(scene.joints[15], K) * scale
        expected = (scene.joint_colors[15] * 255)[::-1]
        np.testing.assert_allclose(drawn[int(v), int(u)], expected, atol=12)


def test_overlay_follows_the_lens(body: BodyModel) -> None:
    """OpenCV is the oracle of the distorted head; points behind the camera have no pixel."""
    wide = replace(CAMERA, fx=300.0, fy=300.0, dist=(-0.28, 0.09, 1e-3, -5e-4, 0.0))
    frame = replace(standing(body), intrinsics=wide)
    scene = build_scene(frame, CONFIG)
    assert scene is not None
    near = scene.joints - (0.8, 0.0, 1.5)
    uv = cv2.projectPoints(near, np.zeros(3), np.zeros(3), wide.matrix, np.array(wide.dist))[0][
        :, 0
    ]
    drawn = draw_overlay(frame, replace(scene, joints=near), CONFIG, 1.0)
    u, v = uv[15]
    assert np.linalg.norm(uv[15] - project(near[15], wide.matrix)) > 10
    np.testing.assert_allclose(drawn[int(v), int(u)], (scene.joint_colors[15] * 255)[::-1], atol=12)
    both = through_lens(np.stack([near, near * (1, 1, -1)]), wide)
    np.testing.assert_allclose(both[0], uv)
    assert np.isnan(both[1]).all()


def test_guesses_are_hollow() -> None:
    solid, hollow = (np.full((40, 40, 3), 90, np.uint8) for _ in range(2))
    draw_dot(solid, np.array([20.0, 20]), 8, (0, 0, 255), hollow=False)
    draw_dot(hollow, np.array([20.0, 20]), 8, (0, 0, 255), hollow=True)
    assert solid[20, 20].tolist() == [0, 0, 255]
    assert hollow[20, 20].tolist() == [90, 90, 90]


def test_skeletons_follow_the_weights_at_the_distance_of_the_best(body: BodyModel) -> None:
    person = standing(body).estimate.person
    assert person is not None
    count = len(person.hypotheses.weights)
    # Each one is a metre farther than the one before.
    away = np.arange(count)[:, None, None] * person.ray
    far = replace(
        person.hypotheses, joints=person.hypotheses.joints + away, weights=np.eye(count)[2]
    )
    drawn = sample_skeletons(far, person, 12)
    np.testing.assert_allclose(drawn, np.repeat(person.best.joints[None], 12, axis=0), atol=1e-12)
    sideways = np.arange(count)[:, None, None] * np.cross(person.ray, [0, 1, 0])
    spread = replace(
        person.hypotheses, joints=person.hypotheses.joints + sideways, weights=np.eye(count)[2]
    )
    np.testing.assert_allclose(sample_skeletons(spread, person, 3)[0], spread.joints[2], atol=1e-12)


def test_virtual_camera_looks_at_the_person(body: BodyModel) -> None:
    frame = standing(body)
    scene = build_scene(frame, CONFIG)
    assert scene is not None
    R, t = scene.T_view_cam[:3, :3], scene.T_view_cam[:3, 3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(project(R @ scene.middle + t, view_intrinsics(486, 680)), [243, 340])
    front = build_scene(frame, replace(CONFIG, orbit_deg=0.0, elevation_deg=0.0))
    assert front is not None and frame.estimate.person is not None
    ray = frame.estimate.person.ray
    np.testing.assert_allclose(front.T_view_cam[2, :3], ray, atol=1e-6)


def test_normals_of_the_body_point_outward(body: BodyModel) -> None:
    frame = standing(body)
    vertices = frame.surfaces[0].vertices
    faces = body.decimated.faces
    normals = vertex_normals(vertices, faces)
    volume = np.einsum(
        "fi,fi->",
        vertices[faces[:, 0]],
        np.cross(*vertices[faces[:, 1:]].swapaxes(0, 1)),
    )
    assert volume > 0
    head = vertices[vertices[:, 1].argmin()]
    assert normals[(vertices == head).all(axis=1)][0, 1] < -0.8  # y points down


def test_rasterizer_lets_the_nearer_triangle_win() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    camera = np.array([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]])
    near = np.array([[-1.0, -1, 2], [0, 1, 2], [1, -1, 2]])  # counter-clockwise along z with y down
    vertices = np.concatenate([near, near * [3, 3, 1] + [0, 0, 1]])
    colors = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 3, axis=0)
    for faces in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        canvas[:] = 0
        draw_mesh(canvas, vertices, colors, np.array(faces), camera)
        assert canvas[45, 50, 2] > 0 and canvas[45, 50, 0] == 0
        assert canvas[45, 28, 0] > 0 and canvas[45, 28, 2] == 0


def test_an_uncertain_arm_changes_color_and_gets_an_ellipsoid(body: BodyModel) -> None:
    frame = standing(body)
    person = frame.estimate.person
    assert person is not None
    cov = person.joint_cov.copy()
    cov[20] = np.eye(3) * 0.12**2
    unsure = replace(
        frame, estimate=replace(frame.estimate, people=(replace(person, joint_cov=cov),))
    )
    calm, scene = build_scene(frame, CONFIG), build_scene(unsure, CONFIG)
    assert calm is not None and scene is not None
    assert len(calm.ellipsoid_joints) == 0
    assert scene.ellipsoid_joints.tolist() == [20]
    assert (scene.joint_colors[20] != scene.joint_colors[21]).any()
    renderer = Renderer(body.decimated.faces)
    assert (renderer.compose(frame) != renderer.compose(unsure)).any()


@pytest.mark.parametrize("size", [(480, 640), (720, 720), (1280, 720), (2, 3)])
def test_composition_has_its_size_whatever_the_image(
    body: BodyModel, size: tuple[int, int]
) -> None:
    frame = standing(body)
    renderer = Renderer(body.decimated.faces)
    empty = replace(
        frame, image=np.zeros((*size, 3), np.uint8), estimate=replace(frame.estimate, people=())
    )
    for variant in (
        replace(frame, image=empty.image),
        replace(empty, surfaces=()),
    ):
        image = renderer.compose(variant)
        assert image.shape == (720, 1280, 3) and image.dtype == np.uint8


def test_a_person_behind_the_camera_is_drawn_without_complaint(body: BodyModel) -> None:
    frame = standing(body)
    person = frame.estimate.person
    assert person is not None
    behind = replace(person, best=replace(person.best, joints=person.best.joints - [0, 0, 3]))
    Renderer(body.decimated.faces).compose(
        replace(frame, estimate=replace(frame.estimate, people=(behind,)))
    )
