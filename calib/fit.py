"""Fit a calibration to a model's errors on people whom it was not trained on.

Every kind of image (stratum) counts as much as every other, however many images it has, unless it
is to count twice. First the factor of the image and the factors of its joints in turn, the joints'
from the visibility in the ground truth; then the radii, from what the live system computes: factors
mixed by the probability of being visible that the model predicts.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize

from calib.dataset import CalibrationDataset
from engines.circumstances import ImageFactor, floored
from engines.covariance import ELLIPSOID_90, chi_square_3, squared_mahalanobis
from engines.errors import PenumbraError
from engines.uncertainty import CovarianceCalibration, diagonal_map

RADII_LEVELS = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
"""The nominal coverages whose radii are stored."""
_NORMAL_68 = 0.9945
"""Half-width of the interval that holds 68 % of a standard normal."""
_NORMAL_90 = 1.6449
_RAYLEIGH_68 = 1.5096
"""A Rayleigh variable is below it with probability 0.68: two of three axes lie across the ray."""
_RANGE = (0.01, 0.5, 0.99)
"""Quantiles of the circumstances: `ImageFactor`'s `low`, `middle` and `high`."""
_MIN_FACTOR = 0.25
"""Smallest factor: the pelvis, whose distance is kept apart, has no error along its ray."""
_ENOUGH = 100
"""A joint with fewer errors takes the factors of all joints together."""
_TAIL = 4.0
"""Degrees of freedom of the Student's t that errors are taken to follow when slopes are fitted."""
_RIDGE = 0.001
"""Penalty on squared slopes, in units of the circumstances' own spread."""
_MAX_EFFECT = 1.5
"""Bound on the change of the factor's logarithm over the range of one circumstance."""
_TURNS = 3
"""Times that joints and images are fitted in turn."""
_ROUNDS = 40
_MAX_LOG_RATIO = 1.4
"""Bound on the log ratio of a group's squared radius to that of all joints.

Where the model cannot tell visible from occluded joints, no pair of radii is right for both groups,
and the solution would diverge.
"""
_SEED = 0


def fit(errors: CalibrationDataset, twice: Collection[str] = ()) -> CovarianceCalibration:
    """Fit everything that is stored with a model but its metrics.

    Each factor brings 68 % of the errors along its axis within one standard deviation; then both
    axes of a joint are scaled together until its 90 % ellipsoid holds 90 % of the errors. The
    distance of the pelvis has a factor of its own.

    Args:
        errors: of people whom the model was not trained on.
        twice: strata that count twice.

    Raises:
        PenumbraError: the errors are too few for the outermost level, or have no such stratum.
    """
    count = int(errors.known.any(1).sum())
    if count < _ENOUGH:
        raise PenumbraError(
            f"fit: {count} images with known joints are too few to calibrate on; give at least "
            f"{_ENOUGH}."
        )
    if unknown := set(twice) - set(errors.strata):
        raise PenumbraError(
            f"twice: {min(unknown)} is not among the strata; name one of "
            f"{'; '.join(errors.strata)}."
        )
    chosen = balanced(errors.stratum, [errors.strata.index(name) for name in twice])
    errors = replace(errors.rows(chosen), data=_described(errors.data, twice))
    normal = np.array([chi_square_3(level) for level in RADII_LEVELS])
    calibration = CovarianceCalibration(
        visible=np.ones((24, 2)),
        occluded=np.ones((24, 2)),
        image_factor=_constant(errors),
        distance=1.0,
        radii=np.column_stack([RADII_LEVELS, normal, normal]),
        data=errors.data,
    )
    for turn in range(_TURNS + 1):
        factor = calibration.image_factor(errors.circumstances)
        visible, occluded = _factors(errors, factor)
        calibration = replace(calibration, visible=visible, occluded=occluded)
        if turn < _TURNS:
            image_factor = _fit_image_factor(calibration, errors)
            calibration = replace(calibration, image_factor=image_factor)
    calibration = replace(calibration, distance=_fit_distance(errors, calibration.image_factor))
    d2, known = _squared_distances(calibration, errors), errors.known
    radii = fit_radii(d2[known], errors.p_visible[known], errors.visible[known])
    at_90 = radii[RADII_LEVELS.index(0.9), 1:]
    return replace(calibration, radii=radii).scaled(*np.sqrt(at_90 / ELLIPSOID_90))


def _described(data: str, twice: Collection[str]) -> str:
    return f"{data}; counted twice: {'; '.join(twice)}" if twice else data


