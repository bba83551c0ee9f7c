"""Bodies that do not pass through themselves: limbs as capsules, capsules as spheres, as rows.

Each limb, torso and head is a chain of spheres between two joints (Bogo et al., Keep it SMPL, 2016,
section 3.2), with the radius that the body's own mesh has there. Two spheres of parts that do not
belong together should not be nearer than their radii allow; the depth by which they are counts in
units of `sigma_m`, for flesh gives way. Of each pair of parts the deepest pair of spheres makes a
row, of which the `MOST` deepest are kept; without a penetration a row neither pulls nor holds.

The shape has no part in the derivative, or people would grow thin to get out of themselves.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from engines.body import BodyModel
from engines.coordinates import DIM, TURNS
from engines.fitting.bodies import Bodies
from engines.fitting.limits import UNLIMITED
from engines.fitting.residuals import Rows
from engines.kernels import Skeleton
from engines.types import JOINT_NAMES, NUM_BETAS, NUM_JOINTS

MOST = 6
"""Pairs of parts that are kept apart at the same time."""
_INNER = 0.25
"""Quantile of the distances of a part's skin from its axis that is the radius of its spheres: limbs
are not round, and what is near the skin may touch."""
_SIDES = ("left", "right")
_AXES = (
    ("pelvis", "spine3"),
    ("spine3", "neck"),
    ("neck", "head"),
    *((f"{side}_shoulder", f"{side}_elbow") for side in _SIDES),
    *((f"{side}_elbow", f"{side}_wrist") for side in _SIDES),
    *((f"{side}_wrist", f"{side}_hand") for side in _SIDES),
    *((f"{side}_hip", f"{side}_knee") for side in _SIDES),
    *((f"{side}_knee", f"{side}_ankle") for side in _SIDES),
    *((f"{side}_ankle", f"{side}_foot") for side in _SIDES),
)
"""From joint to joint, the axes of the parts."""
_BETWEEN = {"pelvis": ("spine1", "spine2"), "neck": ("head",)}
"""Joints whose skin counts too, by the beginning of the axis."""


@dataclass(frozen=True)
class Spheres:
    """n spheres between joints, a part after the other, and which of the q parts may not meet."""

    skeleton: Skeleton
    ends: Int[np.ndarray, "n 2"]
    """The joints that each lies between."""
    share: Float[np.ndarray, "n"]
    """Where: 0 at the first joint, 1 at the second."""
    radius: Float[np.ndarray, "n"]
    """Metres, of the body in its mean shape."""
    first: Int[np.ndarray, "q"]
    """The first sphere of each part."""
    apart: Bool[np.ndarray, "q q"]
    """Whether two parts may not meet, above the diagonal."""
    sigma_m: float = 0.01
    """Depth of a penetration, metres, that is as unlikely as a landmark one sigma away."""

    @staticmethod
    def of(body: BodyModel, sigma_m: float = 0.01) -> "Spheres":
        """Measure a body in its T-pose; parts that touch there, or hang together, may meet."""
        J = body.J_template.astype(np.float64)
        ends, share, radius, first = [], [], [], []
        for names in _AXES:
            a, b = (JOINT_NAMES.index(name) for name in names)
            thickness = _radius(body, *names)
            count = 1 + int(np.ceil(np.linalg.norm(J[b] - J[a]) / (2 * thickness)))
            first.append(len(ends))
            ends += [(a, b)] * count
            share += np.linspace(0.0, 1.0, count).tolist()
            radius += [thickness] * count
        spheres = Spheres(
            Skeleton(body.J_template, body.J_shapedirs),
            np.array(ends),
            np.array(share),
            np.array(radius),
            np.array(first),
            np.triu([[not {*one} & {*other} for other in _AXES] for one in _AXES]),
            sigma_m,
        )
        at_rest = spheres.by_part(spheres.depths(J[None]))[0]
        return replace(spheres, apart=spheres.apart & (at_rest < 0))

    def centers(self, joints: Float[np.ndarray, "K 24 3"]) -> Float[np.ndarray, "K n 3"]:
        """Return the spheres' centres, metres."""
        share = self.share[:, None].astype(joints.dtype)
        return (1.0 - share) * joints[:, self.ends[:, 0]] + share * joints[:, self.ends[:, 1]]

    def depths(self, joints: Float[np.ndarray, "K 24 3"]) -> Float[np.ndarray, "K n n"]:
        """Return how far spheres are in one another, metres, negative where they are apart."""
        centers = self.centers(joints - joints[:, :1])  # near 0, so that squares do not cancel
        squares = (centers**2).sum(-1)
        squared = squares[:, :, None] + squares[:, None] - 2 * centers @ centers.swapaxes(1, 2)
        radius = self.radius.astype(joints.dtype)
        return radius[:, None] + radius - np.sqrt(np.maximum(squared, 0.0))

    def by_part(self, depth: Float[np.ndarray, "K n n"]) -> Float[np.ndarray, "K q q"]:
        """Return the depth of the deepest pair of spheres of each pair of parts."""
        rows = np.maximum.reduceat(depth, self.first, 2)
        return np.maximum.reduceat(rows, self.first, 1)

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare bodies with spheres that do not meet."""
        depths = self.depths(bodies.joints)
        parts = np.where(self.apart, self.by_part(depths), 0.0).reshape(bodies.count, -1)
        deepest = np.argpartition(parts, -MOST, 1)[:, -MOST:]
        depth = np.maximum(np.take_along_axis(parts, deepest, 1), 0.0)
        J = np.zeros((*depth.shape, DIM), depth.dtype)
        body, row = np.nonzero(depth)
        if len(body):
            spheres = self._deepest(depths[body], deepest[body, row])
            J[body, row] = self._derivative(bodies, body, spheres)
        variance = np.where(depth == 0, UNLIMITED, depth.dtype.type(self.sigma_m**2))
        return Rows(-depth, J, variance, 0.5 * (depth**2).sum(-1) / self.sigma_m**2)

    def _deepest(
        self, depths: Float[np.ndarray, "m n n"], pair: Int[np.ndarray, "m"]
    ) -> Int[np.ndarray, "m 2"]:
        """Find the deepest spheres of pairs of parts, each in its own body."""
        part = np.searchsorted(self.first, np.arange(len(self.share)), "right") - 1
        one, other = np.divmod(pair, len(self.first))
        concerned = (part == one[:, None])[:, :, None] & (part == other[:, None])[:, None]
        flat = np.where(concerned, depths, -np.inf).reshape(len(pair), -1).argmax(1)
        return np.stack(np.divmod(flat, len(part)), -1)

    def _derivative(
        self, bodies: Bodies, body: Int[np.ndarray, "m"], spheres: Int[np.ndarray, "m 2"]
    ) -> Float[np.ndarray, "m D"]:
        """Differentiate the depth of m pairs of spheres, the shape staying."""
        concerned, again = np.unique(body, return_inverse=True)
        some = Bodies(*(part[concerned] for part in vars(bodies).values()))
        by_joint = some.joint_jacobian(self.skeleton, np.arange(NUM_JOINTS))
        centers = self.centers(some.joints)[again[:, None], spheres]  # (m, 2, 3)
        away = centers[:, 0] - centers[:, 1]
        unit = away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-6)
        J = np.zeros((len(body), DIM), by_joint.dtype)
        for side, sign in ((0, -1.0), (1, 1.0)):
            share = self.share[spheres[:, side]].astype(J.dtype)
            for end, weight in ((0, 1.0 - share), (1, share)):
                joint = self.ends[spheres[:, side], end]
                along = (unit[:, None] @ by_joint[again, joint])[:, 0]
                J += sign * weight[:, None] * along
        J[:, TURNS : TURNS + NUM_BETAS] = 0.0
        return J


def _radius(body: BodyModel, first: str, last: str) -> float:
    """Return how thick the body is around an axis, metres."""
    owners = [JOINT_NAMES.index(name) for name in (first, *_BETWEEN.get(first, ()))]
    a, b = (body.J_template[JOINT_NAMES.index(name)] for name in (first, last))
    skin = body.full.v_template[body.full.weights[:, owners].sum(-1) > 0.5]
    share = np.clip((skin - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    away = np.linalg.norm(skin - a - share[:, None] * (b - a), axis=-1)
    return float(np.quantile(away, _INNER))
