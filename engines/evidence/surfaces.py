"""Signed distances to known surfaces: planes, and objects given by points with normals.

Needs SciPy. Evidence from them: `engines.evidence.contact`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from engines.errors import PenumbraError

_NEIGHBOURS = 8


@runtime_checkable
class Surface(Protocol):
    """Something that a body is outside of."""

    def height(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """Signed distance, metres, negative inside. Points in the first camera's frame."""
        ...

    def depth(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """max(0, -height), which is cheaper to compute."""
        ...


@dataclass(frozen=True)
class Plane:
    """The half-space normal . x < offset is solid: a floor, a wall, a table top."""

    normal: Float[np.ndarray, "3"]
    """Unit vector out of the solid, camera frame: (0, -1, 0) for the floor of a level camera."""
    offset: float
    """Metres."""

    def __post_init__(self) -> None:
        unit = np.shape(self.normal) == (3,) and abs(np.linalg.norm(self.normal) - 1.0) < 1e-4
        if not unit:
            raise PenumbraError(
                f"normal: must be three numbers and of length 1, not {self.normal}; normalise it."
            )
        if not np.isfinite(self.offset):
            raise PenumbraError(f"offset: must be a finite number of metres, not {self.offset}.")

    @staticmethod
    def through(
        point: Sequence[float] | Float[np.ndarray, "3"],
        normal: Sequence[float] | Float[np.ndarray, "3"],
    ) -> "Plane":
        """The plane through a point; the normal may have any length but zero."""
        length = float(np.linalg.norm(normal))
        if not (np.isfinite(length) and length > 0):
            raise PenumbraError(f"normal: must not be zero or infinite, not {normal}.")
        unit = np.asarray(normal, np.float64) / length
        return Plane(unit, float(unit @ np.asarray(point, np.float64)))

    def height(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """normal . x - offset, metres."""
        return points @ np.asarray(self.normal, np.float64) - self.offset

    def depth(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """How far inside, metres, zero outside."""
        return np.maximum(-self.height(points), 0.0)


@dataclass(frozen=True)
class Solid:
    """An object given by points on its surface with normals: a scan, or a mesh that was sampled.

    The signed distance is that to the tangent planes of the nearest points (Hoppe et al., Surface
    reconstruction from unorganized points, 1992), averaged over several because one alone is wrong
    beside an edge; farther out it is the distance to the nearest point. The object must be several
    times thicker than its points are apart.
    """

    points: Float[np.ndarray, "M 3"]
    """First camera's frame, metres."""
    normals: Float[np.ndarray, "M 3"]
    """Unit vectors out of the object."""

    def __post_init__(self) -> None:
        shape = np.shape(self.points)
        if len(shape) != 2 or shape[1] != 3 or shape[0] < _NEIGHBOURS:
            raise PenumbraError(
                f"points: must have shape (M, 3) with at least {_NEIGHBOURS} points, not {shape}; "
                "sample the surface more densely."
            )
        if np.shape(self.normals) != shape:
            raise PenumbraError(
                f"normals: must be as many as points, {shape}, not {np.shape(self.normals)}."
            )
        if not np.allclose(np.linalg.norm(self.normals, axis=1), 1.0, atol=1e-3):
            raise PenumbraError("normals: must have length 1; normalise them, out of the object.")

    @staticmethod
    def from_mesh(
        vertices: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        spacing_m: float = 0.01,
        seed: int = 0,
    ) -> "Solid":
        """Sample the surface of a closed mesh.

        Args:
            vertices: metres, the first camera's frame.
            faces: triangles, counter-clockwise as seen from outside.
            spacing_m: about how far apart the samples are, metres.
            seed: of the sampling.

        Raises:
            PenumbraError: the mesh has no area or `spacing_m` is not above zero.
        """
        a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[faces], 1, 0)
        cross = np.cross(b - a, c - a)
        double = np.linalg.norm(cross, axis=1)
        if not (spacing_m > 0 and double.sum() > 0):
            raise PenumbraError(
                f"spacing_m: must be above 0, and the mesh must have an area, not {spacing_m} for "
                f"{len(faces)} triangles; check the mesh."
            )
        count = max(_NEIGHBOURS, int(np.ceil(double.sum() / 2 / spacing_m**2)))
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(faces), count, p=double / double.sum())
        u, v = rng.random((2, count, 1))
        outside = u + v > 1  # the other half of the parallelogram: folded back into the triangle
        u = np.where(outside, 1 - u, u)
        v = np.where(outside, 1 - v, v)
        points = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
        return Solid(points, cross[chosen] / double[chosen, None])

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points)

    @cached_property
    def _tangent_range(self) -> float:
        """How far out tangent planes are used, metres: the usual extent of a neighbourhood."""
        return float(np.median(self._tree.query(self.points, _NEIGHBOURS)[0][:, -1]))

    def height(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """Signed distance as the class defines it, metres."""
        flat = np.asarray(points, np.float64).reshape(-1, 3)
        close, height = self._close(flat), np.empty(len(flat))
        height[~close] = self._tree.query(flat[~close])[0]
        height[close] = self._height_close(flat[close])
        return height.reshape(points.shape[:-1])

    def depth(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """How far inside, metres, zero outside."""
        flat = np.asarray(points, np.float64).reshape(-1, 3)
        close, depth = self._close(flat), np.zeros(len(flat))
        depth[close] = np.maximum(-self._height_close(flat[close]), 0.0)
        return depth.reshape(points.shape[:-1])

    def _close(self, points: Float[np.ndarray, "N 3"]) -> Bool[np.ndarray, "N"]:
        """Whether a point may be inside: outside of the box it cannot."""
        low, high = self._box
        return ((points >= low) & (points <= high)).all(-1)

    @cached_property
    def _box(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Corners of the box beyond which no tangent plane is needed."""
        return self.points.min(0) - self._tangent_range, self.points.max(0) + self._tangent_range

    def _height_close(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
        distance, index = self._tree.query(points, _NEIGHBOURS)
        share = 1.0 / np.maximum(distance, 1e-6) ** 2
        share /= share.sum(-1, keepdims=True)
        offset = points[:, None, :] - self.points[index]
        tangent = (share * (offset * self.normals[index]).sum(-1)).sum(-1)
        nearest = distance[:, 0]
        return np.where(nearest > self._tangent_range, np.copysign(nearest, tangent), tangent)
