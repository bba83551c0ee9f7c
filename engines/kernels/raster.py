"""Triangle meshes to images on the CPU: lit and translucent with a depth buffer, or as silhouettes.

    rgba, depth = render_mesh(mesh, (width, height))      the nearest surface, premultiplied RGBA
    bits = silhouettes(pixels, faces, (width, height))    bit s is set where body s covers the pixel

Every pixel is sampled at its centre; callers draw larger and scale down for smooth edges. Back
faces are left out. Colour, opacity and normal are interpolated over each triangle in the image
plane, which for triangles that are small against their distance is perspective enough.

The surface is lit by a soft key light, a sky that is brighter than the ground, and a rim:

    c = albedo (0.50 - 0.12 n_y + 0.55 max(n . l, 0)) + 0.20 max(n . h, 0)^24 + 0.22 (1 + n_z)^3

with the normal n in the frame of the camera that looks at it, y down and z forward.

On the CPU, Warp runs the triangles one after the other in one thread, which is what makes a depth
buffer without locks correct. So there is no CUDA variant.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# Kernels are written in Warp's language; the type checker takes them for Python.

from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp
from jaxtyping import Float, Float32, Int, UInt8

from engines.kernels.launch import open_device

wp.set_module_options({"enable_backward": False})

NEAR_M = 0.1
"""Triangles with a corner nearer to the camera plane than this are left out, metres."""
MAX_SILHOUETTES = 8
_LIGHT = (-0.424, -0.636, -0.645)
_HALF = (-0.2337, -0.3506, -0.9069)
"""Halfway between the light and the viewer at -z, for the highlight."""


@dataclass(frozen=True)
class LitMesh:
    """A mesh as a camera sees it; several bodies may be one mesh."""

    pixels: Float[np.ndarray, "V 2"]
    """In the image, px, origin at the corner of the top-left pixel; nan leaves out the faces of a
    vertex."""
    depth: Float[np.ndarray, "V"]
    """Distance from the camera plane, metres."""
    normals: Float[np.ndarray, "V 3"]
    """Unit vectors outward, camera frame."""
    rgba: Float[np.ndarray, "V 4"]
    """Colour and opacity in [0, 1], not premultiplied."""
    faces: Int[np.ndarray, "F 3"]
    """Counter-clockwise as seen from outside."""


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """Return area-weighted unit normals, outward for counter-clockwise faces."""
    corners = vertices[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normals = np.cross(a, b)  # (F, 3)
    flat = faces.T.ravel()
    summed = np.stack(
        [np.bincount(flat, np.tile(normals[:, c], 3), len(vertices)) for c in range(3)], axis=1
    )
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)


def lit(
    rgb: Float[np.ndarray, "*n 3"], normals: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 3"]:
    """Light colours; the formula of this module in NumPy."""
    n = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    diffuse = np.maximum(n @ np.array(_LIGHT), 0.0)
    highlight = np.maximum(n @ np.array(_HALF), 0.0) ** 24
    rim = np.clip(1.0 + n[..., 2], 0.0, 1.0) ** 3
    gain = 0.50 - 0.12 * n[..., 1] + 0.55 * diffuse
    added = 0.20 * highlight + 0.22 * rim
    return np.clip(rgb * gain[..., None] + added[..., None], 0.0, 1.0)


def render_mesh_reference(
    mesh: LitMesh, size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "H W 4"], Float32[np.ndarray, "H W"]]:
    """The specification, one triangle at a time."""
    width, height = size
    rgba = np.zeros((height, width, 4), np.uint8)
    depth = np.full((height, width), np.inf, np.float32)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for face in mesh.faces:
        weights = _inside(mesh.pixels[face], x, y)
        if weights is None or mesh.depth[face].min() < NEAR_M:
            continue
        z = np.tensordot(weights, mesh.depth[face], axes=(0, 0))
        nearer = (weights >= 0).all(axis=0) & (z < depth)
        share = weights[:, nearer].T
        values = share @ mesh.rgba[face]
        colors = lit(values[:, :3], share @ mesh.normals[face]) * values[:, 3:]
        rgba[nearer] = np.column_stack([colors, values[:, 3:]]) * 255.0 + 0.5
        depth[nearer] = z[nearer]
    return rgba, depth


def silhouettes_reference(
    pixels: Float[np.ndarray, "S V 2"], faces: Int[np.ndarray, "F 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """The specification, one triangle at a time."""
    width, height = size
    bits = np.zeros((height, width), np.uint8)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for s, body in enumerate(pixels):
        for face in faces:
            weights = _inside(body[face], x, y)
            if weights is not None:
                bits[(weights >= 0).all(axis=0)] |= np.uint8(1 << s)
    return bits


def _inside(
    corners: Float[np.ndarray, "3 2"], x: np.ndarray, y: np.ndarray
) -> Float[np.ndarray, "3 H W"] | None:
    """Return barycentric weights of all pixels; None for a back face or one without an area."""
    (ax, ay), (bx, by), (cx, cy) = corners
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if not area < 0:
        return None
    a = (bx - x) * (cy - y) - (by - y) * (cx - x)
    b = (cx - x) * (ay - y) - (cy - y) * (ax - x)
    return np.stack([a, b, area - a - b]) / area


@wp.func
def edge(a: wp.vec2, b: wp.vec2, x: wp.float32, y: wp.float32):
    return (a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x)


@wp.func
def covered(a: wp.vec2, b: wp.vec2, c: wp.vec2, width: wp.int32, height: wp.int32):
    """First and last pixel of a triangle's box inside the image, the last one excluded."""
    limit_x, limit_y = wp.float32(width), wp.float32(height)
    low_x = wp.clamp(wp.min(a[0], wp.min(b[0], c[0])), 0.0, limit_x)
    low_y = wp.clamp(wp.min(a[1], wp.min(b[1], c[1])), 0.0, limit_y)
    high_x = wp.clamp(wp.max(a[0], wp.max(b[0], c[0])), 0.0, limit_x)
    high_y = wp.clamp(wp.max(a[1], wp.max(b[1], c[1])), 0.0, limit_y)
    x1, y1 = wp.min(int(high_x) + 1, width), wp.min(int(high_y) + 1, height)
    return int(low_x), int(low_y), x1, y1


