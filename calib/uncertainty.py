"""Fit the calibration of a flow's covariances, measure it on other people, report and store it.

    python -m calib.uncertainty --fit val_errors.npz --measure test_errors.npz \
        --record engines/assets/flow.json --figures DIR --twice "footage, full"

Both files come from `trainer.calibrate`. What a calibration is, and how it is applied:
`engines.uncertainty`.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from calib.dataset import CalibrationDataset
from calib.fit import fit
from calib.metrics import Evaluation, evaluate
from calib.report import save_figures, table
from engines.command import start
from engines.errors import PenumbraError
from engines.files import read_at_most
from engines.outputs import open_output
from engines.uncertainty import CovarianceCalibration

MAX_RECORD_BYTES = 2**22
"""A model's record has some 30 kB."""


@dataclass(frozen=True)
class UncertaintyConfig:
    """Where the errors are, and where the calibration goes."""

    fit: Path
    """Errors on people whom the flow was not trained on, to fit on (`.npz`)."""
    measure: Path
    """Errors on yet other people, to measure on (`.npz`)."""
    twice: tuple[str, ...] = ()
    """Strata of the errors to fit on that count twice; all others count once."""
    record: Path | None = None
    """The model's record (`.json`), which gets the calibration and its metrics."""
    figures: Path | None = None
    """Folder for `reliability.png` and `sparsification.png`."""


def main(config: UncertaintyConfig) -> None:
    """Fit, measure, report, store.

    Raises:
        PenumbraError: a file cannot be read or written, or holds too little to calibrate on.
    """
    fit_errors = _load(config.fit, "fit")
    test_errors = _load(config.measure, "measure")
    calibration, evaluation = calibrate(fit_errors, test_errors, config.twice)
    if config.figures is not None:
        save_figures(evaluation, config.figures)
    if config.record is not None:
        store(calibration, config.record)
    print(f"fitted on {calibration.data}\n{table(evaluation.metrics)}")


def calibrate(
    fit_errors: CalibrationDataset,
    test_errors: CalibrationDataset,
    twice: Collection[str] = (),
) -> tuple[CovarianceCalibration, Evaluation]:
    """Fit on some people and measure on others.

    Args:
        fit_errors: to fit on.
        test_errors: to measure on.
        twice: strata of `fit_errors` that count twice.

    Returns:
        The calibration with its metrics, and what the metrics were computed from.

    Raises:
        PenumbraError: there is too little to fit on, or nothing to measure, or no stratum that is
            to count twice.
    """
    _check(test_errors, "test_errors:")
    fitted = fit(fit_errors, twice)
    evaluation = evaluate(fitted, test_errors, usual_error(fit_errors))
    return replace(fitted, metrics=evaluation.metrics), evaluation


def usual_error(errors: CalibrationDataset) -> Float[np.ndarray, "24"]:
    """Mean error of each joint, metres; that of all together for a joint that is never known."""
    error, known = np.linalg.norm(errors.error, axis=-1), errors.known
    of_all = error[known].mean()
    columns = zip(error.T, known.T, strict=True)
    return np.array([one[rows].mean() if rows.any() else of_all for one, rows in columns])


def store(calibration: CovarianceCalibration, record: Path) -> None:
    """Put the calibration into a model's record.

    Raises:
        PenumbraError: the record cannot be read or written, or the calibration could not be read
            back.
    """
    stored = _readable(calibration)
    try:
        fields: dict[str, Any] = json.loads(read_at_most(record, MAX_RECORD_BYTES))
        fields["calibration"] = stored
        text = json.dumps(fields, indent=2, allow_nan=False) + "\n"
        with open_output(record, "record", ".json", force=True) as output:
            output.write(text.encode())
            output.commit()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PenumbraError(
            f"record: {record} is not a model's record that can be changed ({error}); name the "
            "JSON file beside the model."
        ) from error


def _readable(calibration: CovarianceCalibration) -> dict[str, Any]:
    """The calibration as JSON that a model's reader takes."""
    try:
        stored = json.loads(json.dumps(calibration.to_json(), allow_nan=False))
        CovarianceCalibration.from_json(stored)
    except ValueError as error:
        raise PenumbraError(
            f"fit: these errors give a calibration that cannot be used ({error}); write them "
            "again with python -m trainer.calibrate."
        ) from error
    return stored


def _load(path: Path, argument: str) -> CalibrationDataset:
    errors = CalibrationDataset.load(path, argument)
    _check(errors, f"{argument}: {path}")
    return errors


def _check(errors: CalibrationDataset, subject: str) -> None:
    """Refuse errors of which nothing can be measured; the message begins with `subject`."""
    seen = ~np.isnan(errors.landmark_visibility)
    if not seen.any():
        raise PenumbraError(
            f"{subject} holds no landmark's visibility for any joint; write it again with "
            "python -m trainer.calibrate."
        )
    if not np.any(errors.error[seen & errors.known]):
        raise PenumbraError(
            f"{subject} holds no error of a joint that has a landmark; calibrate on images with "
            "ground truth."
        )


if __name__ == "__main__":
    start(main, UncertaintyConfig)
