"""Record a flow's predicted uncertainty and its errors, on people whom it was not trained on.

    python -m trainer.calibrate --out runs/errors --footage ../shared/data/multiview/balancing
    python -m calib.uncertainty --fit runs/errors/val_errors.npz
    --measure runs/errors/test_errors.npz --record engines/assets/flow.json --figures runs/errors

Images are estimated as the live system does, the fit to the landmarks included. Each folder of
samples is a stratum, and so is each landmark network on the views of footage: all strata count
alike. The second command fits on the validation subjects and `fit_views`, measures on the test
subjects and all other views, and stores the result with the model.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engines.blazepose.tracker import open_tracker
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from trainer.command import start
from trainer.data.samples import read
from trainer.datasets.recordings import read_recording
from trainer.datasets.view_samples import view_samples
from trainer.evaluation.frame_estimator import FrameEstimator, track_landmarks
from trainer.evaluation.live_errors import ImageErrors, dataset, of_records, of_views
from trainer.evaluation.triangulation import TriangulationConfig


@dataclass(frozen=True)
class CalibrateConfig:
    """Data to run on, and where to write."""

    model: Path | None = None
    """Exported flow; the shipped one when None."""
    body: Path | None = None
    """That it was trained for; the default body when None."""
    val: tuple[Path, ...] = (
        Path("runs/clear/val"),
        Path("runs/ambiguous/val"),
        Path("runs/near/val"),
    )
    """Samples of validation subjects, to fit on."""
    test: tuple[Path, ...] = (
        Path("runs/clear/test"),
        Path("runs/ambiguous/test"),
        Path("runs/near/test"),
    )
    """Samples of test subjects, to measure on."""
    footage: tuple[Path, ...] = ()
    """Recordings from calibrated cameras (`trainer.datasets.recordings`)."""
    fit_views: tuple[str, ...] = ()
    """Views of them to fit on, as RECORDING/VIDEO without suffix; the others are measured on."""
    networks: tuple[LandmarkNetwork, ...] = ("full",)
    """That find the landmarks in footage."""
    images: int = 1000
    """The most images of a folder of samples."""
    every: int = 2
    """Takes every so-manieth image of footage: neighbours say the same."""
    hypotheses: int = 100
    out: Path = Path("runs/errors")
    """Gets `val_errors.npz` and `test_errors.npz`."""
    fit: bool = True
    """Fit the hypotheses to the visible landmarks first, as the run that will be calibrated."""
    triangulation: TriangulationConfig = field(default_factory=TriangulationConfig)


def main(config: CalibrateConfig) -> None:
    """Write both files.

    Raises:
        PenumbraError: a folder of samples or footage is missing, or a side has nothing.
    """
    body = BodyModel.load(config.body)
    estimator = FrameEstimator(FlowModel.load(config.model), body, config.hypotheses, config.fit)
    val, test = (
        {_name(folder): _rendered(estimator, folder, body, config.images) for folder in folders}
        for folders in (config.val, config.test)
    )
    for network in config.networks:
        fitted, measured = _footage(estimator, config, network)
        val |= {f"footage, {network}": fitted} if fitted else {}
        test |= {f"footage, {network}": measured} if measured else {}
    if not (val and test):
        raise PenumbraError("val and test: need at least one folder of samples or view each.")
    for name, strata in (("val", val), ("test", test)):
        errors = dataset(strata, _describe(strata, name))
        errors.save(config.out / f"{name}_errors.npz")
        print(f"{config.out / name}_errors.npz: {errors.data}")
    print(
        f"next: python -m calib.uncertainty --fit {config.out}/val_errors.npz "
        f"--measure {config.out}/test_errors.npz"
    )


def _rendered(
    estimator: FrameEstimator, folder: Path, body: BodyModel, images: int
) -> list[ImageErrors]:
    records = read(folder, body)
    kept = np.linspace(0, len(records["rotvec"]) - 1, min(images, len(records["rotvec"])))
    rows = np.unique(kept.round().astype(int))
    return of_records(estimator, {key: value[rows] for key, value in records.items()}, body)


def _footage(
    estimator: FrameEstimator, config: CalibrateConfig, network: LandmarkNetwork
) -> tuple[list[ImageErrors], list[ImageErrors]]:
    """Errors on the views to fit on, and on the others."""
    if not (config.footage or config.fit_views):
        return [], []
    tracker = open_tracker(network=network)
    fitted, measured = [], []
    missing = set(config.fit_views)
    for folder in config.footage:
        recording = read_recording(folder)
        landmarks = [track_landmarks(camera, tracker) for camera in recording.cameras]
        for view, samples in view_samples(recording, landmarks, config.triangulation).items():
            errors = of_views(estimator, samples[:: config.every])
            name = f"{recording.name}/{view}"
            (fitted if name in config.fit_views else measured).extend(errors)
            missing.discard(name)
    if missing:
        raise PenumbraError(
            f"fit_views: {min(missing)} is not among the views of the footage; name views as "
            "RECORDING/VIDEO without suffix."
        )
    return fitted, measured


def _name(folder: Path) -> str:
    return folder.parent.name


def _describe(strata: dict[str, list[ImageErrors]], split: str) -> str:
    who = {"val": "validation", "test": "test"}[split]
    parts = ", ".join(f"{len(rows)} of {name}" for name, rows in strata.items())
    return f"CMU {who} subjects rendered, found by the live tracker, and footage: {parts}"


if __name__ == "__main__":
    start(main, CalibrateConfig)
