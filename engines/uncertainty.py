"""A calibration of predicted covariances: what it consists of, and how it is applied.

The covariance of a flow's samples is too small or too large by factors that `calib.fit` measures on
people whom the flow was not trained on: for each joint, visible and occluded, across and along the
viewing ray. Applying them gives

    cov_calibrated = g^2 D (cov + FLOOR_M^2 I) D
    D = a (I - r r^T) + b r r^T
    log g = sum_i slope_i (x_i - middle_i) + heavy [the heavy network found the landmarks]

with the unit viewing ray r, a joint's factors a (across) and b (along), and one factor g for the
whole image, which depends on its circumstances x: the posterior's entropy, how far its samples
spread, how large the person is, and how much of the person is visible (whose slope `calib.fit`
holds at zero). The result is a covariance,
and of two covariances in the same circumstances the larger one stays larger.

Errors have heavier tails than a normal distribution, so no factor makes one covariance right at
every level. The factors are chosen so that the usual 90 % ellipsoid (squared radius 6.25) holds
90 %; for other levels `radii` gives the squared radius that holds them, which lies above or below
chi-square's.

`python -m calib.uncertainty` fits a calibration, measures it, and stores it with the model.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.calibration_metrics import (
    MAX_LEVELS,
    CalibrationMetrics,
    metrics_from_json,
    text,
)
from engines.circumstances import MIN_FACTOR, Circumstances, ImageFactor, floored
from engines.covariance import chi_square_3
from engines.types import JointMoments


@dataclass(frozen=True)
class CovarianceCalibration:
    """Factors on standard deviations, radii, and what they were fitted on."""

    visible: Float[np.ndarray, "24 2"]
    """Factors for visible joints: across the ray, along it."""
    occluded: Float[np.ndarray, "24 2"]
    image_factor: ImageFactor
    """One more factor for all joints of an image."""
    distance: float
    """Factor for the distance of the whole person, multiplied by `image_factor`."""
    radii: Float[np.ndarray, "L 3"]
    """Level, squared radius for visible joints, for occluded ones; columns rise along the rows."""
    data: str
    """What it was fitted on, for people to read."""
    metrics: CalibrationMetrics | None = None
    """None: not measured."""

    def apply(
        self,
        cov: Float[np.ndarray, "*B 24 3 3"],
        ray: Float[np.ndarray, "*B 3"],
        p_visible: Float[np.ndarray, "*B 24"],
        circumstances: Circumstances,
    ) -> Float[np.ndarray, "*B 24 3 3"]:
        """Calibrate the covariances of joints.

        A joint's factors are the geometric mean of those for visible and for occluded joints,
        weighted by `p_visible`.

        Args:
            cov: covariances, the common distance removed, square metres.
            ray: unit viewing ray.
            p_visible: probability that each joint is visible.
            circumstances: of the images.

        Returns:
            Calibrated covariances, square metres.
        """
        return self._apply(cov, ray, p_visible, self.image_factor(circumstances))

    def _apply(
        self,
        cov: Float[np.ndarray, "*B 24 3 3"],
        ray: Float[np.ndarray, "*B 3"],
        p_visible: Float[np.ndarray, "*B 24"],
        image_factor: Float[np.ndarray, "*B"],
    ) -> Float[np.ndarray, "*B 24 3 3"]:
        p = p_visible[..., None]
        factors = np.exp(p * np.log(self.visible) + (1 - p) * np.log(self.occluded))
        factors = (factors * image_factor[..., None, None])[..., None, None]
        D = diagonal_map(factors[..., 0, :, :], factors[..., 1, :, :], ray[..., None, :])
        return D @ floored(cov) @ D

    def apply_to_person(
        self,
        moments: JointMoments,
        p_visible: Float[np.ndarray, "24"],
        entropy: float,
        half_size: float,
        heavy: bool,
    ) -> tuple[Float[np.ndarray, "24 3 3"], float]:
        """Calibrate the covariances of one person's joints, and the distance.

        Args:
            moments: of the joints.
            p_visible: probability that each joint is visible.
            entropy: of the posterior, nats.
            half_size: half the person's size on the plane z = 1.
            heavy: whether the heavy network found the landmarks.

        Returns:
            Covariances, the common distance removed, square metres, and the standard deviation of
            the distance, metres.
        """
        cov = moments.cov.astype(float)
        circumstances = Circumstances.of(cov, p_visible, entropy, half_size, heavy)
        factor = self.image_factor(circumstances)
        cov = self._apply(cov, moments.ray.astype(float), p_visible, factor)
        return cov, moments.distance_std * self.distance * float(factor)

    def apply_to_distance(
        self, std: float | Float[np.ndarray, "*B"], circumstances: Circumstances
    ) -> Float[np.ndarray, "*B"]:
        """Calibrate the standard deviation of the person's distance, metres."""
        return np.asarray(std * self.distance * self.image_factor(circumstances))

    def radius(
        self, level: float, p_visible: float | Float[np.ndarray, "*B"]
    ) -> Float[np.ndarray, "*B"]:
        """The squared Mahalanobis radius that holds a share `level` of the true joints.

        Args:
            level: between 0 and 1, exclusive.
            p_visible: probability that the joint is visible.

        Returns:
            The radius for calibrated covariances.
        """
        log_normal, log_radii = self._logs()
        visible, occluded = (
            _extrapolated(np.log(chi_square_3(level)), log_normal, column) for column in log_radii
        )
        return np.asarray(np.exp(p_visible * visible + (1 - p_visible) * occluded))

    def normal_squared(
        self, d2: Float[np.ndarray, "*B"], p_visible: Float[np.ndarray, "*B"]
    ) -> Float[np.ndarray, "*B"]:
        """Squared Mahalanobis distances mapped to where they would be if errors were normal.

        The result is below chi-square's quantile of a level exactly where `d2` is below
        `radius(level, p_visible)`: it inverts `radius` and inserts the level into chi-square's
        quantile function.
        """
        log_normal, (visible, occluded) = self._logs()
        p = np.asarray(p_visible, np.float64)[..., None]
        knots = p * visible + (1 - p) * occluded  # (*B, L), rising along L
        x = np.log(np.maximum(d2, 1e-12))
        segment = np.clip((knots <= x[..., None]).sum(-1) - 1, 0, len(log_normal) - 2)
        low = np.take_along_axis(knots, segment[..., None], -1)[..., 0]
        high = np.take_along_axis(knots, segment[..., None] + 1, -1)[..., 0]
        slope = (log_normal[segment + 1] - log_normal[segment]) / (high - low)
        slope = np.where((x < low) | (x > high), 1.0, slope)
        start = np.where(
            x > high, log_normal[segment + 1] - high, log_normal[segment] - slope * low
        )
        return np.exp(start + slope * x)

    def _logs(self) -> tuple[Float[np.ndarray, "L"], Float[np.ndarray, "2 L"]]:
        """Logarithms of squared radii: chi-square's, and those for visible and occluded joints."""
        normal = np.array([chi_square_3(level) for level in self.radii[:, 0]])
        return np.log(normal), np.log(self.radii[:, 1:].T)

    def scaled(self, visible: float, occluded: float) -> "CovarianceCalibration":
        """The same ellipsoids from other covariances.

        Standard deviations of visible and of occluded joints are multiplied by a factor each, and
        the squared radii divided by its square.
        """
        radii = self.radii / np.array([1.0, visible**2, occluded**2])
        return replace(
            self, visible=self.visible * visible, occluded=self.occluded * occluded, radii=radii
        )

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON, for a model's record."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "CovarianceCalibration":
        """A calibration from its JSON.

        Raises:
            KeyError, OverflowError, TypeError, ValueError: `data` is not what `to_json` returns.
        """
        return CovarianceCalibration(
            visible=_factors(data["visible"]),
            occluded=_factors(data["occluded"]),
            image_factor=ImageFactor.from_json(data["image_factor"]),
            distance=_factor(data["distance"]),
            radii=_radii(data["radii"]),
            data=text(data["data"]),
            metrics=None if data["metrics"] is None else metrics_from_json(data["metrics"]),
        )