def balanced(stratum: Int[np.ndarray, "N"], twice: Collection[int] = ()) -> Int[np.ndarray, "M"]:
    """Numbers of images in which every stratum is as frequent as the largest one.

    Smaller strata are repeated as a whole, and the rest is drawn from them.

    Args:
        stratum: of each image.
        twice: strata that are to be twice as frequent.
    """
    rng = np.random.default_rng(_SEED)
    groups = [np.flatnonzero(stratum == number) for number in np.unique(stratum)]
    most = max(len(group) for group in groups)
    chosen = []
    for group in groups:
        whole, rest = divmod(most, len(group))
        part = [np.tile(group, whole), rng.choice(group, rest, replace=False)]
        chosen += 2 * part if stratum[group[0]] in twice else part
    return np.concatenate(chosen)


def _squared_distances(
    calibration: CovarianceCalibration, errors: CalibrationDataset
) -> Float[np.ndarray, "N 24"]:
    """Squared Mahalanobis distances under the calibrated covariances; NaN where unknown."""
    cov = calibration.apply(errors.cov, errors.ray, errors.p_visible, errors.circumstances)
    d2, known = np.full(cov.shape[:2], np.nan), errors.known
    d2[known] = squared_mahalanobis(cov[known], errors.error[known])
    return d2


def fit_radii(
    d2: Float[np.ndarray, "*B"],
    p_visible: Float[np.ndarray, "*B"],
    visible: Bool[np.ndarray, "*B"],
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
    d2: Float[np.ndarray, "*B"],
    p_visible: Float[np.ndarray, "*B"],
    visible: Bool[np.ndarray, "*B"],
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


def _constant(errors: CalibrationDataset) -> ImageFactor:
    """A factor of one over the range of the circumstances."""
    columns = errors.circumstances.columns()
    low, middle, high = (tuple(row.tolist()) for row in np.quantile(columns, _RANGE, axis=0))
    return ImageFactor((0.0, 0.0, 0.0, 0.0), low, middle, high, 0.0)


def _fit_image_factor(
    calibration: CovarianceCalibration, errors: CalibrationDataset
) -> ImageFactor:
    """The slopes that make the errors most likely, given the joints' factors.

    Errors are taken to follow a Student's t with the calibrated covariance for its scale, which
    outliers do not rule; a constant takes up what the tails of that distribution make of the
    joints' factors, and is not kept. The factor rises with the entropy; a larger spread never gives
    a smaller covariance. How much of the person is visible has no slope, as the joints' own factors
    depend on it: with one, what is rendered fits no better, and people who are wholly visible but
    for a limb get too little for that limb (`trainer.hidden_limbs`).
    """
    constant = _constant(errors)
    d2 = _squared_distances(replace(calibration, image_factor=constant), errors)
    known = errors.known
    low, high = np.array(constant.low), np.array(constant.high)
    scale = np.maximum(high - low, 1e-6)
    x = (np.clip(errors.circumstances.columns(), low, high) - constant.middle) / scale
    x = np.column_stack([x, errors.heavy, np.ones(errors.size)])
    image = np.repeat(np.arange(errors.size), known.sum(1))
    d2 = d2[known]

    def loss(weights: Float[np.ndarray, "6"]) -> tuple[float, Float[np.ndarray, "6"]]:
        log_g = (x @ weights)[image]
        shrunk = d2 * np.exp(-2 * log_g)
        value = 3 * log_g + (_TAIL + 3) / 2 * np.log1p(shrunk / _TAIL)
        by_log_g = 3 - (_TAIL + 3) * shrunk / (_TAIL + shrunk)
        gradient = np.bincount(image, by_log_g, errors.size) @ x / len(d2)
        return float(value.mean() + _RIDGE * weights @ weights), gradient + 2 * _RIDGE * weights

    spread_is_monotone = max(-_MAX_EFFECT, -0.9 * scale[1])
    free = (-_MAX_EFFECT, _MAX_EFFECT)
    none = (0.0, 0.0)
    bounds = [(0.0, _MAX_EFFECT), (spread_is_monotone, _MAX_EFFECT), free, none, free, free]
    found = minimize(loss, np.zeros(6), jac=True, bounds=bounds, method="L-BFGS-B").x
    slope = tuple((found[:4] / scale).tolist())
    return replace(constant, slope=slope, heavy=float(found[4]))


def _fit_distance(errors: CalibrationDataset, image_factor: ImageFactor) -> float:
    """The factor that brings 90 % of the known distances within 1.645 standard deviations."""
    known = np.isfinite(errors.distance_error)
    if not known.any():
        return 1.0
    predicted = np.maximum(errors.distance_std * image_factor(errors.circumstances), 1e-6)[known]
    return float(np.quantile(np.abs(errors.distance_error[known]) / predicted, 0.9) / _NORMAL_90)


def _factors(
    errors: CalibrationDataset, factor: Float[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "24 2"], Float[np.ndarray, "24 2"]]:
    """Factors of visible and of occluded joints, across and along the ray."""
    cov = floored(errors.cov) * factor[:, None, None, None] ** 2
    return (
        _fit_joints(errors.error, cov, errors.ray, errors.known & errors.visible),
        _fit_joints(errors.error, cov, errors.ray, errors.known & ~errors.visible),
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
