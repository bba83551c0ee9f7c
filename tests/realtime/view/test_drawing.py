"""The picture: what is drawn where, and in which colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from engines.body import BodyModel
from realtime.view.bodies import differing_outlines, runs, solid_share
from realtime.view.build import SceneBuilder
from realtime.view.colors import colormap, std_bgr, std_colors
from realtime.view.geometry import project
from realtime.view.image_panel import draw_dot, draw_image_panel, to_panel
from realtime.view.layout import arrange
from realtime.view.renderer import Renderer
from realtime.view.scene import ViewConfig, ViewFrame
from realtime.view.state import Layers, Position, ViewState, shoulder
from realtime.view.world_camera import SteadyCamera
from realtime.view.world_panel import draw_world_panel, notes, points_in_panel
from tests.support.views import CAMERA, standing

CONFIG = ViewConfig()
SIZE = (1280, 720)


def test_colors_grow_lighter_with_the_standard_deviation_and_saturate() -> None:
    lab = cv2.cvtColor(colormap()[None], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lab) >= 0).all()
    assert lab[-1] - lab[0] > 100
    end = CONFIG.max_std_cm / 100
    colors = std_colors(np.array([end, 10 * end]), CONFIG.max_std_cm)
    np.testing.assert_array_equal(colors, [colormap()[255] / 255] * 2)
    assert std_bgr(end, CONFIG.max_std_cm) == tuple(int(c) for c in colormap()[255][::-1])


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_the_scale_is_told_apart_without_red_or_green(kind: str) -> None:
    """Machado, Oliveira and Fernandes (2009), severity 1.0, in linear RGB."""
    matrix = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
    }[kind]  # fmt: skip
    srgb = colormap()[::51] / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    back = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(back.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.min() > 10  # 2.3 is just noticeable


def test_a_dot_is_centred_on_its_point() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    draw_dot(image, np.array([40.25, 60.75]), 6, (255, 255, 255))
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[0:100, 0:100] + 0.5  # pixel centres lie half a pixel from the corner
    center = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    np.testing.assert_allclose(center, [40.25, 60.75], atol=0.1)


def panel(body: BodyModel, frame: ViewFrame, state: ViewState | None = None) -> np.ndarray:
    scene = SceneBuilder(body)(frame)
    layout = arrange(SIZE, (640, 480))
    return draw_image_panel(scene, body.decimated.faces, layout, state or ViewState())


def moved(frame: ViewFrame, where: list[float]) -> ViewFrame:
    person = frame.estimate.people[0]
    joints = person.best.joints + np.array(where)
    best = replace(person.best, joints=joints)
    surface = replace(frame.surfaces[0], vertices=frame.surfaces[0].vertices + np.array(where))
    other = replace(person, best=best, ray=joints[0] / np.linalg.norm(joints[0]))
    people = (other,)
    return replace(frame, surfaces=(surface,), estimate=replace(frame.estimate, people=people))


def changed(image: np.ndarray) -> np.ndarray:
    """Where something lies on the plain gray image."""
    return (np.abs(image.astype(int) - 90) > 8).any(axis=2)


@pytest.mark.parametrize("where", [[0.0, 0, 0], [0.6, 0.2, 0.5]])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_body_lies_on_the_person(body: BodyModel, where: list[float], mirror: bool) -> None:
    """OpenCV is the oracle of the lens."""
    wide = replace(CAMERA, fx=500.0, fy=500.0, dist=(-0.28, 0.09, 1e-3, -5e-4, 0.0))
    frame = replace(moved(standing(body), where), intrinsics=wide)
    drawn = panel(body, frame, ViewState(mirror=mirror))
    height, width = drawn.shape[:2]
    still = np.zeros(3)
    points = frame.surfaces[0].vertices
    uv = cv2.projectPoints(points, still, still, wide.matrix, np.array(wide.dist))[0][:, 0]
    uv *= width / 640
    if mirror:
        uv[:, 0] = width - uv[:, 0]
    covered = changed(drawn)
    inside = (uv > 1).all(axis=1) & (uv < [width - 2, height - 2]).all(axis=1)
    assert covered[uv[inside, 1].astype(int), uv[inside, 0].astype(int)].mean() > 0.9
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert columns.min() == pytest.approx(max(uv[:, 0].min(), 0), abs=8)
    assert columns.max() == pytest.approx(min(uv[:, 0].max(), width), abs=8)
    assert rows.max() == pytest.approx(min(uv[:, 1].max(), height), abs=8)


def test_an_occluded_limb_is_a_ghost(body: BodyModel) -> None:
    frame = standing(body)
    person = frame.estimate.people[0]
    visible = np.ones(24)
    visible[[18, 20, 22]] = 0.05
    guessed = replace(person, joint_visible=visible)
    ghost = replace(frame, estimate=replace(frame.estimate, people=(guessed,)))
    solid, faded = panel(body, frame), panel(body, ghost)
    scene = SceneBuilder(body)(frame)
    layout = arrange(SIZE, (640, 480))
    uv = to_panel(scene, person.best.joints, layout, mirror=False).astype(int)
    elbow, wrist, other = uv[18], uv[20], uv[21]
    forearm = (elbow + wrist) // 2

    def strength(image: np.ndarray, at: np.ndarray) -> float:
        return float(np.abs(image[at[1], at[0]].astype(int) - 90).max())

    assert 5 < strength(faded, forearm) < 0.85 * strength(solid, forearm)
    np.testing.assert_array_equal(faded[other[1], other[0]], solid[other[1], other[0]])
    without = panel(body, ghost, ViewState(layers=Layers(guesses=False)))
    assert strength(without, forearm) < 3


def test_ghost_and_solid_share_every_surface() -> None:
    share = solid_share(np.linspace(0, 1, 101))
    assert share[0] == 0 and share[-1] == 1 and (np.diff(share) >= 0).all()


def test_outlines_are_drawn_only_where_bodies_differ() -> None:
    best, other = np.zeros((2, 80, 80), np.uint8)
    best[20:60, 20:40] = 1
    other[20:60, 20:40] = 1
    assert differing_outlines(best, [other], 4.0) == []
    other[30:40, 40:70] = 1  # an arm
    lines = differing_outlines(best, [other], 4.0)
    assert len(lines) == 1
    assert lines[0][:, 0].min() > 40 and lines[0][:, 0].max() == pytest.approx(70, abs=2)
    assert differing_outlines(best, [np.zeros_like(best)], 4.0) == []


def test_runs_go_round_the_loop() -> None:
    flags = np.array([1, 1, 0, 0, 1, 0, 1], bool)
    assert [run.tolist() for run in runs(flags)] == [[4], [6, 0, 1]]
    assert runs(np.zeros(4, bool)) == []
    assert runs(np.ones(3, bool))[0].tolist() == [0, 1, 2, 0]


def world(body: BodyModel, frame: ViewFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the panel, and where the joints are in it."""
    scene = SceneBuilder(body)(frame)
    layout = arrange(SIZE, (640, 480))
    state = ViewState()
    renderer = Renderer(body)
    camera = renderer.camera(scene, state, layout)
    drawn = draw_world_panel(scene, body.decimated.faces, layout, state, camera)
    return drawn, points_in_panel(scene, scene.people[0].joints, camera)


