"""How well a calibration does on people whom it was not fitted on, as it is stored with a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_TEXT = 1000
"""The longest description of what was fitted or measured on, characters."""
MAX_STRATA = 100
"""The most kinds of images that a calibration is measured on."""
MAX_LEVELS = 1000
"""The most levels that a stored calibration has."""


@dataclass(frozen=True)
class StratumCoverage:
    """Coverage on one kind of image; None for groups of joints that it has none of."""

    name: str
    limbs_visible: tuple[float, ...] | None
    limbs_occluded: tuple[float, ...] | None
    trunk: tuple[float, ...] | None


@dataclass(frozen=True)
class CalibrationMetrics:
    """How well a calibration does on other people than it was fitted on."""

    data: str
    """What it was measured on, for people to read."""
    levels: tuple[float, ...]
    """Nominal coverage."""
    coverage: tuple[float, ...]
    """Empirical coverage of each level, with the radii of `CovarianceCalibration.radii`."""
    coverage_visible: tuple[float, ...] | None
    """The same for joints that are visible in the ground truth; None where there was none."""
    coverage_occluded: tuple[float, ...] | None
    coverage_normal: tuple[float, ...]
    """With chi-square's radii instead, as if errors were normally distributed."""
    ece: float
    """Expected calibration error: mean over the levels 0.01 ... 0.99 of |coverage - level|."""
    ece_visible: float | None
    ece_occluded: float | None
    ause: float
    """Area between the sparsification curves by standard deviation and by error.

    This and the next three are over the joints that have a landmark.
    """
    ause_landmarks: float
    """The same for ranking by the landmark network's visibility."""
    ause_constant: float
    """The same for a constant per joint: its mean error where the calibration was fitted."""
    spearman: float | None
    """Rank correlation of standard deviation and error within a joint, mean over joints; None
    where every joint has fewer than three errors, or equal ones."""
    distance: float | None
    """Share of distances within 1.645 standard deviations, nominally 90 %; None where none is
    known."""
    strata: tuple[StratumCoverage, ...]
    """The coverage of each kind of image by itself, with the radii."""


_MAY_BE_UNDEFINED = (
    "coverage_visible",
    "coverage_occluded",
    "ece_visible",
    "ece_occluded",
    "spearman",
    "distance",
)


def metrics_from_json(data: dict[str, Any]) -> CalibrationMetrics:
    """Read metrics from the JSON of a calibration.

    Raises:
        KeyError, OverflowError, TypeError, ValueError: `data` is not what `asdict` makes of
            metrics.
    """
    levels = _shares(data["levels"])
    if len(data["strata"]) > MAX_STRATA:
        raise ValueError(f"strata are at most {MAX_STRATA}")
    strata = tuple(_stratum(one, len(levels)) for one in data["strata"])
    plain: dict[str, Any] = {"data": text(data["data"]), "levels": levels, "strata": strata}
    for name, value in data.items():
        if value is None and name in _MAY_BE_UNDEFINED:
            plain[name] = None
        elif name.startswith("coverage"):
            plain[name] = _shares(value)
            if len(plain[name]) != len(levels):
                raise ValueError(f"{name} has not as many shares as there are levels")
        elif name not in plain:
            plain[name] = finite(value)
    return CalibrationMetrics(**plain)


def _stratum(data: dict[str, Any], levels: int) -> StratumCoverage:
    groups = {
        name: None if data[name] is None else _shares(data[name])
        for name in ("limbs_visible", "limbs_occluded", "trunk")
    }
    if any(shares is not None and len(shares) != levels for shares in groups.values()):
        raise ValueError("a stratum has not as many shares as there are levels")
    return StratumCoverage(name=text(data["name"]), **groups)


def _shares(values: Any) -> tuple[float, ...]:
    shares = tuple(finite(value) for value in values)
    if not all(0 <= share <= 1 for share in shares) or len(shares) > MAX_LEVELS:
        raise ValueError(f"shares lie between 0 and 1, and are at most {MAX_LEVELS}")
    return shares


def finite(value: Any) -> float:
    """Read a finite number.

    Raises:
        OverflowError, TypeError, ValueError: it is none.
    """
    number = float(value)
    if not np.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def text(value: Any) -> str:
    """Read a description that can be printed.

    Raises:
        ValueError: it is none, or too long.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"text has at most {MAX_TEXT} characters, and all can be printed")
    return value
