"""Fit the calibration of a flow's covariances, measure it on other people, report and store it.

    python -m calib.uncertainty --fit val_errors.npz --measure test_errors.npz \
        --record engines/assets/flow.json --figures DIR

Both files come from `trainer.calibrate`. What a calibration is, and how it is applied:
`engines.uncertainty`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
    calibration, evaluation = calibrate(fit_errors, test_errors)
    if config.figures is not None:
        save_figures(evaluation, config.figures)
    if config.record is not None:
        store(calibration, config.record)
    print(f"fitted on {calibration.data}\n{table(evaluation.metrics)}")


def calibrate(
    fit_errors: CalibrationDataset, test_errors: CalibrationDataset
) -> tuple[CovarianceCalibration, Evaluation]:
    """Fit on some people and measure on others.

    Returns:
        The calibration with its metrics, and what the metrics were computed from.
    """
    fitted = fit(fit_errors)
    usual_error = np.nanmean(np.linalg.norm(fit_errors.error, axis=-1), 0)
    evaluation = evaluate(fitted, test_errors, usual_error)
    return replace(fitted, metrics=evaluation.metrics), evaluation


def store(calibration: CovarianceCalibration, record: Path) -> None:
    """Put the calibration into a model's record.

    Raises:
        PenumbraError: the record cannot be read or written.
    """
    try:
        fields: dict[str, Any] = json.loads(read_at_most(record, MAX_RECORD_BYTES))
        fields["calibration"] = calibration.to_json()
        with open_output(record, "record", ".json", force=True) as output:
            output.file.write((json.dumps(fields, indent=2) + "\n").encode())
            output.commit()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise PenumbraError(
            f"record: {record} is not a model's record that can be changed ({error}); name the "
            "JSON file beside the model."
        ) from error


def _load(path: Path, argument: str) -> CalibrationDataset:
    errors = CalibrationDataset.load(path, argument)
    if np.isnan(errors.landmark_visibility).all():
        raise PenumbraError(
            f"{argument}: {path} holds no landmark's visibility for any joint; write it again with "
            "python -m trainer.calibrate."
        )
    return errors


if __name__ == "__main__":
    start(main, UncertaintyConfig)
