"""Scenes: where people stand, what is cropped, and how often."""

import numpy as np
import pytest

from engines.rotations import exp_so3, geodesic_angle
from trainer.render.scenes import (
    CROPS,
    UPPER_BODY,
    Scene,
    SceneConfig,
    _draw_pose,
    crop_window,
    draw_scene,
)


def draws(poses: tuple[np.ndarray, np.ndarray], count: int, **changes: float) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [draw_scene(*poses, SceneConfig(**changes), rng) for _ in range(count)]


def test_people_stand_in_front_of_the_camera_and_upright(
    poses: tuple[np.ndarray, np.ndarray],
) -> None:
    people = draws(poses, 200)
    up = np.array(
        [exp_so3(scene.rotvec[0])[:, 1] for scene in people]
    )  # the body's y axis in the camera frame
    tilt = np.degrees(np.arccos(-up[:, 1]))
    assert tilt.max() < 60 and np.median(tilt) < 20
    pelvis = np.array([scene.pelvis for scene in people])
    assert pelvis[:, 2].min() > 1.2
    front = np.array([exp_so3(scene.rotvec[0])[:, 2] for scene in people])
    assert 0.3 < (front[:, 2] < 0).mean() < 0.7  # half of them look away


def test_fields_of_view_lie_in_their_range(poses: tuple[np.ndarray, np.ndarray]) -> None:
    fov = [
        2 * np.degrees(np.arctan(max(s.size) / 2 / s.focal))
        for s in draws(poses, 100, fov_deg=(50.0, 60.0))
    ]
    assert 50 <= min(fov) < 52 and 58 < max(fov) <= 60


def test_without_truncation_the_person_fits(poses: tuple[np.ndarray, np.ndarray]) -> None:
    for scene in draws(poses, 100, truncate=0.0):
        x, y = scene.pelvis[:2] / scene.pelvis[2] * scene.focal + np.array(scene.size) / 2
        assert 0 < x < scene.size[0] and 0 < y < scene.size[1]
        assert 1.8 * scene.focal / scene.pelvis[2] < scene.size[1]


def test_arms_and_head_come_from_another_frame(poses: tuple[np.ndarray, np.ndarray]) -> None:
    upper, lower = list(UPPER_BODY), [i for i in range(1, 24) if i not in UPPER_BODY]
    for swap in (0.0, 1.0):
        for scene in draws(poses, 10, swap_upper=swap, jitter_rad=0.0):
            sources = [
                np.abs(poses[0][:, rows] - scene.rotvec[rows]).max((1, 2)).argmin()
                for rows in (lower, upper)
            ]
            for rows, source in zip((lower, upper), sources, strict=True):
                np.testing.assert_allclose(scene.rotvec[rows], poses[0][source, rows], atol=1e-9)
            assert swap == 1.0 or sources[0] == sources[1]


def test_jitter_turns_every_joint_a_little(poses: tuple[np.ndarray, np.ndarray]) -> None:
    jittered = draws(([poses[0][:1]][0], np.zeros(1, int)), 50, jitter_rad=0.06)
    angles = [geodesic_angle(exp_so3(s.rotvec[1:]), exp_so3(poses[0][0, 1:])) for s in jittered]
    assert np.sqrt(np.mean(np.square(angles)) / 3) == pytest.approx(0.06, rel=0.1)
    assert np.linalg.norm(np.array([s.rotvec for s in jittered]), axis=-1).max() <= np.pi + 1e-9


def test_clips_are_equally_likely_whatever_their_length(
    poses: tuple[np.ndarray, np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    picked = [_draw_pose(poses[0], poses[1], rng) for _ in range(400)]
    short = np.mean([(np.abs(poses[0][390:] - pose).max((1, 2)) == 0).any() for pose in picked])
    assert short == pytest.approx(0.5, abs=0.1)


def person_px() -> np.ndarray:
    """Joints of a person upright in a 640 by 480 image.

    Legs are below y = 240, arms at both sides, the head on top.
    """
    px = np.full((24, 2), (320.0, 240.0))
    px[[1, 4, 7, 10]] = [(300, 250), (300, 330), (300, 400), (300, 420)]
    px[[2, 5, 8, 11]] = [(340, 250), (340, 330), (340, 400), (340, 420)]
    px[[16, 18, 20, 22]] = [(280, 120), (240, 170), (230, 220), (228, 236)]
    px[[17, 19, 21, 23]] = [(360, 120), (400, 170), (410, 220), (412, 236)]
    px[[12, 15]] = [(320, 100), (320, 60)]
    return px


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ("whole", (0, 0, 640, 480)),
        (
            "legs",
            (228, 56, 412, 240),
        ),  # x 228 to 412, y 60 to 236: 184 wide, 176 high, middle (320, 148)
        (
            "arms and head",
            (235, 250, 405, 420),
        ),  # x 300 to 340, y 250 to 420: middle (320, 335), half 85
        (
            "arms",
            (140, 60, 500, 420),
        ),  # legs and head: x 300 to 340, y 60 to 420: middle (320, 240), half 180
    ],
)
def test_a_crop_is_the_tight_square_about_what_it_keeps(
    crop: str, expected: tuple[float, ...]
) -> None:
    scene = Scene(np.zeros((24, 3)), np.zeros(10), np.zeros(3), 500.0, (640, 480), crop)
    window = crop_window(scene, person_px())
    np.testing.assert_allclose(window, expected)
    kept = person_px()[list(CROPS[crop])]
    assert (kept >= window[:2]).all() and (kept <= window[2:]).all()


@pytest.mark.parametrize("crop", CROPS)
def test_no_window_reaches_beyond_the_image(crop: str) -> None:
    rng = np.random.default_rng(0)
    scene = Scene(np.zeros((24, 3)), np.zeros(10), np.zeros(3), 500.0, (640, 480), crop)
    for _ in range(30):
        left, top, right, bottom = crop_window(scene, rng.normal((320, 240), 200, (24, 2)))
        assert left >= 0 and top >= 0 and right <= 640 and bottom <= 480


def test_crops_and_occluders_are_drawn_as_often_as_asked(
    poses: tuple[np.ndarray, np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    config = SceneConfig(crops=(0.1, 0.2, 0.3, 0.4), occluders=False)
    people = [draw_scene(*poses, config, rng) for _ in range(600)]
    for crop, share in zip(CROPS, config.crops, strict=True):
        assert np.mean([scene.crop == crop for scene in people]) == pytest.approx(share, abs=0.06)
    assert not any(scene.occluders for scene in people)
