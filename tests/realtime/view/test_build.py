"""The scene of a frame: who is in it, where they stand, and what is remembered."""

from dataclasses import replace

import numpy as np
import pytest

from engines.body import BodyModel
from engines.types import FrameInfo, World
from realtime.view.build import SceneBuilder, bone_visible, limbs_of, sample
from realtime.view.geometry import frustum, level_world
from realtime.view.scene import Limb, ViewConfig, ViewFrame
from tests.support.views import CAMERA, standing, two_people

CONFIG = ViewConfig()


def at(frame: ViewFrame, time_s: float) -> ViewFrame:
    return replace(frame, estimate=replace(frame.estimate, frame=FrameInfo(0, 0, time_s)))


def test_everybody_is_in_the_scene_and_the_first_is_followed(body: BodyModel) -> None:
    scene = SceneBuilder(body)(two_people(body))
    assert [p.followed for p in scene.people] == [True, False]
    assert [p.track_id for p in scene.people] == [2, 9]
    assert scene.followed is scene.people[0]
    np.testing.assert_allclose(scene.people[1].joints - scene.people[0].joints, [[1.0, 0, 0]] * 24)


def test_without_gravity_the_camera_is_level_and_the_lowest_foot_on_the_floor(
    body: BodyModel,
) -> None:
    scene = SceneBuilder(body)(standing(body))
    assert (scene.upright, scene.floor_known) == ("assumed", False)
    person = scene.people[0]
    heights = scene.to_world(person.vertices)[:, 2]
    assert heights.min() == pytest.approx(0, abs=1e-6)
    assert scene.to_world(person.joints)[15, 2] > 1.4  # the head
    np.testing.assert_allclose(scene.to_world(np.zeros(3))[:2], 0)
    ahead = scene.to_world(np.array([0.0, 0, 1])) - scene.to_world(np.zeros(3))
    np.testing.assert_allclose(ahead, [0, 1, 0], atol=1e-12)


def test_a_known_world_is_taken_as_it_is(body: BodyModel) -> None:
    T = level_world(1.23)
    frame = standing(body)
    known = World(T, np.eye(2) * 1e-3, 0.05, "estimated")
    scene = SceneBuilder(body)(replace(frame, estimate=replace(frame.estimate, world=known)))
    assert (scene.upright, scene.floor_known) == ("estimated", True)
    np.testing.assert_array_equal(scene.T_world_cam, T)
    guess = replace(known, floor_std=float("inf"))
    scene = SceneBuilder(body)(replace(frame, estimate=replace(frame.estimate, world=guess)))
    assert not scene.floor_known
    assert scene.to_world(scene.people[0].vertices)[:, 2].min() == pytest.approx(0, abs=1e-6)


def test_trails_and_charts_reach_back_as_far_as_they_say(body: BodyModel) -> None:
    frame, build = standing(body), SceneBuilder(body)
    for i in range(150):
        scene = build(at(frame, i * 0.1))
    person = scene.people[0]
    assert len(person.trail) == pytest.approx(CONFIG.trail_s / 0.1, abs=1.1)
    assert person.history.time_s[-1] == pytest.approx(14.9)
    assert np.ptp(person.history.time_s) == pytest.approx(CONFIG.history_s, abs=0.11)
    assert person.history.joint_std.shape == (len(person.history.time_s), 24)
    np.testing.assert_allclose(person.trail[-1], person.joints[0])
    back = build(at(frame, 1.0)).people[0]
    assert len(back.trail) == len(back.history.time_s) == 1


def test_nothing_is_remembered_of_another_shot(body: BodyModel) -> None:
    frame, build = standing(body), SceneBuilder(body)
    first = build(at(frame, 0.0))
    (person,) = frame.estimate.people
    best = replace(person.best, joints=np.add(person.best.joints, [0, 1.0, 0]))
    surface = replace(frame.surfaces[0], vertices=np.add(frame.surfaces[0].vertices, [0, 1.0, 0]))
    lower = replace(
        at(frame, 0.1),
        estimate=replace(frame.estimate, people=(replace(person, best=best),)),
        surfaces=(surface,),
    )
    info = FrameInfo(1, 0, 0.1, shot=1)
    other = build(replace(lower, estimate=replace(lower.estimate, frame=info)))
    assert len(other.people[0].trail) == 1
    assert other.T_world_cam[2, 3] == pytest.approx(first.T_world_cam[2, 3] + 1.0)


