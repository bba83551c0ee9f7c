"""Signed distances of planes, a ball and a box against formulas."""

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.evidence.surfaces import Plane, Solid
from tests.support.cube import cube


def test_plane_height_by_hand() -> None:
    floor = Plane.through(np.array([7.0, 1.2, 3.0]), np.array([0.0, -2.0, 0.0]))
    points = np.array([[0.0, 1.0, 9.0], [5.0, 1.5, 0.0]])
    np.testing.assert_allclose(floor.height(points), [0.2, -0.3])
    np.testing.assert_allclose(floor.depth(points), [0, 0.3])


def test_signed_distance_to_a_sphere() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    ball = Solid(np.array([0, 0, 3]) + 0.3 * normals, normals)
    points = np.array([0, 0, 3]) + rng.normal(0, 0.25, (500, 3))
    expected = np.linalg.norm(points - [0, 0, 3], axis=1) - 0.3
    np.testing.assert_allclose(ball.height(points), expected, atol=0.012)


def test_signed_distance_to_a_box() -> None:
    """The sign everywhere that is farther from the surface than the samples from each other; edges
    and corners too.
    """
    solid = Solid.from_mesh(*cube((0, 0, 0), 0.4), spacing_m=0.01)
    points = np.random.default_rng(1).uniform(-0.4, 0.4, (2000, 3))
    q = np.abs(points) - 0.2
    expected = np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)
    found = solid.height(points)
    clear = np.abs(expected) > 0.015
    assert (np.sign(found[clear]) == np.sign(expected[clear])).all()
    np.testing.assert_allclose(found, expected, atol=0.015)
    np.testing.assert_array_equal(solid.depth(points), np.maximum(-found, 0))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(PenumbraError, match="normal"):
        Plane(np.array([0.0, 2.0, 0.0]), 0.0)
    with pytest.raises(PenumbraError, match="zero"):
        Plane.through(np.zeros(3), np.zeros(3))
    with pytest.raises(PenumbraError, match="length 1"):
        Solid(np.zeros((10, 3)), np.zeros((10, 3)))
    with pytest.raises(PenumbraError, match="at least 8"):
        Solid(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(PenumbraError, match="area"):
        Solid.from_mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
