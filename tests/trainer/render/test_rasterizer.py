"""The painter: what covers what, and which joints show."""

import cv2
import numpy as np

from engines.body import BodyModel
from engines.types import JOINT_NAMES, PARENTS
from trainer.render import rasterizer as render


def two_triangles() -> render.Figure:
    """Part 1 is `far` by its depth; part 2 lies in front of half of it; part 3 turns its back."""
    faces = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    no = np.zeros(3, bool)
    return render.Figure(faces, np.array([1, 2, 3]), no, no)


def test_nearer_faces_cover_farther_ones_and_backs_are_not_painted() -> None:
    big = np.array([[10.0, 10], [10, 90], [90, 10]])
    pixels = np.concatenate(
        [big, [[10, 10], [10, 40], [40, 10]], [[95, 95], [99, 60], [60, 99]][::-1]]
    )
    depth = np.repeat([3.0, 2.0, 1.0], 3)
    area = np.cross(pixels[7] - pixels[6], pixels[8] - pixels[6])
    if area < 0:
        pixels[[7, 8]] = pixels[[8, 7]]
    vertices = np.column_stack([pixels / 100, depth])
    blank = np.full((100, 100, 3), 7, np.uint8)
    for order in ([0, 1, 2], [1, 0, 2]):
        figure = two_triangles()
        figure = render.Figure(
            figure.faces[order], figure.face_part[order], figure.is_hair, figure.is_eye
        )
        painting = render.paint(figure, vertices, pixels, 100, blank, np.random.default_rng(0))
        assert painting.part[15, 15] == 2 and painting.part[15, 70] == 1
        assert (painting.part != 3).all()
        assert ((painting.image != 7).any(-1) == (painting.part != render.NOBODY)).mean() > 0.99
    assert (blank == 7).all()


def test_whatever_is_painted_in_front_shows_no_body() -> None:
    changed_somewhere = False
    for seed in range(8):
        painting = render.Rendering(
            np.full((128, 128, 3), 3, np.uint8), np.full((128, 128), 5, np.uint8)
        )
        render.occlude(painting, np.array([[64.0, 64.0]]), 80, np.random.default_rng(seed))
        changed = (painting.image != 3).any(-1)
        assert (painting.part[changed] == render.NOBODY).all()
        assert (painting.part[~changed] == 5).mean() > 0.99
        changed_somewhere |= bool(changed.any())
    assert changed_somewhere


def test_a_joint_is_visible_where_its_part_or_a_neighbour_shows() -> None:
    part = np.full((100, 100), render.NOBODY, np.uint8)
    knee, ankle, hip = (JOINT_NAMES.index(name) for name in ("left_knee", "left_ankle", "left_hip"))
    part[20:41, 20:41] = knee
    part[60:81, 20:41] = JOINT_NAMES.index("right_wrist")
    part[60:81, 60:81] = hip
    joints = np.full((24, 2), 95.0)  # where nothing is painted
    joints[knee], joints[ankle], joints[hip] = (30, 30), (31, 29), (70, 30)
    assert np.flatnonzero(render.visible_joints(part, joints, 5)).tolist() == [knee, ankle]
    joints[knee], joints[ankle] = (70, 70), (30, 70)  # on the thigh; behind a hand
    assert np.flatnonzero(render.visible_joints(part, joints, 5)).tolist() == [knee]
    joints[knee] = (-3, 30)
    assert not render.visible_joints(part, joints, 5).any()
    joints[knee] = (45, 30)  # just off the edge: too little of the window shows it
    assert not render.visible_joints(part, joints, 5)[knee]
    assert PARENTS[knee] == hip


def test_hair_and_eyes_belong_to_the_head(body: BodyModel) -> None:
    figure = render.figure(body.decimated.v_template, body.decimated.faces, body.decimated.weights)
    head = figure.face_part == JOINT_NAMES.index("head")
    assert figure.is_eye.sum() > 4 and not (figure.is_eye & ~head).any()
    assert 0.1 < figure.is_hair.sum() / head.sum() < 0.9 and not (figure.is_hair & ~head).any()
    center = body.decimated.v_template[figure.faces].mean(1)
    assert center[figure.is_eye, 2].mean() > center[head, 2].mean()


def test_a_cheap_camera_keeps_the_picture_recognisable() -> None:
    image = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), (0, 0), 8
    )
    for seed in range(5):
        worse = render.degrade(image, np.random.default_rng(seed))
        assert worse.shape == image.shape and worse.dtype == np.uint8
    np.testing.assert_array_equal(worse, render.degrade(image, np.random.default_rng(4)))
