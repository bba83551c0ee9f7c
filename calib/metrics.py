"""How far promised uncertainty can be trusted: coverage, calibration error, sparsification, rank
correlation.

`d2` is the squared Mahalanobis distance of an error, delta^T cov^-1 delta. If the promise is kept
it has the chi-square distribution with three degrees of freedom. NumPy and SciPy, no torch; nothing
here is needed at run time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""The shares that are reported."""
_GRID = np.arange(1, 100) / 100


def coverage(
    d2: Float[np.ndarray, "*B"], levels: tuple[float, ...] | Float[np.ndarray, "L"] = LEVELS
) -> Float[np.ndarray, "L"]:
    """Share of errors inside the ellipsoid of each level.

    Args:
        d2: at least one.
        levels: between 0 and 1, exclusive.
    """
    ordered = np.sort(np.asarray(d2, np.float64).ravel())
    assert len(ordered) and not np.isnan(ordered[-1]), "coverage needs numbers"
    return np.searchsorted(ordered, stats.chi2(3).ppf(np.asarray(levels)), "right") / len(ordered)


def expected_calibration_error(d2: Float[np.ndarray, "*B"]) -> float:
    """Mean over the levels 0.01, 0.02, ... 0.99 of |share inside - level|: 0 is perfect, 0.5 the
    worst.
    """
    return float(np.abs(coverage(d2, _GRID) - _GRID).mean())


@dataclass(frozen=True)
class Sparsification:
    """Mean error of what is left when the most uncertain entries are removed, over the mean error
    of all.

    The first value, with nothing removed, is 1.
    """

    removed: Float[np.ndarray, "P"]
    """Shares that are removed: 0, 1/P, ..."""
    by_uncertainty: Float[np.ndarray, "P"]
    oracle: Float[np.ndarray, "P"]
    """Removed by the error itself: nothing can be better."""

    @property
    def ause(self) -> float:
        """Area between the two (Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks,
        ECCV 2018); small is good.
        """
        return float((self.by_uncertainty - self.oracle).mean())


def sparsification(
    error: Float[np.ndarray, "N"], uncertainty: Float[np.ndarray, "N"], points: int = 100
) -> Sparsification:
    """Remove entries in the order of their uncertainty, and of their error.

    Entries of equal uncertainty are removed in proportion, each as if it were their mean, so their
    order in the arrays does not matter.

    Args:
        error: at least one, not negative, not all zero.
        uncertainty: only its order matters; NaN is refused.
        points: of the curve; the last one keeps a share of 1 / points.
    """
    error, uncertainty = np.asarray(error, np.float64), np.asarray(uncertainty, np.float64)
    assert error.shape == uncertainty.shape and error.ndim == 1 and error.sum() > 0
    assert not (np.isnan(error).any() or np.isnan(uncertainty).any()), (
        "sparsification needs numbers"
    )
    removed = np.arange(points) / points
    _, group, sizes = np.unique(uncertainty, return_inverse=True, return_counts=True)
    of_equals = (np.bincount(group, error) / sizes)[group]
    kept = len(error) * (1 - removed)
    curves = [
        _mean_of_first(values, kept) / error.mean()
        for values in (of_equals[np.argsort(group)], np.sort(error))
    ]
    return Sparsification(removed, curves[0], curves[1])


def _mean_of_first(
    values: Float[np.ndarray, "N"], count: Float[np.ndarray, "P"]
) -> Float[np.ndarray, "P"]:
    """Mean of the first `count` values; a fraction of a value counts as a fraction."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.interp(count, np.arange(len(total)), total) / count


def spearman_within_joint(
    error: Float[np.ndarray, "N J"],
    uncertainty: Float[np.ndarray, "N J"],
    use: Bool[np.ndarray, "N J"] | None = None,
) -> Float[np.ndarray, "J"]:
    """Spearman's rank correlation over pictures, for each joint by itself.

    Pooled over joints it would be flattered by wrists having more of both than hips. NaN where it
    is not defined: fewer than three pictures, or one side constant.

    Args:
        error: of the best estimate.
        uncertainty: what was said about it.
        use: entries that count; all when None.
    """
    use = np.ones(error.shape, bool) if use is None else use
    columns = ((error[rows, j], uncertainty[rows, j]) for j, rows in enumerate(use.T))
    return np.array([spearman(e, u) for e, u in columns])


def spearman(a: Float[np.ndarray, "N"], b: Float[np.ndarray, "N"]) -> float:
    """Spearman's rank correlation; NaN where it is not defined: fewer than three values, or one
    side constant.
    """
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.asarray(stats.spearmanr(a, b))[0])
