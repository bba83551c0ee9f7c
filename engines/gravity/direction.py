"""Directions with an uncertainty: unit vectors, and what is said of them in their tangent planes.

A direction u has a covariance C in the plane across it, as a 3x3 matrix with C u = 0, square
radians. Its information is the pseudoinverse of C. The energy of a direction v is then

    v^T C^+ v = |sin|^2 of the angle to u, in units of sigma

so information matrices of independent estimates of one direction add up, and the direction of
least energy is the eigenvector of their sum that belongs to the smallest eigenvalue (Bingham, An
antipodally symmetric distribution on the sphere, Annals of Statistics 2, 1974).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

_LEAST_INFORMATION = 1e-2
"""Of a direction about which nothing is known: 10 radians."""


@dataclass(frozen=True)
class Direction:
    """A unit vector and its covariance."""

    vector: Float[np.ndarray, "3"]
    cov: Float[np.ndarray, "3 3"]
    """Square radians; zero along `vector`."""

    @cached_property
    def information(self) -> Float[np.ndarray, "3 3"]:
        """The pseudoinverse of the covariance."""
        B = tangent_basis(self.vector)
        return B @ np.linalg.inv(B.T @ self.cov @ B) @ B.T

    @property
    def std(self) -> float:
        """Standard deviation of the angle, radians: both axes together."""
        return float(np.sqrt(np.trace(self.cov)))

    def squared_mahalanobis(self, other: "Direction") -> float:
        """How far two independent estimates of one direction lie apart; chi-square, 2 degrees."""
        B = tangent_basis(self.vector)
        away = B.T @ log_direction(self.vector, other.vector)
        return float(away @ np.linalg.solve(B.T @ (self.cov + other.cov) @ B, away))


def direction_of(information: Float[np.ndarray, "3 3"], near: Float[np.ndarray, "3"]) -> Direction:
    """Find the direction of least energy, in the half space of `near`, and its covariance."""
    values, vectors = np.linalg.eigh(information)
    vector = vectors[:, 0] * np.copysign(1.0, vectors[:, 0] @ near)
    curvature = np.maximum(values[1:] - values[0], _LEAST_INFORMATION)
    return Direction(vector, (vectors[:, 1:] / curvature) @ vectors[:, 1:].T)


def tangent_basis(vector: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3 2"]:
    """Two orthonormal vectors across a unit vector, as columns (Duff et al., JCGT 6, 2017)."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    basis = np.empty((*vector.shape, 2))
    basis[..., 0, 0], basis[..., 0, 1] = 1.0 + sign * x * x * a, b
    basis[..., 1, 0], basis[..., 1, 1] = sign * b, sign + y * y * a
    basis[..., 2, 0], basis[..., 2, 1] = -sign * x, -y
    return basis


def log_direction(
    start: Float[np.ndarray, "*B 3"], end: Float[np.ndarray, "*B 3"]
) -> Float[np.ndarray, "*B 3"]:
    """The tangent vector at `start` that leads to `end`: as long as the angle, radians."""
    cosine = (start * end).sum(-1, keepdims=True)
    across = end - cosine * start
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    return across * (np.arctan2(sine, cosine) / np.maximum(sine, 1e-12))
