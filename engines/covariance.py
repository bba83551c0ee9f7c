"""A point's covariance in other forms: a standard deviation, six values, an ellipsoid.

Covariances are symmetric 3x3 matrices, square metres. Six values stand for one in the order xx, xy,
xz, yy, yz, zz.
"""

from math import erf, exp, pi, sqrt

import numpy as np
from jaxtyping import Bool, Float

ELLIPSOID_90 = 6.251389
"""Squared Mahalanobis radius that holds 90 % of a 3-dimensional normal distribution.

The upper 10 % critical value of chi-square with 3 degrees of freedom (NIST/SEMATECH e-Handbook of
Statistical Methods, table 1.3.6.7.4).
"""

_ROWS, _COLUMNS = np.triu_indices(3)  # xx, xy, xz, yy, yz, zz
_FLOOR = 1e-12  # (1 micrometre)^2: a covariance of zero still contains its own mean


def std_from_cov(cov: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B"]:
    """The standard deviation per axis, sqrt(trace / 3), metres."""
    return np.asarray(np.sqrt(np.trace(cov, axis1=-2, axis2=-1) / 3))


def second_moment(
    cov: Float[np.ndarray, "*B 3 3"], offset: Float[np.ndarray, "*B 3"]
) -> Float[np.ndarray, "*B 3 3"]:
    """The second moment of points about a place that lies `offset` from their mean.

    It is cov + offset offset^T, square metres.
    """
    return cov + offset[..., :, None] * offset[..., None, :]


def six_from_cov(cov: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 6"]:
    """The upper triangle: xx, xy, xz, yy, yz, zz."""
    return cov[..., _ROWS, _COLUMNS]


def cov_from_six(six: Float[np.ndarray, "*B 6"]) -> Float[np.ndarray, "*B 3 3"]:
    """The symmetric matrices of six values each; inverts `six_from_cov`."""
    cov = np.empty((*six.shape[:-1], 3, 3), six.dtype)
    cov[..., _ROWS, _COLUMNS] = six
    cov[..., _COLUMNS, _ROWS] = six
    return cov


def squared_mahalanobis(
    cov: Float[np.ndarray, "*#B 3 3"], delta: Float[np.ndarray, "*#B 3"]
) -> Float[np.ndarray, "*B"]:
    """delta^T cov^-1 delta in float64; variances below a micrometre squared count as that."""
    values, axes = np.linalg.eigh(np.asarray(cov, np.float64))
    along = np.einsum("...xi,...x->...i", axes, delta)
    return np.asarray(np.sum(along**2 / np.maximum(values, _FLOOR), axis=-1))


def ellipsoid_contains(
    cov: Float[np.ndarray, "*#B 3 3"], delta: Float[np.ndarray, "*#B 3"], level: float = 0.9
) -> Bool[np.ndarray, "*B"]:
    """Whether each offset lies inside the ellipsoid that holds a share of a normal distribution.

    Args:
        cov: covariances, square metres.
        delta: offsets from the mean, metres.
        level: the share, between 0 and 1, exclusive.
    """
    return np.asarray(squared_mahalanobis(cov, delta) <= chi_square_3(level))


def chi_square_3(level: float) -> float:
    """The quantile of chi-square with 3 degrees of freedom.

    By bisection of its distribution function F(x) = erf(sqrt(x/2)) - sqrt(2x/pi) exp(-x/2).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    low, high = 0.0, 100.0  # F(100) is 1 in double precision
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = erf(sqrt(middle / 2)) - sqrt(2 * middle / pi) * exp(-middle / 2) < level
        low, high = (middle, high) if below else (low, middle)
    return 0.5 * (low + high)
