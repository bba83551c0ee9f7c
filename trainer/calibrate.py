"""Record predicted uncertainty and errors of a flow, or of a fit, on people not trained on.

    python -m trainer.calibrate --out runs/errors --footage ../shared/data/multiview/balancing
    python -m calib.uncertainty --fit runs/errors/val_errors.npz
    --measure runs/errors/test_errors.npz --record engines/assets/flow.json --figures runs/errors

Images are estimated as the live system does, the fit to the landmarks included. Each folder of
samples is a stratum, and so is each landmark network on the views of footage: all strata count
alike, but for those that `--twice` names. The second command fits on the validation subjects and
`fit_views`, measures on the test subjects and all other views, and stores the result with the
model. A fit to landmarks alone (`--objective smplify`) has no model, so a record is written for it,
which belongs into `engines/assets/calibration`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engines.body import BodyModel
from engines.errors import PenumbraError, check_at_least
from engines.flow.model import FlowModel
from engines.types import LandmarkNetwork
from trainer.command import start
from trainer.data.made import read_made
from trainer.data.samples import read
from trainer.datasets.recordings import read_recordings
from trainer.datasets.tracked import tracked
from trainer.datasets.view_samples import view_samples
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.objectives import (
    DEFAULT_PRIOR,
    Objective,
    Starts,
    check_objective,
    open_objective,
)
from trainer.estimation.prediction import Predictor
from trainer.evaluation.live_errors import ImageErrors, dataset, of_records, of_views
from trainer.multiview.triangulation import TriangulationConfig

_BEGINNING: dict[Starts, str] = {"mean": "the mean pose", "flow": "hypotheses of the flow"}


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
    """Samples of validation subjects, to fit on; a stratum is called as the folder above."""
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
    landmark_folder: Path | None = None
    """Keeps the landmarks found in footage for another run."""
    hypotheses: int = 100
    out: Path = Path("runs/errors")
    """Gets `val_errors.npz` and `test_errors.npz`."""
    fit: bool = True
    """Fit the hypotheses to the visible landmarks first, as the run that will be calibrated."""
    objective: Objective = "anchored"
    """Of the fit: that of the live system, or one to landmarks alone, with its default prior."""
    starts: Starts = "mean"
    """Where smplify and smplify-x begin."""
    triangulation: TriangulationConfig = field(default_factory=TriangulationConfig)


def main(config: CalibrateConfig) -> None:
    """Write both files.

    Raises:
        PenumbraError: a folder of samples or footage is missing, two would be one stratum, a side
            has nothing, or a number is too small.
    """
    check_at_least(1, config, "images", "every")
    check_objective(config.objective, None, config.starts, config.fit)
    for argument in ("val", "test"):
        _check_names(argument, getattr(config, argument))
    body = BodyModel.load(config.body)
    estimator = _open(config, body)
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
        errors = dataset(strata, _describe(config, strata, name))
        errors.save(config.out / f"{name}_errors.npz")
        print(f"{config.out / name}_errors.npz: {errors.data}")
    model = config.model or Path("engines/assets/flow.onnx")
    record = str(model.with_suffix(".json"))
    if config.objective != "anchored":
        record = str(config.out / f"{config.objective}_{config.starts}.json")
        facts = {"objective": config.objective, "starts": config.starts}
        facts["prior"] = DEFAULT_PRIOR[config.objective]
        Path(record).write_text(json.dumps(facts) + "\n")
    print(
        f"next: python -m calib.uncertainty --fit {config.out}/val_errors.npz "
        f"--measure {config.out}/test_errors.npz --record {record}"
    )


def _open(config: CalibrateConfig, body: BodyModel) -> Predictor:
    model = FlowModel.load(config.model)
    if config.objective == "anchored":
        return FrameEstimator(model, body, config.hypotheses, config.fit)
    return open_objective(config.objective, None, body, model, config.hypotheses, config.starts)


def _rendered(
    estimator: Predictor, folder: Path, body: BodyModel, images: int
) -> list[ImageErrors]:
    records = read(folder, body)
    kept = np.linspace(0, len(records["rotvec"]) - 1, min(images, len(records["rotvec"])))
    rows = np.unique(kept.round().astype(int))
    network = read_made(folder).get("network", "full")
    chosen = {key: value[rows] for key, value in records.items()}
    return of_records(estimator, chosen, body, network)


def _footage(
    estimator: Predictor, config: CalibrateConfig, network: LandmarkNetwork
) -> tuple[list[ImageErrors], list[ImageErrors]]:
    """Errors on the views to fit on, and on the others."""
    if not (config.footage or config.fit_views):
        return [], []
    fitted, measured = [], []
    missing = set(config.fit_views)
    for recording in read_recordings(config.footage) if config.footage else ():
        landmarks = tracked(recording, network, config.landmark_folder)
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
    return folder.absolute().parent.name  # a link has the name that it was given


def _check_names(argument: str, folders: tuple[Path, ...]) -> None:
    """Refuse folders that would be the same stratum."""
    names = Counter(map(_name, folders))
    if twice := [name for name, count in names.items() if count > 1]:
        raise PenumbraError(
            f"{argument}: several folders lie in one that is called {twice[0]}, which names the "
            "stratum; move or link all but one elsewhere."
        )


def _describe(config: CalibrateConfig, strata: dict[str, list[ImageErrors]], split: str) -> str:
    who = {"val": "validation", "test": "test"}[split]
    parts = ", ".join(f"{len(rows)} of {name}" for name, rows in strata.items())
    data = f"CMU {who} subjects rendered, found by the live tracker, and footage: {parts}"
    if config.objective == "anchored":
        return data
    return f"{config.objective} from {_BEGINNING[config.starts]}; {data}"


if __name__ == "__main__":
    start(main, CalibrateConfig)
