"""A coarser mesh, described by points on the surface of the full one.

Each vertex of the decimated mesh is a fixed point inside one triangle of the full mesh: three
vertex indices and their barycentric weights. So everything that is linear per vertex (template,
shape and pose directions, skinning weights) is interpolated by the same weighted sum, and the
decimated mesh needs no body model of its own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer

from engines.errors import PenumbraError


@dataclass(frozen=True)
class Decimation:
    """L points on the surface of a mesh with V vertices, and G triangles between them."""

    vertex_ids: Int[np.ndarray, "L 3"]
    """Indices of the corners of the triangle of the full mesh that each point lies in."""
    vertex_weights: Float[np.ndarray, "L 3"]
    """Barycentric weights of those corners; non-negative, rows sum to one."""
    faces: Int[np.ndarray, "G 3"]
    """Triangles, indices into the decimated mesh."""

    def interpolate(self, per_vertex: Float[np.ndarray, "V *rest"]) -> Float[np.ndarray, "L *rest"]:
        """Interpolate a quantity that is given at the full mesh's vertices."""
        return np.einsum("lc,lc...->l...", self.vertex_weights, per_vertex[self.vertex_ids])


def identity_decimation(num_vertices: int, faces: Integer[np.ndarray, "F 3"]) -> Decimation:
    """The full mesh as its own decimated mesh, for machines where it cannot be decimated."""
    ids = np.repeat(np.arange(num_vertices, dtype=np.int32)[:, None], 3, axis=1)
    weights = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (num_vertices, 1))
    return Decimation(ids, weights, faces.astype(np.int32))


def decimate(
    vertices: Float[np.ndarray, "V 3"],
    faces: Integer[np.ndarray, "F 3"],
    target_vertices: int = 2000,
) -> Decimation:
    """Quadric decimation; each remaining vertex is put on the nearest point of the full surface.

    Raises:
        PenumbraError: Open3D, which does the decimation, cannot be imported here.
    """
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:
        raise PenumbraError(
            f"decimated mesh: open3d, which makes it, cannot be imported ({error}); install "
            "open3d==0.19.0 and the system libraries libgl1, libegl1 and libusb-1.0-0."
        ) from error
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(vertices.astype(np.float64)),
        o3d.utility.Vector3iVector(faces.astype(np.int32)),
    )
    # A closed triangle mesh has about twice as many triangles as vertices.
    small = mesh.simplify_quadric_decimation(target_number_of_triangles=2 * target_vertices)
    small.remove_unreferenced_vertices()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    nearest = scene.compute_closest_points(np.asarray(small.vertices, np.float32))
    uv = nearest["primitive_uvs"].numpy().astype(np.float64)
    weights = np.clip(np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], axis=1), 0, None)
    weights /= weights.sum(1, keepdims=True)
    ids = faces[nearest["primitive_ids"].numpy()]
    return Decimation(
        ids.astype(np.int32), weights.astype(np.float32), np.asarray(small.triangles, np.int32)
    )
