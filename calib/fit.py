"""Fit a calibration to a model's errors on people whom it was not trained on.

First each joint's factors, from the visibility in the ground truth; then the radii, from what the
live system computes: factors mixed by the probability of being visible that the model predicts.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from calib.dataset import CalibrationDataset
from engines.covariance import ELLIPSOID_90, chi_square_3, squared_mahalanobis
from engines.errors import PenumbraError
from engines.uncertainty import CovarianceCalibration, EntropyFactor, diagonal_map, floored

RADII_LEVELS = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
"""The nominal coverages whose radii are stored."""
_NORMAL_68 = 0.9945
"""Half-width of the interval that holds 68 % of a standard normal."""
_NORMAL_90 = 1.6449
_RAYLEIGH_68 = 1.5096
"""A Rayleigh variable is below it with probability 0.68: two of three axes lie across the ray."""
_RANGE = (0.01, 0.5, 0.99)
"""Quantiles of the entropies: `EntropyFactor`'s `low`, `middle` and `high`."""
_MIN_FACTOR = 0.25
"""Smallest factor: the pelvis, whose distance is kept apart, has no error along its ray."""
_ENOUGH = 100
"""A joint with fewer errors takes the factors of all joints together."""
_ROUNDS = 40
_MAX_LOG_RATIO = 1.4
"""Bound on the log ratio of a group's squared radius to that of all joints.

Where the model cannot tell visible from occluded joints, no pair of radii is right for both groups,
and the solution would diverge.
"""


def fit(errors: CalibrationDataset) -> CovarianceCalibration:
    """Fit everything that is stored with a model but its metrics.

    Each factor brings 68 % of the errors along its axis within one standard deviation; then both
    axes of a joint are scaled together until its 90 % ellipsoid holds 90 % of the errors. The
    distance of the pelvis has a factor of its own.

    Raises:
        PenumbraError: the errors are too few for the outermost level.
    """
    if errors.size < _ENOUGH:
        raise PenumbraError(
            f"fit: {errors.size} images are too few to calibrate on; give at least {_ENOUGH}."
        )
    low, middle, high = (float(value) for value in np.quantile(errors.entropy, _RANGE))
    constant = EntropyFactor(0.0, low, middle, high)
    normal = np.array([chi_square_3(level) for level in RADII_LEVELS])
    visible, occluded = _factors(errors, constant)
    by_joint = CovarianceCalibration(
        visible=visible,
        occluded=occluded,
        entropy_factor=constant,
        distance=1.0,
        radii=np.column_stack([RADII_LEVELS, normal, normal]),
        data=errors.data,
    )
    slope = _fit_slope(_squared_distances(by_joint, errors), errors.entropy, constant)
    entropy_factor = replace(constant, slope=slope)
    visible, occluded = _factors(errors, entropy_factor)
    by_entropy = replace(
        by_joint,
        visible=visible,
        occluded=occluded,
        entropy_factor=entropy_factor,
        distance=_fit_distance(errors, entropy_factor),
    )
    d2 = _squared_distances(by_entropy, errors)
    radii = fit_radii(d2, errors.p_visible, errors.visible)
    at_90 = radii[RADII_LEVELS.index(0.9), 1:]
    return replace(by_entropy, radii=radii).scaled(*np.sqrt(at_90 / ELLIPSOID_90))


def _squared_distances(
    calibration: CovarianceCalibration, errors: CalibrationDataset
) -> Float[np.ndarray, "N 24"]:
    """Squared Mahalanobis distances of the errors under the calibrated covariances."""
    cov = calibration.apply(errors.cov, errors.ray, errors.p_visible, errors.entropy)
    return squared_mahalanobis(cov, errors.error)


def fit_radii(
    d2: Float[np.ndarray, "N J"],
    p_visible: Float[np.ndarray, "N J"],
    visible: Bool[np.ndarray, "N J"],
) -> Float[np.ndarray, "L 3"]:
    """Squared radii of each level, for visible and for occluded joints.

    With p the predicted probability of being visible, the radius r_visible^p r_occluded^(1-p) is to
    hold the level's share of the joints that are visible in the ground truth, and of those that are
    occluded. Where the model is unsure, both radii act on both groups: two equations with two
    unknowns, solved by scaling each radius in turn with the quantile that its group still lacks. A
    group that is empty takes the other's radius.

    Args:
        d2: squared Mahalanobis distances.
        p_visible: the model's probability that the joint is visible.
        visible: whether it is, in the ground truth.

    Returns:
        Rows of `CovarianceCalibration.radii`; every column rises.
    """
    rows = [[level, *_radii_at(level, d2, p_visible, visible)] for level in RADII_LEVELS]
    table = np.array(rows)
    rising = 1 + 1e-9 * np.arange(len(table))
    table[:, 1:] = np.maximum.accumulate(table[:, 1:], axis=0) * rising[:, None]
    return table


