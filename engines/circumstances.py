"""What is known of an image without ground truth, and by how much it widens or narrows sigma.

A flow is surer than it should be of some images and less sure than it could be of others. Which
ones, its own entropy tells, how far its samples spread, how large the person is and how much of the
person is visible: `ImageFactor` is the calibration's part for a whole image (`uncertainty.py`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from engines.calibration_metrics import finite

FLOOR_M = 0.004
"""Added, in quadrature, to every predicted standard deviation: a joint is defined no better."""
MIN_FACTOR = 1e-3
"""A stored factor is at least this and at most its inverse."""


@dataclass(frozen=True)
class Circumstances:
    """What is known of an image without ground truth, and what its errors depend on."""

    entropy: float | Float[np.ndarray, "*B"]
    """Of the posterior over bodies, nats (`engines.flow.statistics.entropy`)."""
    spread: float | Float[np.ndarray, "*B"]
    """Log of the uncalibrated standard deviation of the joints (root mean square), log metres."""
    size: float | Float[np.ndarray, "*B"]
    """Log of half the person's size on the plane z = 1."""
    visible: float | Float[np.ndarray, "*B"]
    """Mean probability of the joints to be visible."""
    heavy: float | Float[np.ndarray, "*B"]
    """1 where the heavy network found the landmarks, 0 where the full one did."""

    @staticmethod
    def of(
        cov: Float[np.ndarray, "*B 24 3 3"],
        p_visible: Float[np.ndarray, "*B 24"],
        entropy: float | Float[np.ndarray, "*B"],
        half_size: float | Float[np.ndarray, "*B"],
        heavy: bool | Bool[np.ndarray, "*B"],
    ) -> "Circumstances":
        """Take the circumstances of images.

        Args:
            cov: uncalibrated covariances, the common distance removed, square metres.
            p_visible: probability that each joint is visible.
            entropy: of the posterior, nats.
            half_size: half the person's size on the plane z = 1.
            heavy: whether the heavy network found the landmarks.
        """
        variance = np.trace(floored(cov), axis1=-2, axis2=-1).mean(-1) / 3
        return Circumstances(
            entropy,
            0.5 * np.log(variance),
            np.log(half_size),
            p_visible.mean(-1),
            np.asarray(heavy, np.float64),
        )

    def columns(self) -> Float[np.ndarray, "*B 4"]:
        """The four that `ImageFactor` has slopes for."""
        parts = (self.entropy, self.spread, self.size, self.visible)
        return np.stack(np.broadcast_arrays(*parts), -1).astype(np.float64)


@dataclass(frozen=True)
class ImageFactor:
    """The factor on all standard deviations of an image that its circumstances give.

    Numbers in fours belong to entropy, spread, size and visible share, in this order. Beyond `low`
    and `high` nothing was measured, and the factor is constant.
    """

    slope: tuple[float, float, float, float]
    low: tuple[float, float, float, float]
    middle: tuple[float, float, float, float]
    """Where the factor is 1 with the full network."""
    high: tuple[float, float, float, float]
    heavy: float
    """Added to the factor's logarithm where the heavy network found the landmarks."""

    def __call__(self, circumstances: Circumstances) -> Float[np.ndarray, "*B"]:
        """The factor on standard deviations."""
        x = np.clip(circumstances.columns(), self.low, self.high) - np.array(self.middle)
        return np.asarray(np.exp(x @ np.array(self.slope) + self.heavy * circumstances.heavy))

    @staticmethod
    def from_json(data: dict[str, Any]) -> "ImageFactor":
        """Check and return a stored factor.

        Raises:
            KeyError, OverflowError, TypeError, ValueError: `data` is none.
        """
        fours = {name: _four(data[name]) for name in ("slope", "low", "middle", "high")}
        factor = ImageFactor(heavy=finite(data["heavy"]), **fours)
        reach = np.abs(np.array([factor.low, factor.high]) - factor.middle).max(0)
        largest = float(reach @ np.abs(factor.slope)) + abs(factor.heavy)
        if (np.array(factor.low) > factor.high).any() or not largest <= -np.log(MIN_FACTOR):
            raise ValueError("the image factor leaves the range of factors")
        return factor


def floored(cov: Float[np.ndarray, "*B 3 3"]) -> Float[np.ndarray, "*B 3 3"]:
    """Covariances with the floor under every standard deviation."""
    return cov + FLOOR_M**2 * np.eye(3)


def _four(values: Any) -> tuple[float, float, float, float]:
    entropy, spread, size, visible = (finite(value) for value in values)
    return entropy, spread, size, visible
