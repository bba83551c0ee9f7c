"""How well predicted uncertainty matches errors: coverage, ECE, sparsification, rank correlation.

`d2` is the squared Mahalanobis distance of an error, delta^T cov^-1 delta. For a normal error with
that covariance it has the chi-square distribution with three degrees of freedom. NumPy and SciPy,
no torch; nothing here is needed at run time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import stats

from calib.dataset import CalibrationDataset
from engines.calibration_metrics import CalibrationMetrics, StratumCoverage
from engines.covariance import squared_mahalanobis, std_from_cov
from engines.types import LIMB_JOINTS
from engines.uncertainty import CovarianceCalibration

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""The nominal coverages that are reported."""
_GRID = np.arange(1, 100) / 100


def coverage(
    d2: Float[np.ndarray, "*B"], levels: tuple[float, ...] | Float[np.ndarray, "L"] = LEVELS
) -> Float[np.ndarray, "L"]:
    """Share of errors inside the ellipsoid of each level.

    Args:
        d2: squared Mahalanobis distances, at least one.
        levels: nominal coverages, between 0 and 1, exclusive.
    """
    ordered = np.sort(np.asarray(d2, np.float64).ravel())
    assert len(ordered) and not np.isnan(ordered[-1]), "coverage needs numbers"
    return np.searchsorted(ordered, stats.chi2(3).ppf(np.asarray(levels)), "right") / len(ordered)


def expected_calibration_error(d2: Float[np.ndarray, "*B"]) -> float:
    """Mean over the levels 0.01, 0.02, ... 0.99 of |coverage - level|: from 0, perfect, to 0.5."""
    return float(np.abs(coverage(d2, _GRID) - _GRID).mean())


@dataclass(frozen=True)
class Sparsification:
    """A sparsification curve: the mean error of what is left as uncertain entries are removed.

    Errors are divided by the mean error of all entries, so each curve starts at 1.
    """

    removed: Float[np.ndarray, "P"]
    """Shares that are removed: 0, 1/P, ..."""
    by_uncertainty: Float[np.ndarray, "P"]
    oracle: Float[np.ndarray, "P"]
    """The curve where entries are removed by the error itself: nothing can be better."""

    @property
    def ause(self) -> float:
        """Area under the sparsification error; small is good.

        Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks, ECCV 2018.
        """
        return float((self.by_uncertainty - self.oracle).mean())


def sparsification(
    error: Float[np.ndarray, "N"], uncertainty: Float[np.ndarray, "N"], points: int = 100
) -> Sparsification:
    """The curves that remove entries in the order of their uncertainty, and of their error.

    Entries of equal uncertainty are removed in proportion, each as if it were their mean, so their
    order in the arrays does not matter.

    Args:
        error: errors, at least one, not negative, not all zero.
        uncertainty: anything of which only the order matters; NaN is refused.
        points: how many the curve has; the last one keeps a share of 1 / points.
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
    """Spearman's rank correlation over images, for each joint by itself.

    Pooled over joints it would be too high, because wrists have more of both than hips.

    Args:
        error: errors of the best estimate.
        uncertainty: predicted uncertainties.
        use: entries that count; all when None.

    Returns:
        One correlation a joint; NaN where `spearman` is not defined.
    """
    use = np.ones(error.shape, bool) if use is None else use
    columns = ((error[rows, j], uncertainty[rows, j]) for j, rows in enumerate(use.T))
    return np.array([spearman(e, u) for e, u in columns])


def spearman(a: Real[np.ndarray, "N"], b: Real[np.ndarray, "N"]) -> float:
    """Spearman's rank correlation; NaN for fewer than three values or a constant side."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.asarray(stats.spearmanr(a, b))[0])


@dataclass(frozen=True)
class Evaluation:
    """A calibration on a dataset: the distances and curves to draw, and the metrics to store."""

    d2: Float[np.ndarray, "N 24"]
    """Squared Mahalanobis distances of the true joints under the calibrated covariances.

    NaN where the ground truth is not known.
    """
    d2_normal: Float[np.ndarray, "N 24"]
    """The same after `CovarianceCalibration.normal_squared`: chi-square if all is well."""
    visible: Bool[np.ndarray, "N 24"]
    sparsification: dict[str, Sparsification]
    """By what entries are removed: standard deviation, landmark visibility, joint."""
    metrics: CalibrationMetrics