def _radii_at(
    level: float,
    d2: Float[np.ndarray, "N J"],
    p_visible: Float[np.ndarray, "N J"],
    visible: Bool[np.ndarray, "N J"],
) -> Float[np.ndarray, "2"]:
    """The two squared radii of one level."""
    groups = [(visible, p_visible), (~visible, 1 - p_visible)]
    pooled = np.log(np.quantile(d2, level))
    log_r = np.full(2, pooled)
    for _ in range(_ROUNDS):
        before = log_r.copy()
        for i, (group, p) in enumerate(groups):
            lacking = np.log(d2) - p * log_r[i] - (1 - p) * log_r[1 - i]
            step = np.quantile(lacking[group], level) if group.any() else log_r[1 - i] - log_r[i]
            log_r[i] = np.clip(log_r[i] + step, pooled - _MAX_LOG_RATIO, pooled + _MAX_LOG_RATIO)
        if np.abs(log_r - before).max() < 1e-4:
            break
    return np.exp(log_r)


def _fit_slope(
    d2: Float[np.ndarray, "N 24"],
    entropy: Float[np.ndarray, "N"],
    entropy_factor: EntropyFactor,
    bins: int = 10,
) -> float:
    """The slope of the factor that images of similar entropy need, never negative.

    The images are sorted into `bins` by their entropy; the logarithm of the factor that each bin
    needs for a coverage of 90 % is regressed on its mean entropy.
    """
    images = np.array_split(np.argsort(entropy), bins)
    needed = [np.log(np.quantile(d2[i], 0.9) / ELLIPSOID_90) / 2 for i in images]
    given = [np.clip(entropy[i], entropy_factor.low, entropy_factor.high).mean() for i in images]
    if np.ptp(given) < 1e-6:
        return 0.0
    return max(float(np.polyfit(given, needed, 1)[0]), 0.0)


def _fit_distance(errors: CalibrationDataset, entropy_factor: EntropyFactor) -> float:
    """The factor that brings 90 % of the distances within 1.645 standard deviations."""
    predicted = np.maximum(errors.distance_std * entropy_factor(errors.entropy), 1e-6)
    return float(np.quantile(np.abs(errors.distance_error) / predicted, 0.9) / _NORMAL_90)


def _factors(
    errors: CalibrationDataset, entropy_factor: EntropyFactor
) -> tuple[Float[np.ndarray, "24 2"], Float[np.ndarray, "24 2"]]:
    """Factors of visible and of occluded joints, across and along the ray."""
    cov = floored(errors.cov) * entropy_factor(errors.entropy)[:, None, None, None] ** 2
    return (
        _fit_joints(errors.error, cov, errors.ray, errors.visible),
        _fit_joints(errors.error, cov, errors.ray, ~errors.visible),
    )


def _fit_joints(
    error: Float[np.ndarray, "N 24 3"],
    cov: Float[np.ndarray, "N 24 3 3"],
    ray: Float[np.ndarray, "N 3"],
    chosen: Bool[np.ndarray, "N 24"],
) -> Float[np.ndarray, "24 2"]:
    """Factors of each joint, from the chosen entries."""
    rays = np.broadcast_to(ray[:, None], error.shape)
    everywhere = _fit_one(error[chosen], cov[chosen], rays[chosen])
    factors = np.tile(everywhere, (24, 1))
    for joint in range(24):
        rows = chosen[:, joint]
        if rows.sum() >= _ENOUGH:
            factors[joint] = _fit_one(error[rows, joint], cov[rows, joint], ray[rows])
    return factors


def _fit_one(
    error: Float[np.ndarray, "M 3"], cov: Float[np.ndarray, "M 3 3"], ray: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, "2"]:
    """Factors across and along the ray of M errors, together."""
    if len(error) == 0:
        return np.ones(2)
    along = (error * ray).sum(-1)
    var_along = np.einsum("ni,nij,nj->n", ray, cov, ray)
    var_across = (np.trace(cov, axis1=-2, axis2=-1) - var_along) / 2
    across = error - along[:, None] * ray
    a = np.quantile(np.linalg.norm(across, axis=-1) / np.sqrt(var_across), 0.68) / _RAYLEIGH_68
    b = np.quantile(np.abs(along) / np.sqrt(var_along), 0.68) / _NORMAL_68
    a, b = max(a, _MIN_FACTOR), max(b, _MIN_FACTOR)
    D = diagonal_map(a, b, ray)
    d2 = squared_mahalanobis(D @ cov @ D, error)
    return np.maximum(np.array([a, b]) * np.sqrt(np.quantile(d2, 0.9) / ELLIPSOID_90), _MIN_FACTOR)