def test_limbs_fade_slowly_but_what_is_said_is_of_this_frame(body: BodyModel) -> None:
    frame, build = standing(body), SceneBuilder(body)
    person = frame.estimate.people[0]
    hidden = replace(person, joint_visible=np.zeros(24))
    build(at(frame, 0.0))
    scene = build(at(replace(frame, estimate=replace(frame.estimate, people=(hidden,))), 0.05))
    assert 0.7 < scene.people[0].vertex_visible.min() < 0.9
    assert all(limb.guessed for limb in scene.people[0].limbs)
    assert scene.people[0].joint_visible.max() == 0


def test_words_of_a_limb() -> None:
    assert Limb("left arm", 0.061, 0.9).words == "left arm ± 6 cm"
    assert Limb("left leg", 0.21, 0.2).words == "left leg: guessed, ± 21 cm"


def test_a_limb_is_the_mean_of_its_joints() -> None:
    std, visible = np.full(24, 0.02), np.ones(24)
    std[[4, 7]], visible[7] = (0.03, 0.04), 0.0
    legs = {limb.name: limb for limb in limbs_of(std, visible)}
    assert legs["left leg"].std == pytest.approx(np.sqrt((0.03**2 + 0.04**2) / 2))
    assert legs["left leg"].visible == 0.5
    assert legs["right leg"].std == pytest.approx(0.02)


def test_the_forearm_lies_between_elbow_and_wrist() -> None:
    visible = np.ones(24)
    visible[20] = 0.0
    bones = bone_visible(visible)
    assert bones[18] == 0.5  # left elbow to wrist
    assert bones[20] == 0.5  # wrist to hand
    assert bones[16] == 1.0


def test_hypotheses_are_drawn_by_weight_at_the_place_of_the_best(body: BodyModel) -> None:
    frame = standing(body)
    person = frame.estimate.people[0]
    count = len(person.hypotheses.weights)
    away = 0.4 * np.arange(count)[:, None] * person.ray
    rotvec = np.array([[np.pi, 0, 0]] + [[0, 0, 0]] * 23)
    bodies = replace(
        person.hypotheses,
        rotvec=np.repeat(rotvec[None], count, axis=0),
        betas=np.zeros((count, 10)),
        transl=np.array([0.0, 0, 3]) + away,
        joints=person.hypotheses.joints + away[:, None],
    )
    far = replace(person, hypotheses=bodies)
    scene = SceneBuilder(body)(replace(frame, estimate=replace(frame.estimate, people=(far,))))
    drawn = scene.people[0]
    assert drawn.hypotheses.shape == (CONFIG.hypotheses, *drawn.vertices.shape)
    expected = np.repeat(drawn.vertices[None], CONFIG.hypotheses, axis=0)
    np.testing.assert_allclose(drawn.hypotheses, expected, atol=1e-5)
    only_third = replace(bodies, weights=np.eye(count)[2])
    assert sample(only_third, 4).tolist() == [2, 2, 2, 2]


def test_frustum_corners_project_to_the_image_corners() -> None:
    points = frustum(CAMERA, np.eye(4), 0.6)
    np.testing.assert_allclose(points[0], 0)
    np.testing.assert_allclose(points[1:, 2], 0.6)
    expected = [[0, 0], [640, 0], [640, 480], [0, 480]]
    np.testing.assert_allclose(CAMERA.project(points[1:]), expected, atol=1e-9)


def test_an_empty_frame_has_a_world_but_nobody(body: BodyModel) -> None:
    frame = standing(body)
    empty = replace(frame, estimate=replace(frame.estimate, people=()), surfaces=())
    scene = SceneBuilder(body)(empty)
    assert scene.people == () and scene.followed is None
    assert scene.frustum.shape == (5, 3)
