"""Bodies and known surfaces: no part of a body is inside them, feet stand, hands hold.

    floor = Plane.through(point, up)                              # camera frame, metres
    surface = BodySurface.of(body)
    soles = BodySurface.of(body, ("left_foot", "left_ankle"))
    posterior = reweight(hypotheses, NonPenetration(floor, surface), Contact(floor, soles))

A plane in metres also determines the person's distance, which one camera hardly does. Needs SciPy.

Bodies are compared with surfaces at points: their joints, or a few hundred vertices spread evenly
over the mesh. All vertices of a hundred bodies would be 200,000 points (decimated mesh); the few
find the deepest point to within millimetres (`tests/engines/evidence/test_contact.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from engines.body import BodyMesh, BodyModel
from engines.errors import PenumbraError
from engines.evidence.surfaces import Surface
from engines.types import JOINT_NAMES, Hypotheses

TOLERANCE_M = 0.02
"""Flesh gives way, and floors and bodies are modelled no better than this."""


@runtime_checkable
class BodyPoints(Protocol):
    """Points that every hypothesis has."""

    @property
    def part(self) -> Int[np.ndarray, "N"]:
        """The joint that each point moves with most."""
        ...

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """The points of each body, camera frame, metres."""
        ...


@dataclass(frozen=True)
class BodySurface:
    """Points on the body's surface."""

    model: BodyModel
    """A body whose decimated mesh consists of these points and has no triangles."""
    part: Int[np.ndarray, "N"]

    @staticmethod
    def of(model: BodyModel, parts: Sequence[str] = JOINT_NAMES, count: int = 500) -> "BodySurface":
        """Spread points over the surface of some parts.

        Args:
            model: the body that the hypotheses were sampled for.
            parts: names of joints (`engines.types.JOINT_NAMES`); a vertex belongs to the joint with
                the largest skinning weight, so "left_foot" is the toes and ball of the foot,
                "left_ankle" its heel.
            count: the largest number of points, spread evenly over the decimated mesh at rest.

        Raises:
            PenumbraError: an unknown joint, none at all, or a count below one.
        """
        mesh = model.decimated
        owner = mesh.weights.argmax(1)
        vertices = np.flatnonzero(np.isin(owner, joint_ids(parts)))
        if count < 1:
            raise PenumbraError(f"count: must be at least 1, not {count}; ask for more points.")
        if not len(vertices):
            raise PenumbraError(f"parts: no vertex belongs to {list(parts)}; name more joints.")
        kept = vertices[_farthest_points(mesh.v_template[vertices], count)]
        thinned = BodyMesh(
            mesh.v_template[kept],
            mesh.shapedirs[kept],
            None if mesh.posedirs is None else mesh.posedirs[kept],
            mesh.weights[kept],
            np.zeros((0, 3), np.int32),
        )
        return BodySurface(replace(model, decimated=thinned), owner[kept])

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """The points of each body, camera frame, metres."""
        posed = self.model.shaped(hypotheses.betas).posed(hypotheses.rotvec, hypotheses.transl)
        return posed.vertices("decimated")


@dataclass(frozen=True)
class BodyJoints:
    """The joints themselves: no body model is needed, and no flesh is around them."""

    part: Int[np.ndarray, "N"]

    @staticmethod
    def of(parts: Sequence[str] = JOINT_NAMES) -> "BodyJoints":
        """Joints by name.

        Raises:
            PenumbraError: an unknown joint, or none at all.
        """
        return BodyJoints(joint_ids(parts))

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """The joints of each body, camera frame, metres."""
        return hypotheses.joints[:, self.part]


def joint_ids(names: Sequence[str]) -> Int[np.ndarray, "N"]:
    """Indices of joints.

    Raises:
        PenumbraError: an unknown joint, or none at all.
    """
    unknown = [name for name in names if name not in JOINT_NAMES]
    if unknown or not len(names):
        raise PenumbraError(f"parts: {list(names)} is not known; name {', '.join(JOINT_NAMES)}.")
    return np.array([JOINT_NAMES.index(name) for name in names])


def _farthest_points(points: Float[np.ndarray, "V 3"], count: int) -> Int[np.ndarray, "N"]:
    """Indices of points, each next one farthest from those before (Gonzalez, 1985)."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


@dataclass(frozen=True)
class NonPenetration:
    """No point of the body is inside: -1/2 (depth of the deepest point / tolerance)^2.

    The deepest point and not the sum over all: points of one body sink together, and are no
    independent evidence.
    """

    surface: Surface
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """The log likelihood of each body, nats."""
        depth = self.surface.depth(self.body.points(hypotheses)).max(-1)
        return -0.5 * (depth / self.tolerance_m) ** 2


@dataclass(frozen=True)
class Contact:
    """Every part of `body` touches: its clearance, the height of its lowest point, is normal.

    A part that hangs above the surface and one that is inside are equally unlikely.
    """

    surface: Surface
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M
    """Standard deviation of the clearance of each part."""

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """The log likelihood of each body, nats."""
        height = self.surface.height(self.body.points(hypotheses))
        clearance = np.stack(
            [height[:, self.body.part == part].min(-1) for part in np.unique(self.body.part)], -1
        )
        return -0.5 * ((clearance / self.tolerance_m) ** 2).sum(-1)


@dataclass(frozen=True)
class Grasp:
    """The points of `body` lie on a patch of an object: -chamfer distance / tolerance.

    MHEntropy's hand-object selection with joints for `body` (its release computes this distance and
    does not use it). `patch` should be what is held and not the whole object, because each of its
    points is to be near a point of the body.
    """

    patch: Float[np.ndarray, "M 3"]
    """First camera's frame, metres."""
    body: BodyPoints
    tolerance_m: float = TOLERANCE_M

    def __post_init__(self) -> None:
        _check_tolerance(self.tolerance_m)
        if np.ndim(self.patch) != 2 or np.shape(self.patch)[1] != 3 or not len(self.patch):
            raise PenumbraError(
                f"patch: must have shape (M, 3) with M above 0, not {np.shape(self.patch)}."
            )

    def log_likelihood(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K"]:
        """The log likelihood of each body, nats."""
        return -chamfer(self.body.points(hypotheses), self.patch) / self.tolerance_m


def chamfer(
    bodies: Float[np.ndarray, "K N 3"], patch: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, "K"]:
    """Symmetric chamfer distance, metres: mean nearest distances, in both directions, summed."""
    to_patch = KDTree(patch).query(bodies)[0].mean(-1)
    to_body = [KDTree(points).query(patch)[0].mean() for points in bodies]
    return to_patch + np.array(to_body)


def _check_tolerance(tolerance_m: float) -> None:
    if not tolerance_m > 0:
        raise PenumbraError(f"tolerance_m: must be above 0, not {tolerance_m}; leave it out.")
