"""Fit a calibration on people whom the trainer never saw. What it is worth is measured on yet other
people (`calib.report`).

First each joint's factors, from joints whose visibility is known; then the radii, which see what
the live system will: factors mixed by the probability that the model itself gives.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from calib.dataset import CalibrationDataset
from engines.covariance import ELLIPSOID_90, chi_square_3, squared_mahalanobis
from engines.errors import PenumbraError
from engines.uncertainty import CovarianceCalibration, EntropyFactor, diagonal_map, floored

RADII_LEVELS = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
"""The levels whose radii are stored."""
_NORMAL_68 = 0.9945
"""Half-width of the interval that holds 68 % of a standard normal."""
_NORMAL_90 = 1.6449
_RAYLEIGH_68 = 1.5096
"""A Rayleigh variable is below it with probability 0.68: two of three axes lie across the ray."""
_RANGE = (0.01, 0.5, 0.99)
"""Quantiles of the entropies between which they matter, and where nothing is changed."""
_MIN_FACTOR = 0.25
"""Smallest factor: the pelvis, whose distance is kept apart, has no error along its ray, and still
a promise to keep.
"""
_ENOUGH = 100
"""Fewer errors say less about a joint than all joints together do."""
_ROUNDS = 40
_MAX_LOG_RATIO = 1.4
"""Between a group's squared radius and that of all joints: where the model cannot tell seen from
occluded joints, no pair of radii can, and the solution would run away."""


def fit(errors: CalibrationDataset) -> CovarianceCalibration:
    """Fit everything that is stored with a model.

    Each factor brings 68 % of the errors along its axis within one standard deviation; then both
    axes of a joint are scaled together until its 90 % ellipsoid holds 90 % of the errors. The
    pelvis' distance has a factor of its own.

    Raises:
        PenumbraError: if the errors are too few for the outermost level.
    """
    if errors.size < _ENOUGH:
        raise PenumbraError(
            f"--fit: {errors.size} pictures are too few to calibrate on; give at least {_ENOUGH}."
        )
    normal = np.array([chi_square_3(level) for level in RADII_LEVELS])
    low, middle, high = (float(value) for value in np.quantile(errors.entropy, _RANGE))
    flat = EntropyFactor(0.0, low, middle, high)
    first = CovarianceCalibration(
        *_factors(errors, flat),
        flat,
        1.0,
        np.column_stack([RADII_LEVELS, normal, normal]),
        errors.data,
    )
    picture = replace(flat, slope=_fit_slope(_squared(first, errors), errors.entropy, flat))
    visible, occluded = _factors(errors, picture)
    second = replace(
        first,
        visible=visible,
        occluded=occluded,
        entropy_factor=picture,
        distance=_fit_distance(errors, picture),
    )
    radii = radii_of(_squared(second, errors), errors.p_visible, errors.visible)
    at_90 = radii[RADII_LEVELS.index(0.9), 1:]
    return replace(second, radii=radii).scaled(*np.sqrt(at_90 / ELLIPSOID_90))


def _squared(
    calibration: CovarianceCalibration, errors: CalibrationDataset
) -> Float[np.ndarray, "N 24"]:
    cov = calibration.apply(errors.cov, errors.ray, errors.p_visible, errors.entropy)
    return squared_mahalanobis(cov, errors.error)


def radii_of(
    d2: Float[np.ndarray, "N J"],
    p_visible: Float[np.ndarray, "N J"],
    visible: Bool[np.ndarray, "N J"],
) -> Float[np.ndarray, "L 3"]:
    """Squared radii (r_seen, r_hidden) of each level such that r_seen^p r_hidden^(1-p) holds it for
    seen and occluded joints.

    p is the model's probability and the groups are the truth, so where the model is unsure both
    radii act on both groups: two equations with two unknowns, solved by scaling each radius in turn
    with the quantile that its group still lacks. A group that is empty takes the other's radius.
    """
    rows = []
    groups = [(visible, p_visible), (~visible, 1 - p_visible)]
    for level in RADII_LEVELS:
        of_all = np.log(np.quantile(d2, level))
        log_r = np.full(2, of_all)
        for _ in range(_ROUNDS):
            before = log_r.copy()
            for i, (group, p) in enumerate(groups):
                lacking = np.log(d2) - p * log_r[i] - (1 - p) * log_r[1 - i]
                step = (
                    np.quantile(lacking[group], level) if group.any() else log_r[1 - i] - log_r[i]
                )
                log_r[i] = np.clip(
                    log_r[i] + step, of_all - _MAX_LOG_RATIO, of_all + _MAX_LOG_RATIO
                )
            if np.abs(log_r - before).max() < 1e-4:
                break
        rows.append([level, *np.exp(log_r)])
    table = np.array(rows)
    table[:, 1:] = (
        np.maximum.accumulate(table[:, 1:], axis=0) * (1 + 1e-9 * np.arange(len(table)))[:, None]
    )
    return table


def _fit_slope(
    d2: Float[np.ndarray, "N 24"],
    entropy: Float[np.ndarray, "N"],
    picture: EntropyFactor,
    bins: int = 10,
) -> float:
    """Regress the log of the factor that each tenth of the pictures needs on their entropy."""
    tenths = np.array_split(np.argsort(entropy), bins)
    needed = [np.log(np.quantile(d2[i], 0.9) / ELLIPSOID_90) / 2 for i in tenths]
    given = [np.clip(entropy[i], picture.low, picture.high).mean() for i in tenths]
    if np.ptp(given) < 1e-6:
        return 0.0
    return max(float(np.polyfit(given, needed, 1)[0]), 0.0)


def _fit_distance(errors: CalibrationDataset, picture: EntropyFactor) -> float:
    promised = np.maximum(errors.distance_std * picture(errors.entropy), 1e-6)
    return float(np.quantile(np.abs(errors.distance_error) / promised, 0.9) / _NORMAL_90)


def _factors(
    errors: CalibrationDataset, picture: EntropyFactor
) -> tuple[Float[np.ndarray, "24 2"], Float[np.ndarray, "24 2"]]:
    """Of seen and occluded joints."""
    cov = floored(errors.cov) * picture(errors.entropy)[:, None, None, None] ** 2
    seen, occluded = (
        _fit_joints(errors.error, cov, errors.ray, chosen)
        for chosen in (errors.visible, ~errors.visible)
    )
    return seen, occluded


def _fit_joints(
    error: Float[np.ndarray, "N 24 3"],
    cov: Float[np.ndarray, "N 24 3 3"],
    ray: Float[np.ndarray, "N 3"],
    chosen: Bool[np.ndarray, "N 24"],
) -> Float[np.ndarray, "24 2"]:
    """Factors across and along the ray, over the chosen entries."""
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
