"""What browsers draw of a scene: meshes that other programs read, ghosts, labels, cameras."""

import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from engines.body import BodyModel
from engines.covariance import ELLIPSOID_90
from engines.types import Estimate, FrameInfo
from realtime.view.build import SceneBuilder
from realtime.view.scene import ViewConfig, ViewFrame
from realtime.view.web import glb
from realtime.view.web.cameras import Camera, camera_of
from realtime.view.web.frame import FrameMaker, WebFrame
from tests.support.views import CAMERA, noise_frame, standing

CONFIG = ViewConfig()


@pytest.fixture(scope="module")
def someone(body: BodyModel) -> ViewFrame:
    frame = standing(body)
    return replace(frame, estimate=replace(frame.estimate, world=None))


def made(body: BodyModel, frame: ViewFrame) -> WebFrame:
    return FrameMaker(body.decimated.faces)(0, SceneBuilder(body, CONFIG)(frame))


def several(frame: ViewFrame, count: int) -> ViewFrame:
    """The same person several times, a metre apart."""
    person, surface = frame.estimate.people[0], frame.surfaces[0]
    steps = [np.array([i, 0.0, 0.0]) for i in range(count)]
    people = tuple(
        replace(person, track_id=i, best=replace(person.best, joints=person.best.joints + steps[i]))
        for i in range(count)
    )
    surfaces = tuple(replace(surface, vertices=surface.vertices + step) for step in steps)
    return replace(frame, estimate=replace(frame.estimate, people=people), surfaces=surfaces)


def test_another_program_reads_the_mesh() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    rgba = np.array([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0.25]])
    solid, translucent = np.array([[0, 1, 2]]), np.array([[0, 1, 3], [1, 2, 3]])
    file = io.BytesIO(glb.encode(vertices, rgba, solid, translucent))
    meshes = list(trimesh.load(file, file_type="glb", process=False).geometry.values())
    assert [mesh.faces.tolist() for mesh in meshes] == [solid.tolist(), translucent.tolist()]
    for mesh in meshes:
        np.testing.assert_allclose(mesh.vertices, vertices)
    only = io.BytesIO(glb.encode(vertices, rgba, solid, translucent[:0]))
    assert len(trimesh.load(only, file_type="glb").geometry) == 1


def test_many_vertices_need_longer_indices() -> None:
    vertices = np.random.default_rng(0).normal(size=(70_000, 3))
    faces = np.array([[0, 1, 69_999]])
    data = glb.encode(vertices, np.ones((70_000, 4)), faces, faces[:0])
    (mesh,) = trimesh.load(io.BytesIO(data), file_type="glb", process=False).geometry.values()
    assert mesh.faces.tolist() == faces.tolist()


def test_people_stand_on_the_floor_and_are_named(body: BodyModel, someone: ViewFrame) -> None:
    frame = made(body, several(someone, 3))
    (mesh,) = trimesh.load(io.BytesIO(frame.bodies), file_type="glb").geometry.values()
    assert len(mesh.vertices) == 3 * len(someone.surfaces[0].vertices)
    assert pytest.approx(mesh.vertices[:, 2].min(), abs=1e-4) == 0
    assert 1.4 < mesh.vertices[:, 2].max() < 2.1, "upright"
    assert [label.text for label in frame.labels] == [f"person {i}: ± 1 cm" for i in range(3)]
    assert all(label.position[2] > mesh.vertices[:, 2].max() for label in frame.labels)
    assert "3 people" in frame.words and "person 2" in frame.words and "m away" in frame.words
    np.testing.assert_allclose(frame.shadows.vertices[:, 2], 0, atol=1e-9)


def test_the_camera_views_image_lies_behind_everybody(body: BodyModel, someone: ViewFrame) -> None:
    shown = several(someone, 2)
    frame, scene = made(body, shown), SceneBuilder(body, CONFIG)(shown)
    apex, corners = frame.frustum[0], frame.frustum[1:]
    depths = frame.behind * (corners - apex) @ scene.T_world_cam[:3, 2]
    assert (depths > max(s.vertices[:, 2].max() for s in shown.surfaces)).all()


def test_nobody_is_a_scene_too(body: BodyModel) -> None:
    frame = made(body, noise_frame(0))
    assert frame.bodies == b"" and frame.labels == () and len(frame.trails) == 0
    assert len(frame.shadows.faces) == len(frame.ghosts.faces) == len(frame.ellipsoids.wxyz) == 0
    assert "nobody found" in frame.words and np.isfinite(frame.middle).all()


