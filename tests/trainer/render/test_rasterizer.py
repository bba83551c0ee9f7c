"""The rasteriser: the nearer face wins, invisible faces are left out, pixels are exact."""

import numpy as np

from trainer.render.rasterizer import NEAR_M, fill_triangles, visible_faces

SIZE = (100, 100)
TRIANGLE = np.array([[20.0, 20], [50, 80], [80, 20]])  # clockwise in the image: towards the camera


def test_faces_come_farthest_first() -> None:
    pixels = np.concatenate([TRIANGLE] * 3)
    depth = np.repeat([2.0, 5.0, 3.0], 3)
    faces = np.arange(9).reshape(3, 3)
    assert visible_faces(pixels, depth, faces, SIZE).tolist() == [1, 2, 0]


def test_faces_that_cannot_be_visible_are_left_out() -> None:
    cases = {
        "visible": (TRIANGLE, 2.0),
        "turned away": (TRIANGLE[::-1], 2.0),
        "left of the image": (TRIANGLE - (100, 0), 2.0),
        "below the image": (TRIANGLE + np.array([0, 100]), 2.0),
        "too near": (TRIANGLE, NEAR_M / 2),
        "behind the camera": (np.full((3, 2), np.nan), -1.0),
    }
    pixels = np.concatenate([corners for corners, _ in cases.values()])
    depth = np.repeat([z for _, z in cases.values()], 3)
    visible = visible_faces(pixels, depth, np.arange(len(pixels)).reshape(-1, 3), SIZE)
    assert [list(cases)[face] for face in visible] == ["visible"]


def test_a_triangle_covers_its_own_area_in_any_number_of_channels() -> None:
    image, labels = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8)
    fill_triangles(image, TRIANGLE[None], np.array([[10.0, 20.0, 30.0]]))
    fill_triangles(labels, TRIANGLE[None], np.array([7]))
    assert image[40, 50].tolist() == [10, 20, 30] and labels[40, 50] == 7
    np.testing.assert_array_equal(image[..., 0] > 0, labels > 0)
    area = 60 * 60 / 2
    border = 60 + 2 * np.hypot(30, 60)  # OpenCV fills the pixels that the border touches, too
    assert area <= (labels > 0).sum() <= area + border