@wp.kernel
def render_mesh_kernel(
    pixels: wp.array(dtype=wp.vec2),  # (V,)
    vertex_depth: wp.array(dtype=wp.float32),  # (V,)
    normals: wp.array(dtype=wp.vec3),  # (V,)
    vertex_rgba: wp.array(dtype=wp.vec4),  # (V,)
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    light: wp.vec3,
    half: wp.vec3,
    near: wp.float32,
    rgba: wp.array3d(dtype=wp.uint8),  # (H, W, 4)
    depth: wp.array2d(dtype=wp.float32),  # (H, W)
):
    face = faces[wp.tid()]
    i, j, k = face[0], face[1], face[2]
    a, b, c = pixels[i], pixels[j], pixels[k]
    area = edge(b, c, a[0], a[1])
    za, zb, zc = vertex_depth[i], vertex_depth[j], vertex_depth[k]
    if area < 0.0 and wp.min(za, wp.min(zb, zc)) >= near:  # false for nan
        x0, y0, x1, y1 = covered(a, b, c, rgba.shape[1], rgba.shape[0])
        for y in range(y0, y1):
            for x in range(x0, x1):
                u, v = wp.float32(x) + 0.5, wp.float32(y) + 0.5
                wa, wb = edge(b, c, u, v) / area, edge(c, a, u, v) / area
                wc = 1.0 - wa - wb
                z = wa * za + wb * zb + wc * zc
                if wa >= 0.0 and wb >= 0.0 and wc >= 0.0 and z < depth[y, x]:
                    n = wp.normalize(wa * normals[i] + wb * normals[j] + wc * normals[k])
                    value = wa * vertex_rgba[i] + wb * vertex_rgba[j] + wc * vertex_rgba[k]
                    shine = wp.max(wp.dot(n, half), 0.0)
                    shine = shine * shine * shine
                    shine = shine * shine
                    shine = shine * shine
                    shine = shine * shine  # to the power of 24
                    rim = wp.clamp(1.0 + n[2], 0.0, 1.0)
                    gain = 0.50 - 0.12 * n[1] + 0.55 * wp.max(wp.dot(n, light), 0.0)
                    added = 0.20 * shine + 0.22 * rim * rim * rim
                    scale = value[3] * 255.0
                    for channel in range(3):
                        color = wp.clamp(value[channel] * gain + added, 0.0, 1.0)
                        rgba[y, x, channel] = wp.uint8(color * scale + 0.5)
                    rgba[y, x, 3] = wp.uint8(scale + 0.5)
                    depth[y, x] = z


