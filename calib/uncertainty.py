"""Fit the calibration of a flow's covariances, measure it on other people, draw and store it.

    python -m calib.uncertainty --fit val_errors.npz --measure test_errors.npz

The files come from `trainer.calibrate`; what a calibration is and does: `engines.uncertainty`.
"""

from calib.report import command_line

if __name__ == "__main__":
    command_line()
