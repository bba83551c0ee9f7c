"""Bodies fitted to single images: each objective with each prior, from the mean pose and the flow.

Images are those of recordings with a reference, by each landmark network, and clear renderings of
test subjects. Every row is one way to fit, every column one kind of images; a cell is computed once
(`results.py`) and landmarks are found once (`trainer.datasets.tracked`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.settings import WITHOUT_HEATMAPS, FitConfig
from engines.fitting.smplify import SmplifyConfig
from engines.flow.model import FlowModel
from engines.priors.load import KINDS
from engines.types import LIMB_JOINTS, LandmarkNetwork
from trainer.data.augment import joints_in_camera
from trainer.data.samples import read
from trainer.datasets.recordings import read_recordings
from trainer.datasets.tracked import tracked
from trainer.datasets.view_samples import view_samples, view_tracks
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.estimation.motion_objective import MotionFitter, is_motion
from trainer.estimation.objectives import (
    Anchored,
    Fit,
    Objective,
    Starts,
    open_objective,
)
from trainer.estimation.prediction import TOGETHER
from trainer.evaluation.live_errors import observation
from trainer.evaluation.motion_scores import CameraTrack, score_track
from trainer.evaluation.view_scores import ViewSample, ViewScore, score_view, summarise
from trainer.experiments.results import Results, Values, sha256_of_assets
from trainer.multiview.triangulation import TriangulationConfig

_SUMMARISED = {
    "PA-MPJPE, best estimate": "best estimate",
    "PA-MPJPE, best hypothesis": "best of all",
    "inside 90 %, visible": "inside 90 %",
}
"""What is kept of a cell, by the name in `view_scores.summarise`."""


@dataclass(frozen=True)
class FittingConfig:
    """What is fitted."""

    folders: tuple[Path, ...] = ()
    """Recordings (`trainer.datasets.recordings`)."""
    together: tuple[str, ...] = ("charuco_calibration", "post_optimization")
    """Recordings whose cameras are one column."""
    networks: tuple[LandmarkNetwork, ...] = ("heavy", "full")
    """That find the landmarks in them."""
    clear: Path = Path("runs/clear/test")
    """Rendered samples of `trainer.ambiguous --clear`; left out where there are none."""
    renders: int = 300
    """The most of them."""
    hypotheses: int = 100
    landmark_folder: Path = Path("runs/landmarks")
    """Keeps the landmarks of recordings."""

    def check(self) -> None:
        """Refuse to begin without images.

        Raises:
            PenumbraError: there are none.
        """
        if not self.folders and not self.clear.is_dir():
            raise PenumbraError(
                f"folders: there are no recordings, and no renderings in {self.clear}; name some,"
                " or leave `fitting` out of `parts`."
            )


@dataclass(frozen=True)
class Row:
    """A way to fit bodies."""

    objective: Literal[Objective, "humor"]
    prior: str
    """none for none."""
    starts: Starts = "mean"
    collision: bool = True
    """Whether limbs are kept out of one another."""
    fitted: bool = True
    """False: what the flow draws."""

    @property
    def name(self) -> str:
        """What it is called in results and tables."""
        if not self.fitted:
            return "flow, no fit"
        parts = [self.objective, self.prior]
        if self.objective == "humor":
            return "humor"
        if self.objective != "anchored":
            parts.append(f"from {self.starts}")
        return ", ".join(parts if self.collision else [*parts, "no collision"])


FROM_MEAN = (
    *(Row("smplify", prior) for prior in ("none", *KINDS)),
    Row("smplify-x", "vposer"),
)
"""Without the flow."""
REFINEMENT = (
    Row("anchored", "none", fitted=False),
    *(Row("anchored", prior) for prior in ("none", *KINDS)),
    *(Row("smplify", prior, "flow") for prior in ("none", *KINDS)),
    Row("smplify-x", "vposer", "flow"),
    Row("humor", "humor", "flow"),
)
"""Of the shipped flow."""
ABLATION = (
    Row("smplify-x", "vposer"),
    Row("smplify-x", "vposer", collision=False),
    Row("smplify", "gmm"),
    Row("smplify", "gmm", collision=False),
)
"""SMPLify-X, without collision, with a mixture for VPoser, and both."""
ROWS = (*FROM_MEAN, *REFINEMENT, *ABLATION)
Scorer = Callable[["Column"], Sequence[ViewScore]]


@dataclass(frozen=True)
class Column:
    """Images with a reference."""

    samples: Sequence[ViewSample]
    tracks: Sequence[CameraTrack] = ()
    """The views that they are from, as motions of 30 frames a second; none where there are none."""


def fit_tables(
    config: FittingConfig, out: Path, ways: Sequence[Row] = ROWS
) -> dict[str, dict[str, Values]]:
    """Fit all rows to all columns, as far as that was not done before.

    Args:
        config: of the experiment.
        out: folder of `fitting.json`, which keeps the cells.
        ways: the rows.

    Returns:
        Row -> column -> what was measured, millimetres and shares.

    Raises:
        PenumbraError: a recording cannot be read, or the results are of other options or of
            another flow.
    """
    body, model = BodyModel.load(), FlowModel.load()
    left_out = ("folders", "landmark_folder")
    options: dict[str, object] = {k: v for k, v in asdict(config).items() if k not in left_out}
    record = json.dumps(model.record, sort_keys=True)
    options["assets"] = sha256_of_assets()
    options["flow"] = hashlib.sha256(record.encode()).hexdigest()
    options["fits"] = [asdict(one) for one in (FitConfig(), WITHOUT_HEATMAPS, SmplifyConfig())]
    results = Results(out / "fitting.json", options)
    columns = image_columns(config, body)
    rows = {row.name: row for row in ways}
    table: dict[str, dict[str, Values]] = {}
    for name, row in tqdm(rows.items(), unit="row"):
        score = cache(lambda row=row: open_row(row, body, model, config.hypotheses))
        table[name] = {
            column: results.cell(
                f"{name}: {column}", lambda score=score, images=images: measure(score(), images)
            )
            for column, images in columns.items()
            if images.tracks or row.objective != "humor"
        }
    return table


def open_row(row: Row, body: BodyModel, model: FlowModel, hypotheses: int) -> Scorer:
    """Open what fits and scores a row's bodies."""
    if row.objective == "humor":
        motion = MotionFitter(body, model, hypotheses)
        return lambda column: [one for track in column.tracks for one in score_track(motion, track)]
    if not row.fitted:
        fit = Anchored(FrameEstimator(model, body, hypotheses, fit=False, calibrate=False))
    else:
        config = SmplifyConfig(collision=row.collision)
        fit = open_objective(
            row.objective, row.prior, body, model, hypotheses, row.starts, config=config
        )
    return lambda column: _score(fit, column.samples)