@wp.kernel
def silhouettes_kernel(
    pixels: wp.array2d(dtype=wp.vec2),  # (S, V)
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    bits: wp.array2d(dtype=wp.uint8),  # (H, W)
):
    index = wp.tid()
    s, f = index // faces.shape[0], index % faces.shape[0]
    face = faces[f]
    a, b, c = pixels[s, face[0]], pixels[s, face[1]], pixels[s, face[2]]
    area = edge(b, c, a[0], a[1])
    if area < 0.0:  # false for nan
        bit = wp.uint8(1 << s)
        x0, y0, x1, y1 = covered(a, b, c, bits.shape[1], bits.shape[0])
        for y in range(y0, y1):
            for x in range(x0, x1):
                u, v = wp.float32(x) + 0.5, wp.float32(y) + 0.5
                wa, wb = edge(b, c, u, v) / area, edge(c, a, u, v) / area
                if wa >= 0.0 and wb >= 0.0 and wa + wb <= 1.0:
                    bits[y, x] = bits[y, x] | bit


def render_mesh(
    mesh: LitMesh, size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "H W 4"], Float32[np.ndarray, "H W"]]:
    """Render the nearest surface.

    Args:
        mesh: As the camera sees it.
        size: (width, height), px.

    Returns:
        Premultiplied RGBA, zero where there is no surface; and the depth, infinite there, metres.
    """
    device = open_device("cpu")
    width, height = size
    rgba = np.zeros((height, width, 4), np.uint8)
    depth = np.full((height, width), np.inf, np.float32)
    inputs = [
        _shared(mesh.pixels, wp.vec2),
        _shared(mesh.depth, wp.float32),
        _shared(mesh.normals, wp.vec3),
        _shared(mesh.rgba, wp.vec4),
        _shared(mesh.faces, wp.vec3i),
        wp.vec3(*_LIGHT),
        wp.vec3(*_HALF),
        NEAR_M,
    ]
    outputs = [_shared(rgba, wp.uint8), _shared(depth, wp.float32)]
    wp.launch(render_mesh_kernel, len(mesh.faces), inputs, outputs, device=device)
    return rgba, depth


def silhouettes(
    pixels: Float[np.ndarray, "S V 2"], faces: Int[np.ndarray, "F 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """Render which of up to 8 bodies cover each pixel.

    Args:
        pixels: Vertices in the image, px; nan leaves out the faces of a vertex.
        faces: Of each body, closed or nearly so: what its back covers its front covers too.
        size: (width, height), px.

    Returns:
        Bit s is set where body s covers the pixel's centre.
    """
    count = len(pixels)
    if count > MAX_SILHOUETTES:
        raise ValueError(f"pixels: at most {MAX_SILHOUETTES} bodies fit into a byte, not {count}.")
    device = open_device("cpu")
    width, height = size
    bits = np.zeros((height, width), np.uint8)
    inputs = [_shared(pixels, wp.vec2), _shared(faces, wp.vec3i)]
    outputs = [_shared(bits, wp.uint8)]
    dim = count * len(faces)
    wp.launch(silhouettes_kernel, dim, inputs, outputs, device=device)
    return bits


def _shared(array: np.ndarray, dtype: Any) -> wp.array:
    """Return a Warp array of that memory, after a conversion where it is of another type."""
    scalar = dtype if dtype in (wp.float32, wp.uint8) else dtype._wp_scalar_type_
    kinds = {wp.float32: np.float32, wp.uint8: np.uint8, wp.int32: np.int32}
    contiguous = np.ascontiguousarray(array, kinds[scalar])
    return wp.array(contiguous, dtype=dtype, device="cpu", copy=False)
