"""Make predicted standard deviations match errors: factors fitted on people that the trainer never saw.

A flow's spread is a promise; this measures by how much it is broken, separately for each joint, seen and hidden, across and
along the viewing ray, and mends it:

    cov -> (s / REFERENCE_M)^(2 slope) D cov D,   D = a (I - r r^T) + b r r^T

r is the unit viewing ray and s the promised standard deviation: large promises may be broken by more than small ones, which
`slope` >= 0 takes into account. A covariance stays a covariance, a larger one stays larger, and it costs a few multiplications.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from calib.covariance import ELLIPSOID_90, ellipsoid_contains, squared_mahalanobis, std_from_cov

_NORMAL_68 = 0.9945
"""Half-width of the interval that holds 68 % of a standard normal."""
REFERENCE_M = 0.05
"""The standard deviation at which `slopes` change nothing."""
_MAX_SLOPE = 0.5
_MIN_FACTOR = 0.25
"""Smallest factor: the pelvis, whose distance is kept apart, has no error along its ray, and still a promise to keep."""
_FLOOR_M = 0.004
"""Added to every predicted standard deviation, so that no promise is perfect: the joint's own definition is not sharper."""


@dataclass(frozen=True)
class Calibration:
    """Factors on standard deviations, and what they were fitted on."""

    visible: Float[np.ndarray, "24 2"]
    """For joints that are seen: across the ray, along it."""
    hidden: Float[np.ndarray, "24 2"]
    slopes: tuple[float, float]
    """How the factor grows with the standard deviation itself: seen, hidden."""
    distance: float
    """For the distance of the whole person."""
    data: str
    """What it was fitted on, for people to read."""
    coverage_visible: float | None
    """Share of true joints inside the calibrated 90 % ellipsoid, on other people than it was fitted on; None: unknown."""
    coverage_hidden: float | None

    def apply(
        self, cov: Float[np.ndarray, "24 3 3"], ray: Float[np.ndarray, "3"], p_visible: Float[np.ndarray, "24"]
    ) -> Float[np.ndarray, "24 3 3"]:
        """Calibrated covariances; between seen and hidden the factors are mixed geometrically by `p_visible`."""
        p = p_visible[:, None]
        factors = np.exp(p * np.log(self.visible) + (1 - p) * np.log(self.hidden))
        along = np.outer(ray, ray)
        across = np.eye(3) - along
        D = factors[:, 0, None, None] * across + factors[:, 1, None, None] * along
        slope = p_visible * self.slopes[0] + (1 - p_visible) * self.slopes[1]
        return D @ _stretch(_floored(cov), slope) @ D

    def to_json(self) -> dict[str, object]:
        """Plain numbers for a record."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_json(data: dict[str, object]) -> "Calibration":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: if it is not what `to_json` gave.
        """
        fields = dict(data)
        for key in ("visible", "hidden"):
            fields[key] = np.array(fields[key], np.float64).reshape(24, 2)
        fields["slopes"] = tuple(data["slopes"])  # pyright: ignore[reportArgumentType]
        return Calibration(**fields)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Errors:
    """What a flow promised and what came of it, N pictures."""

    error: Float[np.ndarray, "N 24 3"]
    """Truth minus best estimate, metres, the common distance removed from both."""
    cov: Float[np.ndarray, "N 24 3 3"]
    """Uncalibrated covariances, square metres."""
    ray: Float[np.ndarray, "N 3"]
    """Unit viewing rays."""
    visible: Bool[np.ndarray, "N 24"]
    """The true visibility, which is what the two sets of factors are for."""
    distance_error: Float[np.ndarray, "N"]
    """Truth minus estimate of the distance along the ray, metres."""
    distance_std: Float[np.ndarray, "N"]
    """Its uncalibrated standard deviation."""


def fit(errors: Errors, data: str) -> Calibration:
    """Fit the factors; `measure` then states what they are worth on other people.

    Each factor first brings 68 % of the errors along its axis within one standard deviation; then both axes of a joint
    are scaled together until its 90 % ellipsoid holds 90 % of the errors.

    Args:
        errors: of people whom the trainer never saw.
        data: what these are, for the record.
    """
    cov, groups = _floored(errors.cov), (errors.visible, ~errors.visible)
    slopes = [_fit_slope(errors.error[chosen], cov[chosen]) for chosen in groups]
    factors = [
        _fit_joints(errors.error, _stretch(cov, slope), errors.ray, chosen)
        for slope, chosen in zip(slopes, groups, strict=True)
    ]
    distance = float(np.quantile(np.abs(errors.distance_error) / errors.distance_std, 0.68) / _NORMAL_68)
    return Calibration(factors[0], factors[1], (slopes[0], slopes[1]), distance, data, None, None)


