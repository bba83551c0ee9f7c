"""Make predicted standard deviations match errors: what a calibration is, and what it does to a
covariance.

A flow's spread is a promise; `calib.fit` measures by how much it is broken, separately for each
joint, seen and hidden, across and along the viewing ray, and this mends it:

    cov -> g^2 D (cov + FLOOR_M^2 I) D,   D = a (I - r r^T) + b r r^T,   g = exp(slope (entropy -
    middle))

r is the unit viewing ray. g is one number for the whole picture: where the flow itself finds a
picture hard, it is even less sure than it says. A covariance stays a covariance, a larger one stays
larger, and it costs a few multiplications.

Errors have heavier tails than a normal distribution, so no scale makes one covariance
right at every level. The scale is chosen so that the usual 90 % ellipsoid (squared radius 6.25)
holds 90 %; for other levels `radii` tells the squared radius that holds them, which lies above or
below chi-square's.

    python -m calib.uncertainty --fit val_errors.npz --measure test_errors.npz

fits, measures, draws and stores a calibration (`calib.report`); the files come from
`trainer.calibrate`.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from engines.covariance import chi_square_3

FLOOR_M = 0.004
"""Added to every predicted standard deviation, so that no promise is perfect: the joint's own
definition is not sharper.
"""


@dataclass(frozen=True)
class CalibrationMetrics:
    """What a calibration is worth on other people than it was fitted on."""

    data: str
    """On what this was measured, for people to read."""
    levels: tuple[float, ...]
    """The shares that should be covered."""
    coverage: tuple[float, ...]
    """Those that are, with the radii of `CovarianceCalibration.radii`."""
    coverage_visible: tuple[float, ...] | None
    """Of truly visible joints; None where there was none."""
    coverage_hidden: tuple[float, ...] | None
    coverage_normal: tuple[float, ...]
    """With chi-square's radii instead: what somebody gets who takes the covariance for a normal
    distribution's.
    """
    ece: float
    """Mean over the levels 0.01 ... 0.99 of |covered - level|."""
    ece_visible: float | None
    ece_hidden: float | None
    ause: float
    """Area between the sparsification curves by standard deviation and by error, joints that have a
    landmark.
    """
    ause_landmarks: float
    """The same for ranking by the landmark network's visibility."""
    ause_constant: float
    """The same for a constant per joint: its mean error where the calibration was fitted."""
    spearman: float
    """Rank correlation of standard deviation and error within a joint, mean over joints that have a
    landmark.
    """
    distance: float
    """Share of distances within 1.645 standard deviations, which should be 90 %."""


