"""Meshes to images: the kernels against their references, and what a body looks like."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.kernels.raster import (
    LitMesh,
    lit,
    render_mesh,
    render_mesh_reference,
    silhouettes,
    silhouettes_reference,
    vertex_normals,
)

SIZE = (40, 30)


def random_mesh(seed: int, faces: int = 30) -> LitMesh:
    rng = np.random.default_rng(seed)
    vertices = 3 * faces
    normals = rng.normal(size=(vertices, 3))
    pixels = np.repeat(rng.uniform(-5, 45, (faces, 2)), 3, axis=0)
    pixels += rng.normal(0, 8, (vertices, 2))
    return LitMesh(
        pixels=pixels,
        depth=rng.uniform(0.05, 4.0, vertices),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        rgba=rng.uniform(size=(vertices, 4)),
        faces=np.arange(vertices).reshape(-1, 3),
    )


@pytest.mark.parametrize("seed", range(5))
def test_kernel_renders_what_the_reference_renders(seed: int) -> None:
    mesh = random_mesh(seed)
    rgba, depth = render_mesh(mesh, SIZE)
    expected, expected_depth = render_mesh_reference(mesh, SIZE)
    assert (expected[..., 3] > 0).mean() > 0.05
    same = np.isclose(depth, expected_depth, rtol=1e-4)
    same |= np.isinf(depth) & np.isinf(expected_depth)
    assert same.mean() > 0.995  # float32 decides differently on an edge now and then
    difference = np.abs(rgba.astype(int) - expected)[same]
    assert difference.max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_kernel_covers_what_the_reference_covers(seed: int) -> None:
    meshes = [random_mesh(seed + i) for i in range(8)]
    pixels = np.stack([mesh.pixels for mesh in meshes])
    bits = silhouettes(pixels, meshes[0].faces, SIZE)
    expected = silhouettes_reference(pixels, meshes[0].faces, SIZE)
    assert np.unpackbits(bits ^ expected).mean() < 0.001
    assert expected.any()


def test_vertices_without_a_pixel_leave_out_their_faces() -> None:
    mesh = random_mesh(0)
    pixels = mesh.pixels.copy()
    pixels[::3] = np.nan
    rgba, _ = render_mesh(LitMesh(pixels, mesh.depth, mesh.normals, mesh.rgba, mesh.faces), SIZE)
    assert not rgba.any()
    assert not silhouettes(pixels[None], mesh.faces, SIZE).any()


def test_more_bodies_than_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="8 bodies"):
        silhouettes(np.zeros((9, 3, 2)), np.array([[0, 1, 2]]), SIZE)


def test_normals_of_the_body_point_outward(body: BodyModel) -> None:
    rest = body.decimated
    normals = vertex_normals(rest.v_template, rest.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert normals[rest.v_template[:, 1].argmax(), 1] > 0.8  # the top of the head


def test_light_comes_from_above_and_colors_stay_in_range() -> None:
    gray = np.full((2, 3), 0.5)
    up, down = lit(gray, np.array([[0.0, -1, -0.2], [0.0, 1, -0.2]]))
    assert (up > down).all()
    bright = lit(np.ones((1, 3)), np.array([[-0.4, -0.6, -0.6]]))
    assert bright.max() <= 1.0