def evaluate(
    calibration: CovarianceCalibration,
    errors: CalibrationDataset,
    usual_error: Float[np.ndarray, "24"],
) -> Evaluation:
    """Apply a calibration to people whom it was not fitted on, and compare with their errors.

    Args:
        calibration: what `calib.fit.fit` returned.
        errors: the people to measure on.
        usual_error: mean error of each joint where the calibration was fitted, metres; the
            uncertainty of the baseline "joint", which is the same for every image.
    """
    circumstances = errors.circumstances
    cov = calibration.apply(errors.cov, errors.ray, errors.p_visible, circumstances)
    known = errors.known
    d2 = np.full(known.shape, np.nan)
    d2[known] = squared_mahalanobis(cov[known], errors.error[known])
    d2_normal = np.full(known.shape, np.nan)
    d2_normal[known] = calibration.normal_squared(d2[known], errors.p_visible[known])
    error = np.linalg.norm(errors.error, axis=-1)
    std = std_from_cov(cov)
    use = known & ~np.isnan(errors.landmark_visibility)
    uncertainties = {
        "standard deviation": std,
        "landmark visibility": -errors.landmark_visibility,
        "joint": np.broadcast_to(usual_error, use.shape),
    }
    curves = {
        name: sparsification(error[use], uncertainty[use])
        for name, uncertainty in uncertainties.items()
    }
    visible, occluded = d2_normal[known & errors.visible], d2_normal[known & ~errors.visible]
    metrics = CalibrationMetrics(
        data=errors.data,
        levels=LEVELS,
        coverage=_rounded_coverage(d2_normal[known]),
        coverage_visible=_rounded_coverage(visible) if len(visible) else None,
        coverage_occluded=_rounded_coverage(occluded) if len(occluded) else None,
        coverage_normal=_rounded_coverage(d2[known]),
        ece=_rounded(expected_calibration_error(d2_normal[known])),
        ece_visible=_rounded(expected_calibration_error(visible)) if len(visible) else None,
        ece_occluded=_rounded(expected_calibration_error(occluded)) if len(occluded) else None,
        ause=_rounded(curves["standard deviation"].ause),
        ause_landmarks=_rounded(curves["landmark visibility"].ause),
        ause_constant=_rounded(curves["joint"].ause),
        spearman=_rounded_mean(spearman_within_joint(error, std, use)),
        distance=_rounded_mean(_distance_inside(calibration, errors)),
        strata=tuple(
            _stratum(errors, d2_normal, int(number)) for number in np.unique(errors.stratum)
        ),
    )
    return Evaluation(d2, d2_normal, errors.visible, curves, metrics)


def _stratum(
    errors: CalibrationDataset, d2: Float[np.ndarray, "N 24"], number: int
) -> StratumCoverage:
    """Coverage on the images of one kind, limbs apart from the trunk."""
    limb = np.isin(np.arange(d2.shape[1]), LIMB_JOINTS)
    here = (errors.stratum == number)[:, None] & errors.known
    groups = {
        "limbs_visible": here & limb & errors.visible,
        "limbs_occluded": here & limb & ~errors.visible,
        "trunk": here & ~limb,
    }
    shares = {
        name: _rounded_coverage(d2[group]) if group.any() else None
        for name, group in groups.items()
    }
    return StratumCoverage(errors.strata[number], **shares)


def _distance_inside(
    calibration: CovarianceCalibration, errors: CalibrationDataset
) -> Float[np.ndarray, "N"]:
    """1 for distances inside the interval that nominally holds 90 %, 0 outside; NaN if unknown."""
    std = calibration.apply_to_distance(errors.distance_std, errors.circumstances)
    inside = np.abs(errors.distance_error) <= 1.645 * std
    return np.where(np.isfinite(errors.distance_error), inside, np.nan)


def _rounded_coverage(d2: np.ndarray) -> tuple[float, ...]:
    return tuple(_rounded(share) for share in coverage(d2))


def _rounded_mean(values: Float[np.ndarray, "N"]) -> float | None:
    """The mean of those that are not NaN; None where there are none."""
    defined = values[~np.isnan(values)]
    return _rounded(defined.mean()) if len(defined) else None


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