def _score(fit: Fit, samples: Sequence[ViewSample]) -> list[ViewScore]:
    scores = []
    for start in range(0, len(samples), TOGETHER):
        some = samples[start : start + TOGETHER]
        estimates = fit([(one.landmarks, one.intrinsics) for one in some])
        scores += [score_view(*pair) for pair in zip(estimates, some, strict=True)]
    return scores


def measure(score: Scorer, column: Column) -> Values:
    """Fit the people of a column and compare them with their reference."""
    scores = score(column)
    summary = summarise(scores)
    found = {short: summary[name] for name, short in _SUMMARISED.items()}
    measured = {name: float(value) for name, value in found.items() if value is not None}
    return measured | {"images": float(len(scores))}


def image_columns(config: FittingConfig, body: BodyModel) -> Mapping[str, Column]:
    """Read images and references: a column for each view, whole recording and network."""
    columns: dict[str, Column] = {}
    recordings = read_recordings(config.folders) if config.folders else []
    for network in config.networks:
        for recording in recordings:
            found = tracked(recording, network, config.landmark_folder)
            samples = view_samples(recording, found, TriangulationConfig())
            if recording.name in config.together:
                every = [one for part in samples.values() for one in part]
                columns[f"{recording.name}, {network}"] = Column(every)
                continue
            for view, track in view_tracks(recording, found, samples).items():
                motions = (track,) if is_motion(track.rate) else ()
                columns[f"{recording.name} {view}, {network}"] = Column(track.samples, motions)
    if config.clear.is_dir():
        columns["clear renderings"] = Column(_rendered(config, body))
    for name, column in columns.items():
        if not column.samples:
            raise PenumbraError(
                f"folders: {name} has no instant with enough joints that its cameras agree on; "
                "leave it out."
            )
    return columns


def _rendered(config: FittingConfig, body: BodyModel) -> list[ViewSample]:
    records = read(config.clear, body)
    count = len(records["rotvec"])
    rows = np.linspace(0, count - 1, min(config.renders, count)).round().astype(int)
    some = {name: part[rows] for name, part in records.items()}
    joints = joints_in_camera(some["rotvec"], some["betas"], some["pelvis"], body)
    limbs = np.array(LIMB_JOINTS)
    return [
        ViewSample(*observation(some, i), limbs, target[limbs]) for i, target in enumerate(joints)
    ]