def measure(calibration: Calibration, errors: Errors) -> Calibration:
    """The calibration with the coverage that it reaches on `errors`, which should not be those it was fitted on."""
    rows = zip(errors.cov, errors.ray, errors.visible.astype(float), strict=True)
    calibrated = np.stack([calibration.apply(cov, ray, p) for cov, ray, p in rows])
    inside = ellipsoid_contains(calibrated, errors.error)
    shares = [
        round(float(inside[chosen].mean()), 4) if chosen.any() else None for chosen in (errors.visible, ~errors.visible)
    ]
    return replace(calibration, coverage_visible=shares[0], coverage_hidden=shares[1])


def _floored(cov: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3 3"]:
    return cov + _FLOOR_M**2 * np.eye(3)


def _stretch(cov: Float[np.ndarray, "*B 3 3"], slope: float | Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B 3 3"]:
    """Multiply standard deviations s by (s / REFERENCE_M)^slope."""
    return cov * ((std_from_cov(cov) / REFERENCE_M) ** (2 * np.asarray(slope)))[..., None, None]


def _fit_slope(error: Float[np.ndarray, "M 3"], cov: Float[np.ndarray, "M 3 3"], bins: int = 10) -> float:
    """Regress the log of the factor that each tenth of the joints needs on the log of what it promised."""
    if len(error) < 50 * bins:
        return 0.0
    std = std_from_cov(cov)
    tenths = np.array_split(np.argsort(std), bins)
    needed = [np.log(np.quantile(squared_mahalanobis(cov[i], error[i]), 0.9) / ELLIPSOID_90) / 2 for i in tenths]
    promised = [np.log(std[i]).mean() for i in tenths]
    return float(np.clip(np.polyfit(promised, needed, 1)[0], 0.0, _MAX_SLOPE))


def _fit_joints(
    error: Float[np.ndarray, "N 24 3"],
    cov: Float[np.ndarray, "N 24 3 3"],
    ray: Float[np.ndarray, "N 3"],
    chosen: Bool[np.ndarray, "N 24"],
) -> Float[np.ndarray, "24 2"]:
    everywhere = [_fit_one(*_pool(error, cov, ray, chosen, range(24)))]
    factors = np.repeat(everywhere, 24, axis=0)
    for joint in range(24):
        if chosen[:, joint].sum() >= 100:  # fewer say less about this joint than all joints together do
            factors[joint] = _fit_one(*_pool(error, cov, ray, chosen, [joint]))
    return factors


def _pool(error: np.ndarray, cov: np.ndarray, ray: np.ndarray, chosen: np.ndarray, joints: range | list[int]) -> tuple:
    joints = list(joints)
    rows = chosen[:, joints]
    rays = np.broadcast_to(ray[:, None], error[:, joints].shape)
    return error[:, joints][rows], cov[:, joints][rows], rays[rows]


def _fit_one(
    error: Float[np.ndarray, "M 3"], cov: Float[np.ndarray, "M 3 3"], ray: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, "2"]:
    if len(error) == 0:
        return np.ones(2)
    along = (error * ray).sum(-1)
    var_along = np.einsum("ni,nij,nj->n", ray, cov, ray)
    var_across = (np.trace(cov, axis1=-2, axis2=-1) - var_along) / 2
    across = error - along[:, None] * ray
    # Two of three axes lie across the ray; a Rayleigh variable is below 1.5096 with probability 0.68.
    a = np.quantile(np.linalg.norm(across, axis=-1) / np.sqrt(var_across), 0.68) / 1.5096
    b = np.quantile(np.abs(along) / np.sqrt(var_along), 0.68) / _NORMAL_68
    a, b = max(a, _MIN_FACTOR), max(b, _MIN_FACTOR)
    outer = ray[:, :, None] * ray[:, None, :]
    D = a * (np.eye(3) - outer) + b * outer
    squared = (error * np.linalg.solve(D @ cov @ D, error[..., None])[..., 0]).sum(-1)
    return np.maximum(np.array([a, b]) * np.sqrt(np.quantile(squared, 0.9) / ELLIPSOID_90), _MIN_FACTOR)
