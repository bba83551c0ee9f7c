"""Rasterises triangle meshes on the CPU, back to front.

    order = visible_faces(pixels, depth, faces, (width, height))
    fill_triangles(image, pixels[faces[order]], colors[order])

The painter's algorithm needs no depth buffer: for one closed body of some thousand triangles it is
exact but for a few triangles at contacts, and takes a few milliseconds. Pixel coordinates are
OpenCV's: integers lie at pixel centres.
"""

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

NEAR_M = 0.1
"""Faces with a corner nearer to the camera plane than this are left out, metres."""
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


def visible_faces(
    pixels: Float[np.ndarray, "V 2"],
    depth: Float[np.ndarray, "V"],
    faces: Int[np.ndarray, "F 3"],
    size: tuple[int, int],
) -> Int[np.ndarray, "N"]:
    """Indices of the faces that turn towards the camera and touch the image, farthest first.

    Args:
        pixels: Vertices in the image; nan leaves out the faces of a vertex.
        depth: Distance of the vertices from the camera plane, metres.
        faces: Counter-clockwise as seen from outside the body.
        size: (width, height) of the image, px.
    """
    corners = pixels[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Image y points down, so a face that is counter-clockwise in space has a negative area here.
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    inside = (corners.max(1) > 0).all(-1) & (corners.min(1) < size).all(-1)
    corner_depth = depth[faces]
    visible = np.flatnonzero(inside & (area < 0) & (corner_depth.min(1) > NEAR_M))
    return visible[np.argsort(-corner_depth[visible].mean(1), kind="stable")]


def fill_triangles(
    canvas: UInt8[np.ndarray, "H W *C"],
    triangles: Float[np.ndarray, "N 3 2"],
    values: Float[np.ndarray, "N *C"] | Int[np.ndarray, "N"],
) -> None:
    """Fill triangles in the given order, in place; a later one covers an earlier one.

    Args:
        canvas: One or three channels.
        triangles: Corners, px.
        values: What each triangle is filled with, 0..255.
    """
    polygons = np.round(triangles * (1 << _SHIFT)).astype(np.int32)
    for polygon, value in zip(polygons, values.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, polygon, value, cv2.LINE_8, _SHIFT)