def diagonal_map(
    across: float | Float[np.ndarray, "*#B 1 1"],
    along: float | Float[np.ndarray, "*#B 1 1"],
    ray: Float[np.ndarray, "*#B 3"],
) -> Float[np.ndarray, "*B 3 3"]:
    """The symmetric matrix with eigenvalue `along` for the ray and `across` orthogonal to it."""
    outer = ray[..., :, None] * ray[..., None, :]
    return across * (np.eye(3) - outer) + along * outer


def _extrapolated(
    x: float | Float[np.ndarray, "*B"],
    knots: Float[np.ndarray, "L"],
    values: Float[np.ndarray, "L"],
) -> Float[np.ndarray, "*B"]:
    """Piecewise linear through (knots, values); slope 1 beyond both ends keeps a ratio constant."""
    inner = np.interp(x, knots, values)
    return np.asarray(inner + np.minimum(x - knots[0], 0.0) + np.maximum(x - knots[-1], 0.0))


def _factors(rows: Any) -> Float[np.ndarray, "24 2"]:
    factors = np.array(rows, np.float64)
    if factors.shape != (24, 2):
        raise ValueError("a calibration has 24 x 2 factors")
    return np.vectorize(_factor)(factors)


def _factor(number: Any) -> float:
    factor = float(number)
    if not MIN_FACTOR <= factor <= 1 / MIN_FACTOR:
        raise ValueError(f"a factor of {factor:g} is none that a fit can give")
    return factor


def _radii(rows: Any) -> Float[np.ndarray, "L 3"]:
    radii = np.array(rows, np.float64)
    if radii.ndim != 2 or radii.shape[1] != 3 or not np.isfinite(radii).all():
        raise ValueError("radii has rows of level, visible, occluded")
    if not 2 <= len(radii) <= MAX_LEVELS:
        raise ValueError(f"radii has 2 to {MAX_LEVELS} rows")
    if radii.min() <= 0 or radii[-1, 0] >= 1 or np.diff(radii, axis=0).min() <= 0:
        raise ValueError("radii rise from row to row, and their levels lie between 0 and 1")
    return radii
