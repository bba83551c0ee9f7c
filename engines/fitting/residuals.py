"""What a fit has to explain: rows of residuals, linear in a body's coordinates to first order.

    measured = predicted(body) + noise        residual = measured - predicted        J = d predicted

Whatever can say this much plugs into the solver: landmarks here, joint limits in `limits.py`, and
in the same form a learned prior (the distance to a manifold of poses is one row, a latent normal
has as many as it has dimensions). A robust loss belongs to what it is a loss of, so rows come with
the variance that iteratively reweighted least squares gives them, and with their true cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from engines.camera import NEAREST_M
from engines.coordinates import DIM
from engines.fitting.bodies import Bodies
from engines.kernels import Skeleton


@dataclass(frozen=True)
class Rows:
    """Residuals of K bodies, linearised."""

    residual: Float[np.ndarray, "K r"]
    """Measured minus predicted."""
    J: Float[np.ndarray, "#K r D"]
    """Derivative of what is predicted; one for all bodies where they share it."""
    variance: Float[np.ndarray, "K r"]
    """Of the noise; larger where a robust loss believes a residual less."""
    cost: Float[np.ndarray, "K"]
    """Negative log likelihood of all rows, nats, without its constant."""


@runtime_checkable
class Residuals(Protocol):
    """Something that bodies should agree with."""

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare bodies with it."""
        ...


def stacked(parts: Sequence[Rows]) -> Rows:
    """Put the rows of several residuals below each other."""
    return Rows(
        np.concatenate([part.residual for part in parts], 1),
        np.concatenate([part.J for part in parts], 1),
        np.concatenate([part.variance for part in parts], 1),
        sum((part.cost for part in parts[1:]), parts[0].cost),
    )


@dataclass(frozen=True)
class LandmarkResiduals:
    """Joints against their landmarks in the image, with Cauchy's robust loss.

    A landmark that is s sigmas away costs c^2/2 log(1 + s^2/c^2) with c = `cauchy`: like a normal
    distribution near its mean, and hardly more where the landmark is wrong. Its reweighted variance
    is sigma^2 (1 + s^2/c^2).
    """

    skeleton: Skeleton
    joints: Int[np.ndarray, "m"]
    """The joint that each landmark marks."""
    target: Float[np.ndarray, "#K m 2"]
    """Landmarks on the plane z = 1 of the camera."""
    sigma: Float[np.ndarray, "*#B m"]
    """Their standard deviation per axis on that plane, for all bodies or each."""
    cauchy: float
    """Residual, in sigmas, at which a landmark counts half."""

    def __call__(self, bodies: Bodies) -> Rows:
        """Compare the projections of joints with the landmarks."""
        J, predicted = self.projected(bodies)
        residual = self.target - predicted
        squared = ((residual / self.sigma[..., None]) ** 2).sum(-1) / self.cauchy**2
        cost = 0.5 * self.cauchy**2 * np.log1p(squared).sum(-1)
        variance = np.repeat(self.sigma**2 * (1.0 + squared), 2, axis=-1)
        return Rows(
            residual.reshape(bodies.count, -1), J.reshape(bodies.count, -1, DIM), variance, cost
        )

    def projected(
        self, bodies: Bodies
    ) -> tuple[Float[np.ndarray, "K m 2 D"], Float[np.ndarray, "K m 2"]]:
        """Return the Jacobian of the projections, and the projections."""
        points = bodies.joints[:, self.joints]
        z = np.maximum(points[..., 2:], NEAREST_M)
        predicted = points[..., :2] / z
        across = np.zeros((*predicted.shape, 3), predicted.dtype)
        across[..., :2] = np.eye(2)
        across[..., 2] = np.where(points[..., 2:] > NEAREST_M, -predicted, 0.0)
        by_joint = across / z[..., None]  # (K, m, 2, 3)
        return by_joint @ bodies.joint_jacobian(self.skeleton, self.joints), predicted