def test_the_person_stands_upright_in_the_world_with_a_shadow(body: BodyModel) -> None:
    frame = standing(body)
    with_body, uv = world(body, frame)
    head, ankles = uv[15], uv[[7, 8]].mean(axis=0)
    assert ankles[1] - head[1] > 150 and abs(ankles[0] - head[0]) < 20
    x, y = uv[3].astype(int)
    assert with_body[y, x, 0] > with_body[y, x, 2] + 20  # certain is blue
    empty = replace(frame, surfaces=())
    without, _ = world(body, empty)
    darker = without.astype(int).sum(axis=2) - with_body.astype(int).sum(axis=2) > 60
    rows = np.flatnonzero(darker.any(axis=1))
    assert rows.size and rows.max() > ankles[1] - 5


def test_what_is_assumed_is_said(body: BodyModel) -> None:
    scene = SceneBuilder(body)(standing(body))
    assert notes(scene) == ["assumed: camera held level", "assumed: floor below the lowest foot"]
    assert notes(replace(scene, upright="estimated", floor_known=True)) == []


def test_an_uncertain_wrist_changes_color_and_gets_an_ellipsoid(body: BodyModel) -> None:
    frame = standing(body)
    person = frame.estimate.people[0]
    cov = person.joint_cov.copy()
    cov[20] = np.eye(3) * 0.12**2
    people = (replace(person, joint_cov=cov),)
    unsure = replace(frame, estimate=replace(frame.estimate, people=people))
    calm, scene = SceneBuilder(body)(frame), SceneBuilder(body)(unsure)
    assert len(calm.people[0].ellipsoid_joints) == 0
    assert scene.people[0].ellipsoid_joints.tolist() == [20]
    assert (world(body, frame)[0] != world(body, unsure)[0]).any()


