"""Known surfaces as evidence: bodies do not sink into floors and objects, feet stand, hands hold.

    floor = Plane.through(point, up)                              # camera frame, metres
    skin, soles = Skin.of(body), Skin.of(body, ("left_foot", "left_ankle"))
    posterior = reweight(hypotheses, NonPenetration(floor, skin), Contact(floor, soles))

A plane in metres also says how far away the person is, which one camera hardly knows. Needs SciPy.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from engines.errors import PenumbraError
from engines.evidence.skin import BodyPoints
from engines.types import Hypotheses

TOLERANCE_M = 0.02
"""Skin gives way, floors are measured and bodies are modelled no better than this."""
_NEIGHBOURS = 8


@runtime_checkable
class Surface(Protocol):
    """Something that a body is outside of."""

    def height(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """Signed distance, metres, negative inside. Points in the first camera's frame."""
        ...

    def depth(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """max(0, -height), for which fewer points need a closer look."""
        ...


@dataclass(frozen=True)
class Plane:
    """The half-space normal . x < offset is solid: a floor, a wall, a table top."""

    normal: Float[np.ndarray, "3"]
    """Unit vector out of the solid, camera frame (y down: the floor of a level camera has (0, -1,
    0)).
    """
    offset: float
    """Metres."""

    def __post_init__(self) -> None:
        if np.shape(self.normal) != (3,) or not np.isclose(
            np.linalg.norm(self.normal), 1.0, atol=1e-4
        ):
            raise PenumbraError(
                f"Plane's normal must be a vector of three numbers and length 1, not {self.normal}."
            )
        if not np.isfinite(self.offset):
            raise PenumbraError(f"Plane's offset must be a number of metres, not {self.offset}.")

    @staticmethod
    def through(point: Float[np.ndarray, "3"], normal: Float[np.ndarray, "3"]) -> "Plane":
        """The plane through a point; the normal may have any length but zero."""
        length = float(np.linalg.norm(normal))
        if not (np.isfinite(length) and length > 0):
            raise PenumbraError(f"Plane.through needs a normal that is not zero, not {normal}.")
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
        if (
            len(shape) != 2
            or shape[1:] != (3,)
            or shape[0] < _NEIGHBOURS
            or np.shape(self.normals) != shape
        ):
            raise PenumbraError(
                f"Solid needs at least {_NEIGHBOURS} points (M, 3) and as many normals, not {shape} and "
                f"{np.shape(self.normals)}."
            )
        if not np.allclose(np.linalg.norm(self.normals, axis=1), 1.0, atol=1e-3):
            raise PenumbraError("Solid's normals must have length 1 and point out of the object.")

    @staticmethod
    def from_mesh(
        vertices: Float[np.ndarray, "V 3"],
        faces: Int[np.ndarray, "F 3"],
        spacing_m: float = 0.01,
        seed: int = 0,
    ) -> "Solid":
        """Sample a closed mesh whose triangles turn counter-clockwise seen from outside, about
        `spacing_m` apart.

        Raises:
            PenumbraError: the mesh has no area or `spacing_m` is not above zero.
        """
        a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[faces], 1, 0)
        cross = np.cross(b - a, c - a)
        double = np.linalg.norm(cross, axis=1)
        if not (spacing_m > 0 and double.sum() > 0):
            raise PenumbraError(
                f"Solid.from_mesh needs a mesh with area and spacing_m above 0, not {spacing_m}."
            )
        count = max(_NEIGHBOURS, int(np.ceil(double.sum() / 2 / spacing_m**2)))
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(faces), count, p=double / double.sum())
        u, v = rng.random((2, count, 1))
        u, v = (
            np.where(u + v > 1, 1 - u, u),
            np.where(u + v > 1, 1 - v, v),
        )  # fold the square into the triangle
        points = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
        return Solid(points, cross[chosen] / double[chosen, None])

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points)

    @cached_property
    def _reach(self) -> float:
        """How far out tangent planes are trusted, metres: the usual extent of a neighbourhood."""
        return float(np.median(self._tree.query(self.points, _NEIGHBOURS)[0][:, -1]))

    def height(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
        """See the class."""
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
        """Whether the side is in question: a point outside this box is outside the object."""
        low, high = self._box
        return ((points >= low) & (points <= high)).all(-1)

    @cached_property
    def _box(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Corners of the box beyond which no tangent plane is needed."""
        return self.points.min(0) - self._reach, self.points.max(0) + self._reach

    def _height_close(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
        distance, index = self._tree.query(points, _NEIGHBOURS)
        share = 1.0 / np.maximum(distance, 1e-6) ** 2
        share /= share.sum(-1, keepdims=True)
        offset = points[:, None, :] - self.points[index]
        tangent = (share * (offset * self.normals[index]).sum(-1)).sum(-1)
        nearest = distance[:, 0]
        return np.where(nearest > self._reach, np.copysign(nearest, tangent), tangent)


@dataclass(frozen=True)
class NonPenetration:
    """No point of the body is inside: -1/2 (depth of the deepest point / tolerance)^2, zero where
    none is.

    The deepest point and not the sum over all: points of one body sink together, and are no
    independent evidence.
    """

    surface: Surface
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """Nats."""
        depth = self.surface.depth(self.body.points(hypotheses)).max(-1)
        return -0.5 * (depth / self.tolerance_m) ** 2


@dataclass(frozen=True)
class Contact:
    """Every part of `body` touches: a normal distribution of its clearance, which is the height of
    its lowest point.

    A part that hangs above the surface and one that is inside are equally wrong.
    """

    surface: Surface
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M
    """Standard deviation of the clearance of each part."""

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """Nats."""
        height = self.surface.height(self.body.points(hypotheses))
        clearance = np.stack(
            [height[:, self.body.part == part].min(-1) for part in np.unique(self.body.part)], -1
        )
        return -0.5 * ((clearance / self.tolerance_m) ** 2).sum(-1)


@dataclass(frozen=True)
class Grasp:
    """The points of `body` and a patch of an object lie on each other: -chamfer distance /
    tolerance.

    MHEntropy's hand-object selection with joints for `body` (its release computes this distance and
    does not use it). `patch` should be what is held and not the whole object, because each of its
    points asks for a point of the body.
    """

    patch: Float[np.ndarray, "M 3"]
    """First camera's frame, metres."""
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)
        if np.ndim(self.patch) != 2 or np.shape(self.patch)[1] != 3 or not len(self.patch):
            raise PenumbraError(
                f"Grasp's patch must hold points (M, 3), not {np.shape(self.patch)}."
            )

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """Nats."""
        return -chamfer(self.body.points(hypotheses), self.patch) / self.tolerance_m


def chamfer(
    bodies: Float[np.ndarray, "K N 3"], patch: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, "K"]:
    """Symmetric chamfer distance, metres: the mean distance of each set's points to the other's
    nearest, both summed.
    """
    to_patch = KDTree(patch).query(bodies)[0].mean(-1)
    to_body = [KDTree(points).query(patch)[0].mean() for points in bodies]
    return to_patch + np.array(to_body)


def _check_tolerance(tolerance_m: float) -> None:
    if not tolerance_m > 0:
        raise PenumbraError(f"tolerance_m must be above 0, not {tolerance_m}.")
