"""Points of the bodies that touch things: a thinned skin, or bare joints.

A hundred bodies are 200,000 points on the decimated mesh and 1.2 million on the full one.
Contact asks only for some parts, and penetration for the deepest point, which a few hundred points
that are spread evenly find to within millimetres (`tests/test_evidence_surfaces.py` measures it
against all vertices).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from engines.body import BodyMesh, BodyModel
from engines.errors import PenumbraError
from engines.types import JOINT_NAMES, Hypotheses


@runtime_checkable
class BodyPoints(Protocol):
    """Points that every hypothesis has."""

    @property
    def part(self) -> Int[np.ndarray, "N"]:
        """The joint that each point moves with most."""
        ...

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """Camera frame, metres."""
        ...


@dataclass(frozen=True)
class Skin:
    """Points on the body's surface."""

    model: BodyModel
    """A body whose decimated mesh consists of these points and has no triangles."""
    part: Int[np.ndarray, "N"]

    @staticmethod
    def of(model: BodyModel, parts: Sequence[str] = JOINT_NAMES, count: int = 500) -> "Skin":
        """Spread points over the skin of some parts.

        Args:
            model: the body that the hypotheses were drawn for.
            parts: names of joints (`engines.types.JOINT_NAMES`); a vertex belongs to the joint with
                the largest skinning weight, so "left_foot" is the toes and ball of the foot,
                "left_ankle" its heel.
            count: of points at most, spread evenly over the decimated mesh in the T-pose.

        Raises:
            PenumbraError: an unknown joint, none at all, or a count below one.
        """
        owner = model.decimated.weights.argmax(1)
        vertices = np.flatnonzero(np.isin(owner, joint_ids(parts)))
        if count < 1 or not len(vertices):
            raise PenumbraError(
                f"Skin needs a count of at least 1 and parts that have skin, not {count} of {parts}."
            )
        kept = vertices[_spread(model.decimated.v_template[vertices], count)]
        mesh = model.decimated
        thin = BodyMesh(
            mesh.v_template[kept],
            mesh.shapedirs[kept],
            None if mesh.posedirs is None else mesh.posedirs[kept],
            mesh.weights[kept],
            np.zeros((0, 3), np.int32),
        )
        return Skin(replace(model, decimated=thin), owner[kept])

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """Camera frame, metres."""
        posed = self.model.shaped(hypotheses.betas).posed(hypotheses.rotvec, hypotheses.transl)
        return posed.vertices("decimated")


@dataclass(frozen=True)
class BareJoints:
    """The joints themselves: no body model needed, no flesh counted."""

    part: Int[np.ndarray, "N"]

    @staticmethod
    def of(parts: Sequence[str] = JOINT_NAMES) -> "BareJoints":
        """By name.

        Raises:
            PenumbraError: an unknown joint, or none at all.
        """
        return BareJoints(joint_ids(parts))

    def points(self, hypotheses: Hypotheses) -> Float[np.ndarray, "K N 3"]:
        """Camera frame, metres."""
        return hypotheses.joints[:, self.part]


def joint_ids(names: Sequence[str]) -> Int[np.ndarray, "N"]:
    """Indices of joints.

    Raises:
        PenumbraError: an unknown joint, or none at all.
    """
    unknown = [name for name in names if name not in JOINT_NAMES]
    if unknown or not len(names):
        raise PenumbraError(
            f"parts must name joints of {', '.join(JOINT_NAMES)}; got {list(names)}."
        )
    return np.array([JOINT_NAMES.index(name) for name in names])


def _spread(points: Float[np.ndarray, "V 3"], count: int) -> Int[np.ndarray, "N"]:
    """Indices of farthest points: each next one is farthest from those before (Gonzalez, 1985)."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)