def test_the_camera_of_the_world_holds_still_for_small_moves(body: BodyModel) -> None:
    follow, build = SteadyCamera(), SceneBuilder(body)
    places = []
    layout = arrange(SIZE, (640, 480))
    for i, x in enumerate([0.0, 0.03, -0.02, 0.05]):
        frame = moved(standing(body), [x, 0, 0])
        info = replace(frame.estimate.frame, media_time_s=i / 30)
        frame = replace(frame, estimate=replace(frame.estimate, frame=info))
        size = (layout.world.width, layout.world.height)
        places.append(follow(build(frame), shoulder(1.0), size).eye)
    np.testing.assert_allclose(places, [places[0]] * 4)
    other = replace(frame.estimate.frame, shot=1)  # nothing of the place before is kept
    frame = moved(frame, [0.05, 0, 0])
    aimed = follow(
        build(replace(frame, estimate=replace(frame.estimate, frame=other))), shoulder(1.0), size
    )
    assert np.linalg.norm(aimed.eye - places[0]) > 0.04
    frame = moved(standing(body), [3.0, 0, 2.0])
    info = replace(frame.estimate.frame, media_time_s=2.0)
    far = build(replace(frame, estimate=replace(frame.estimate, frame=info)))
    camera = follow(far, shoulder(1.0), (500, 500))
    assert np.linalg.norm(camera.eye - places[0]) > 0.3
    assert np.isfinite(project(camera.see(far.to_world(far.people[0].joints)), camera.K)).all()


def test_the_camera_of_the_world_hurries_after_somebody_who_leaves_the_panel(
    body: BodyModel,
) -> None:
    """Within half a second all of a runner is visible again; a calm glide has gone half the way."""
    follow, build = SteadyCamera(), SceneBuilder(body)
    inside = []
    for i in range(17):
        frame = moved(standing(body), [0.0 if i == 0 else 4.0, 0, 0])
        info = replace(frame.estimate.frame, media_time_s=i / 30)
        scene = build(replace(frame, estimate=replace(frame.estimate, frame=info)))
        camera = follow(scene, shoulder(1.0), (500, 500))
        joints = project(camera.see(scene.to_world(scene.people[0].joints)), camera.K)
        inside.append(bool(((joints >= 0) & (joints < 500)).all()))
    assert inside[0] and not inside[1] and inside[-1]


@pytest.mark.parametrize("shape", [(480, 640), (720, 720), (1280, 720), (2, 3)])
@pytest.mark.parametrize("size", [(1280, 720), (900, 500), (300, 200)])
def test_composition_has_its_size_whatever_the_image(
    body: BodyModel, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    frame = standing(body)
    renderer = Renderer(body)
    image = np.zeros((*shape, 3), np.uint8)
    empty = replace(frame, image=image, estimate=replace(frame.estimate, people=()), surfaces=())
    state = ViewState(
        layers=Layers(landmarks=True), joint=20, position=Position(3.0, 60.0), message="saved"
    )
    for variant in (replace(frame, image=image), empty, replace(frame, surfaces=())):
        drawn = renderer.draw(renderer.scene(variant), state, size)
        assert drawn.shape == (size[1], size[0], 3) and drawn.dtype == np.uint8


def test_a_person_behind_the_camera_is_drawn_without_complaint(body: BodyModel) -> None:
    frame = moved(standing(body), [0, 0, -6])
    Renderer(body).compose(frame)
    people = replace(frame.estimate.people[0], best=standing(body).estimate.people[0].best)
    Renderer(body).compose(replace(frame, estimate=replace(frame.estimate, people=(people,))))