@dataclass(frozen=True)
class EntropyFactor:
    """How standard deviations depend on the entropy of the posterior of the whole body, nats."""

    slope: float
    low: float
    """Entropies below it count as this: nothing is known about them."""
    middle: float
    """Where the factor is 1."""
    high: float

    def __call__(self, entropy: float | Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
        """The factor on standard deviations."""
        return np.exp(self.slope * (np.clip(entropy, self.low, self.high) - self.middle))


@dataclass(frozen=True)
class CovarianceCalibration:
    """Factors on standard deviations, radii, and what they were fitted on."""

    visible: Float[np.ndarray, "24 2"]
    """Factors for joints that are seen: across the ray, along it."""
    hidden: Float[np.ndarray, "24 2"]
    picture: EntropyFactor
    """One more factor for all joints of a picture."""
    distance: float
    """Factor for the distance of the whole person, beside that of the picture."""
    radii: Float[np.ndarray, "L 3"]
    """Rows of level, squared radius for seen joints, for hidden ones; all three rise from row to
    row.
    """
    data: str
    """What it was fitted on, for people to read."""
    reached: CalibrationMetrics | None = None
    """None: not measured."""

    def apply(
        self,
        cov: Float[np.ndarray, "*B 24 3 3"],
        ray: Float[np.ndarray, "*B 3"],
        p_visible: Float[np.ndarray, "*B 24"],
        entropy: float | Float[np.ndarray, "*B"],
    ) -> Float[np.ndarray, "*B 24 3 3"]:
        """Calibrated covariances; between seen and hidden the factors are mixed geometrically by
        `p_visible`.

        Args:
            cov: of the joints, the common distance removed, square metres.
            ray: unit viewing ray.
            p_visible: probability that each joint is seen.
            entropy: of the posterior, nats (`engines.flow.statistics.entropy`).
        """
        p = p_visible[..., None]
        factors = np.exp(p * np.log(self.visible) + (1 - p) * np.log(self.hidden))
        factors = (factors * self.picture(entropy)[..., None, None])[..., None, None]
        D = diagonal_map(factors[..., 0, :, :], factors[..., 1, :, :], ray[..., None, :])
        return D @ floored(cov) @ D

    def apply_to_distance(
        self, std: float | Float[np.ndarray, "*B"], entropy: float | Float[np.ndarray, "*B"]
    ) -> Float[np.ndarray, "*B"]:
        """Calibrated standard deviation of the person's distance."""
        return std * self.distance * self.picture(entropy)

    def radius(self, level: float, p_visible: Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
        """The squared Mahalanobis radius, for calibrated covariances, that holds a share `level` of
        true joints.

        Args:
            level: between 0 and 1, exclusive.
            p_visible: probability that the joint is seen.
        """
        log_normal, log_radii = self._logs()
        seen, hidden = (
            _along(np.log(chi_square_3(level)), log_normal, column) for column in log_radii
        )
        return np.exp(p_visible * seen + (1 - p_visible) * hidden)

    def normal_squared(
        self, d2: Float[np.ndarray, "*B"], p_visible: Float[np.ndarray, "*B"]
    ) -> Float[np.ndarray, "*B"]:
        """Squared Mahalanobis distances as they would be if errors were normal: the inverse of
        `radius`, then chi-square's.

        What it returns is below chi-square's quantile of a level exactly where `d2` is below
        `radius(level, p_visible)`.
        """
        log_normal, (seen, hidden) = self._logs()
        p = np.asarray(p_visible, np.float64)[..., None]
        knots = p * seen + (1 - p) * hidden  # (*B, L), rising along L
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
        normal = np.array([chi_square_3(level) for level in self.radii[:, 0]])
        return np.log(normal), np.log(self.radii[:, 1:].T)

    def scaled(self, visible: float, hidden: float) -> "CovarianceCalibration":
        """The same ellipsoids said otherwise: standard deviations times a factor, squared radii
        divided by its square.
        """
        radii = self.radii / np.array([1.0, visible**2, hidden**2])
        return replace(
            self, visible=self.visible * visible, hidden=self.hidden * hidden, radii=radii
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers for a record."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "CovarianceCalibration":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: if it is not what `to_json` gave.
        """
        visible, hidden = (np.array(data[key], np.float64) for key in ("visible", "hidden"))
        if visible.shape != (24, 2) or hidden.shape != (24, 2):
            raise ValueError("a calibration has 24 x 2 factors")
        radii = np.array(data["radii"], np.float64)
        _check_radii(radii)
        picture = EntropyFactor(**data["picture"])
        reached = None if data["reached"] is None else _reached(data["reached"])
        return CovarianceCalibration(
            visible, hidden, picture, float(data["distance"]), radii, str(data["data"]), reached
        )


def floored(cov: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """With the floor under every standard deviation."""
    return cov + FLOOR_M**2 * np.eye(3)


def diagonal_map(
    across: float | np.ndarray, along: float | np.ndarray, ray: Float[np.ndarray, "*B 3"]
) -> Float[np.ndarray, "*B 3 3"]:
    """The symmetric matrix with the eigenvalue `along` for the ray and `across` for what is at
    right angles to it.
    """
    outer = ray[..., :, None] * ray[..., None, :]
    return across * (np.eye(3) - outer) + along * outer


def _along(
    x: float | Float[np.ndarray, "*B"],
    knots: Float[np.ndarray, "L"],
    values: Float[np.ndarray, "L"],
) -> Float[np.ndarray, "*B"]:
    """Piecewise linear through (knots, values), with slope 1 beyond both ends: there the ratio of
    radii stays.
    """
    inner = np.interp(x, knots, values)
    return inner + np.minimum(x - knots[0], 0.0) + np.maximum(x - knots[-1], 0.0)


def _check_radii(radii: np.ndarray) -> None:
    if radii.ndim != 2 or radii.shape[1] != 3 or len(radii) < 2 or not np.isfinite(radii).all():
        raise ValueError("radii has at least two rows of level, seen, hidden")
    if radii.min() <= 0 or radii[-1, 0] >= 1 or np.diff(radii, axis=0).min() <= 0:
        raise ValueError("radii rise from row to row, and their levels lie between 0 and 1")


def _reached(data: dict[str, Any]) -> CalibrationMetrics:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    return CalibrationMetrics(**plain)