def test_hypotheses_appear_where_they_differ_alone(body: BodyModel, someone: ViewFrame) -> None:
    person = someone.estimate.people[0]
    bodies = person.hypotheses
    rotvec = np.repeat([[[np.pi, 0, 0], *[[0, 0, 0]] * 23]], 5, axis=0).astype(float)
    rotvec[1:, 18] = (0.0, -1.2, 0.0)  # the left elbow
    posed = body.shaped(np.zeros((5, 10))).posed(rotvec, np.tile([0.0, 0, 3], (5, 1)))
    hypotheses = replace(
        bodies, rotvec=rotvec, betas=np.zeros((5, 10)), joints=posed.joints,
        transl=np.tile([0.0, 0, 3], (5, 1)),
    )  # fmt: skip
    person = replace(person, hypotheses=hypotheses)
    frame = replace(someone, estimate=replace(someone.estimate, people=(person,)))
    ghosts = made(body, frame).ghosts
    assert len(ghosts.faces) > 0
    drawn = ghosts.vertices[ghosts.faces]
    elbow = SceneBuilder(body, CONFIG)(frame).to_world(person.best.joints[18])
    assert np.linalg.norm(drawn - elbow, axis=-1).max() < 0.6, "an arm and nothing else"


def test_an_ellipsoid_has_the_axes_of_the_covariance(body: BodyModel, someone: ViewFrame) -> None:
    person = someone.estimate.people[0]
    cov = np.tile(np.eye(3) * 0.01**2, (24, 1, 1))
    cov[20] = np.diag([0.1, 0.2, 0.3]) ** 2
    frame = replace(
        someone,
        estimate=replace(someone.estimate, people=(replace(person, joint_cov=cov),)),
    )
    drawn, scene = made(body, frame).ellipsoids, SceneBuilder(body, CONFIG)(frame)
    assert len(drawn.centers) == 1
    np.testing.assert_allclose(drawn.centers[0], scene.to_world(person.best.joints[20]))
    np.testing.assert_allclose(
        np.sort(drawn.half_axes[0]), np.sqrt(ELLIPSOID_90) * np.array([0.1, 0.2, 0.3]), rtol=1e-6
    )
    w, x, y, z = drawn.wxyz[0]
    longest = np.argmax(drawn.half_axes[0])
    columns = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    along = scene.T_world_cam[:3, 2]  # the camera's z has the largest variance
    assert abs(columns[:, longest] @ along) == pytest.approx(1, abs=1e-6)


def pixel(camera: Camera, point: np.ndarray, width: int, height: int) -> np.ndarray:
    """Project a point of the world with a virtual camera."""
    forward = camera.look_at - camera.position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, camera.up)
    right /= np.linalg.norm(right)
    offset = point - camera.position
    focal = height / 2 / np.tan(camera.fov / 2)
    x, y = offset @ right, -offset @ np.cross(right, forward)
    return np.array([width / 2, height / 2]) + focal * np.array([x, y]) / (offset @ forward)


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (400, 800)])
def test_the_real_cameras_view_is_its_image(
    body: BodyModel, someone: ViewFrame, width: int, height: int
) -> None:
    frame = made(body, someone)
    camera = camera_of("camera", frame, width / height)
    joints = someone.estimate.people[0].best.joints
    scale = min(width / CAMERA.size[0], height / CAMERA.size[1])
    scene = SceneBuilder(body, CONFIG)(someone)
    for joint, uv in zip(scene.to_world(joints), CAMERA.project(joints), strict=True):
        expected = np.array([width / 2, height / 2]) + scale * (uv - np.array(CAMERA.size) / 2)
        np.testing.assert_allclose(pixel(camera, joint, width, height), expected, atol=1e-3)


def test_a_rolled_camera_is_viewed_as_it_is_held(body: BodyModel, someone: ViewFrame) -> None:
    frame = made(body, someone)
    roll = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    rolled = replace(frame, T_world_cam=frame.T_world_cam @ roll)
    camera = camera_of("camera", rolled, 1.0)
    np.testing.assert_allclose(camera.up, -rolled.T_world_cam[:3, 1])


@pytest.mark.parametrize("view", ["orbit", "side", "top"])
@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_every_view_holds_everybody(
    body: BodyModel, someone: ViewFrame, view: str, aspect: float
) -> None:
    shown = several(someone, 3)
    camera = camera_of(view, made(body, shown), aspect)  # pyright: ignore[reportArgumentType]
    scene = SceneBuilder(body, CONFIG)(shown)
    for person in scene.people:
        for joint in scene.to_world(person.joints):
            x, y = pixel(camera, joint, round(400 * aspect), 400)
            assert 0 < x < 400 * aspect and 0 < y < 400


def test_a_portrait_image_is_made_small(body: BodyModel) -> None:
    frame = noise_frame(0)
    image = np.zeros((1920, 1080, 3), np.uint8)
    image[:, :, 0] = 255  # blue in BGR
    shown = ViewFrame(image, Estimate(FrameInfo(0, 0, 0.0)), (), frame.status, frame.intrinsics)
    small = made(body, shown).image
    assert small.shape == (640, 360, 3) and (small == (0, 0, 255)).all()
