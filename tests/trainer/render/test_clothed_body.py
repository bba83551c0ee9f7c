"""The rendered body: what covers what, and which joints are visible."""

import numpy as np

from engines.body import BodyModel
from engines.types import JOINT_NAMES, PARENTS
from trainer.render.clothed_body import NO_BODY, ClothedMesh, render_body, visible_joints


def three_triangles() -> ClothedMesh:
    """Part 2 lies in front of half of part 1; part 3 turns its back."""
    faces = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    no = np.zeros(3, bool)
    return ClothedMesh(faces, np.array([1, 2, 3]), no, no)


def test_nearer_faces_cover_farther_ones_and_backs_are_not_rendered() -> None:
    big = np.array([[10.0, 10], [10, 90], [90, 10]])
    near = np.array([[10.0, 10], [10, 40], [40, 10]])
    corner = np.array([[95.0, 95], [99, 60], [60, 99]])[::-1]
    pixels = np.concatenate([big, near, corner])
    depth = np.repeat([3.0, 2.0, 1.0], 3)
    area = np.cross(pixels[7] - pixels[6], pixels[8] - pixels[6])
    if area < 0:
        pixels[[7, 8]] = pixels[[8, 7]]
    vertices = np.column_stack([pixels / 100, depth])
    blank = np.full((100, 100, 3), 7, np.uint8)
    mesh = three_triangles()
    for order in ([0, 1, 2], [1, 0, 2]):
        shuffled = ClothedMesh(mesh.faces[order], mesh.face_part[order], mesh.is_hair, mesh.is_eye)
        rendering = render_body(shuffled, vertices, pixels, blank, np.random.default_rng(0))
        assert rendering.part[15, 15] == 2
        assert rendering.part[15, 70] == 1
        assert (rendering.part != 3).all()
        coloured = (rendering.image != 7).any(-1)
        assert (coloured == (rendering.part != NO_BODY)).mean() > 0.99
    assert (blank == 7).all()


def test_a_joint_is_visible_where_its_part_or_a_neighbour_shows() -> None:
    part = np.full((100, 100), NO_BODY, np.uint8)
    knee, ankle, hip = (JOINT_NAMES.index(name) for name in ("left_knee", "left_ankle", "left_hip"))
    part[20:41, 20:41] = knee
    part[60:81, 20:41] = JOINT_NAMES.index("right_wrist")
    part[60:81, 60:81] = hip
    joints = np.full((24, 2), 95.0)  # where no part is
    joints[[knee, ankle, hip]] = [(30, 30), (31, 29), (70, 30)]
    assert np.flatnonzero(visible_joints(part, joints, 5)).tolist() == [knee, ankle]
    joints[[knee, ankle]] = [(70, 70), (30, 70)]  # on the thigh; behind a hand
    assert np.flatnonzero(visible_joints(part, joints, 5)).tolist() == [knee]
    joints[knee] = (-3, 30)
    assert not visible_joints(part, joints, 5).any()
    joints[knee] = (45, 30)  # just off the edge: too little of the window shows it
    assert not visible_joints(part, joints, 5)[knee]
    assert PARENTS[knee] == hip


def test_hair_and_eyes_belong_to_the_head(body: BodyModel) -> None:
    template = body.decimated
    mesh = ClothedMesh.of(template.v_template, template.faces, template.weights)
    head = mesh.face_part == JOINT_NAMES.index("head")
    assert mesh.is_eye.sum() > 4 and not (mesh.is_eye & ~head).any()
    assert 0.1 < mesh.is_hair.sum() / head.sum() < 0.9 and not (mesh.is_hair & ~head).any()
    center = template.v_template[mesh.faces].mean(1)
    assert center[mesh.is_eye, 2].mean() > center[head, 2].mean()
