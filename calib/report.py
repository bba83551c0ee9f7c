"""Fit, measure, draw, store: what `python -m calib.uncertainty` does.

    python -m calib.uncertainty --fit val_errors.npz --measure test_errors.npz --record
    engines/assets/flow.json --figures DIR

`--fit` and `--measure` are files of `calib.dataset` about different people. The record gets the
calibration with what it reaches; the folder gets `reliability.png` and `sparsification.png`.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from calib import figures
from calib.dataset import CalibrationDataset
from calib.fit import fit
from calib.metrics import (
    LEVELS,
    Sparsification,
    coverage,
    expected_calibration_error,
    sparsification,
    spearman_within_joint,
)
from engines.covariance import squared_mahalanobis, std_from_cov
from engines.errors import PenumbraError
from engines.uncertainty import CalibrationMetrics, CovarianceCalibration


@dataclass(frozen=True)
class Judged:
    """A calibration's promises beside what came of them."""

    d2: Float[np.ndarray, "N 24"]
    """Squared Mahalanobis distances of the true joints."""
    normal: Float[np.ndarray, "N 24"]
    """The same after the radii: chi-square if all is well."""
    visible: Bool[np.ndarray, "N 24"]
    error: Float[np.ndarray, "N 24"]
    """Metres."""
    std: Float[np.ndarray, "N 24"]
    """Metres, per axis."""


def judge(calibration: CovarianceCalibration, errors: CalibrationDataset) -> Judged:
    """Apply a calibration to pictures whose truth is known."""
    cov = calibration.apply(errors.cov, errors.ray, errors.p_visible, errors.entropy)
    d2 = squared_mahalanobis(cov, errors.error)
    normal = calibration.normal_squared(d2, errors.p_visible)
    return Judged(
        d2, normal, errors.visible, np.linalg.norm(errors.error, axis=-1), std_from_cov(cov)
    )


def rankings(
    judged: Judged, errors: CalibrationDataset, usual_error: Float[np.ndarray, "24"]
) -> dict[str, Sparsification]:
    """Sparsification by the calibrated standard deviation and by two things that cost nothing,
    joints with a landmark only.

    Args:
        judged: of `errors`.
        errors: the same pictures.
        usual_error: mean error of each joint on the people that the calibration was fitted on.
    """
    use = ~np.isnan(errors.landmark_visibility)
    constant = np.broadcast_to(usual_error, use.shape)
    by = {
        "standard deviation": judged.std,
        "landmark visibility": -errors.landmark_visibility,
        "joint": constant,
    }
    return {
        name: sparsification(judged.error[use], uncertainty[use])
        for name, uncertainty in by.items()
    }


def measure(
    calibration: CovarianceCalibration,
    judged: Judged,
    errors: CalibrationDataset,
    ranked: dict[str, Sparsification],
) -> CovarianceCalibration:
    """The calibration with what it reaches on `errors`, which should not be those it was fitted
    on.
    """
    use = ~np.isnan(errors.landmark_visibility)
    groups = (np.ones_like(use), judged.visible, ~judged.visible)
    every, seen, occluded = (judged.normal[group] for group in groups)
    spearman = spearman_within_joint(judged.error, judged.std, use)
    distance_std = calibration.apply_to_distance(errors.distance_std, errors.entropy)
    within = np.abs(errors.distance_error) <= 1.645 * distance_std
    return replace(
        calibration,
        metrics=CalibrationMetrics(
            data=errors.data,
            levels=LEVELS,
            coverage=_shares(every),
            coverage_visible=_shares(seen) if len(seen) else None,
            coverage_occluded=_shares(occluded) if len(occluded) else None,
            coverage_normal=_shares(judged.d2),
            ece=_round(expected_calibration_error(every)),
            ece_visible=_round(expected_calibration_error(seen)) if len(seen) else None,
            ece_occluded=_round(expected_calibration_error(occluded)) if len(occluded) else None,
            ause=_round(ranked["standard deviation"].ause),
            ause_landmarks=_round(ranked["landmark visibility"].ause),
            ause_constant=_round(ranked["joint"].ause),
            spearman=_round(np.nanmean(spearman)),
            distance=_round(within.mean()),
        ),
    )


def calibrate(
    fit_on: CalibrationDataset, measure_on: CalibrationDataset, folder: Path | None = None
) -> CovarianceCalibration:
    """Fit on some people, measure on others, and draw into `folder` where one is given.

    Raises:
        PenumbraError: if there are too few pictures, none of the joints has a landmark, or the
            folder cannot be written.
    """
    for name, errors in (("--fit", fit_on), ("--measure", measure_on)):
        if np.isnan(errors.landmark_visibility).all():
            raise PenumbraError(
                f"{name}: no joint has a landmark's visibility; write the file with trainer.calibrate."
            )
    fitted = fit(fit_on)
    judged = judge(fitted, measure_on)
    ranked = rankings(judged, measure_on, np.linalg.norm(fit_on.error, axis=-1).mean(0))
    if folder is not None:
        _draw(judged, ranked, folder)
    return measure(fitted, judged, measure_on, ranked)


def store(calibration: CovarianceCalibration, record: Path) -> None:
    """Put the calibration into a model's record.

    Raises:
        PenumbraError: if the record cannot be read or written.
    """
    try:
        facts: dict[str, Any] = json.loads(record.read_text())
        facts["calibration"] = calibration.to_json()
        record.write_text(json.dumps(facts, indent=2) + "\n")
    except (OSError, ValueError, TypeError) as error:
        raise PenumbraError(
            f"--record: {record} is not a model's record that can be changed: {error}."
        ) from error


def table(metrics: CalibrationMetrics) -> str:
    """What was metrics, for people."""
    rows = [("share inside", *(f"{level:.0%}" for level in metrics.levels), "ECE")]
    for name, shares, ece in (
        ("all joints", metrics.coverage, metrics.ece),
        ("seen", metrics.coverage_visible, metrics.ece_visible),
        ("occluded", metrics.coverage_occluded, metrics.ece_occluded),
        ("as if normal", metrics.coverage_normal, None),
    ):
        if shares is not None:
            rows.append(
                (name, *(f"{share:.1%}" for share in shares), "" if ece is None else f"{ece:.3f}")
            )
    lines = [f"{name:<14}" + "".join(f"{cell:>8}" for cell in cells) for name, *cells in rows]
    lines.append(
        f"AUSE {metrics.ause:.3f}; by landmark visibility {metrics.ause_landmarks:.3f}; constant {metrics.ause_constant:.3f}"
    )
    lines.append(
        f"rank correlation within joint {metrics.spearman:.3f}; distance inside 90 %: {metrics.distance:.1%}"
    )
    return "\n".join([f"measured on {metrics.data}", *lines])


def command_line(arguments: list[str] | None = None) -> None:
    """Run `python -m calib.uncertainty`."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        "python -m calib.uncertainty", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--fit", type=Path, required=True, metavar="FILE", help="errors on held-out people"
    )
    parser.add_argument(
        "--measure", type=Path, required=True, metavar="FILE", help="errors on other people"
    )
    parser.add_argument(
        "--record", type=Path, metavar="JSON", help="the model's record, to store it in"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="where to draw")
    chosen = parser.parse_args(arguments)
    try:
        errors = (
            CalibrationDataset.load(chosen.fit, "--fit"),
            CalibrationDataset.load(chosen.measure, "--measure"),
        )
        calibration = calibrate(*errors, chosen.figures)
        if chosen.record is not None:
            store(calibration, chosen.record)
    except PenumbraError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    assert calibration.metrics is not None
    print(f"fitted on {calibration.data}\n{table(calibration.metrics)}")


def _draw(judged: Judged, ranked: dict[str, Sparsification], folder: Path) -> None:
    groups = {
        "all joints": np.ones_like(judged.visible),
        "seen": judged.visible,
        "occluded": ~judged.visible,
    }
    curves = {name: judged.normal[group] for name, group in groups.items() if group.any()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures.reliability_diagram(curves, judged.d2, folder / "reliability.png")
        figures.sparsification_curves(ranked, folder / "sparsification.png")
    except OSError as error:
        raise PenumbraError(
            f"--figures: cannot draw into {folder}: {error.strerror or error}."
        ) from error


def _shares(d2: np.ndarray) -> tuple[float, ...]:
    return tuple(_round(share) for share in coverage(d2))


def _round(value: float | np.floating) -> float:
    return round(float(value), 4)
