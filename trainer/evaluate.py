"""Score trained methods and print the tables.

    python -m trainer.evaluate --runs runs/table/rendered/*
    python -m trainer.evaluate --runs runs/mine --dataset 3dpw --root /data/3DPW

Without `--dataset` the benchmarks are the folders of `trainer.ambiguous`: clear and ambiguous CMU,
with landmarks as those that the runs learnt from (`--landmark-source` of `trainer.train`).
Everything goes to `--out`: the tables as Markdown, every run's values as JSON.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from engines.blazepose.landmarker import open_landmarker
from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.exact import LandmarkSource
from trainer.data.samples import Batch, encode
from trainer.datasets.labelled_images import detect_people
from trainer.datasets.open import open_dataset
from trainer.evaluation.benchmarks import AMBIGUOUS, CLEAR, read_benchmarks
from trainer.evaluation.comparison import common_config, compare
from trainer.evaluation.measure import MeasureConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """What to score, on what."""

    runs: tuple[Path, ...]
    """Folders of `trainer.train`."""
    out: Path = Path("runs/tables")
    clear: Path = CLEAR
    ambiguous: Path = AMBIGUOUS
    dataset: str | None = None
    """3dpw, h36m or prohmr instead of the benchmarks."""
    root: Path | None = None
    """Where that dataset lies."""
    split: str = "test"
    images: Path | None = None
    """Where its images lie, if not under `root`."""
    max_images: int | None = None
    """Score the first so many only."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)


def benchmarks(
    config: EvaluateConfig,
    body: BodyModel,
    landmark_source: LandmarkSource = "rendered",
    own_body: bool = False,
) -> dict[str, Batch]:
    """Read the samples of every benchmark, by name.

    Args:
        config: which benchmarks.
        body: of the methods.
        landmark_source: which landmarks the methods have learnt from.
        own_body: whether `body` is not the default one, but the SMPL that a dataset's shapes are
            for.

    Raises:
        PenumbraError: a benchmark or dataset is not there, or the dataset has no SMPL labels.
    """
    if config.dataset is None:
        return read_benchmarks(config.clear, config.ambiguous, body, landmark_source)
    if landmark_source == "exact":
        raise PenumbraError(
            f"--dataset: the images of {config.dataset} go through the landmark network, the runs"
            " learnt from exact landmarks; leave it out."
        )
    name = config.dataset if own_body else f"{config.dataset} (labels on the default body)"
    return {name: _read_dataset(config.dataset, config, body, own_body)}


def _read_dataset(name: str, config: EvaluateConfig, body: BodyModel, own_body: bool) -> Batch:
    if config.root is None:
        raise PenumbraError(f"--root: not given; say where the dataset {name} lies.")
    people = open_dataset(name, config.root, config.split, config.images)
    if config.max_images is not None:
        people = people.rows(np.arange(min(config.max_images, people.count)))
    # To the default body the dataset's betas mean nothing: then no body is given here.
    detected = detect_people(people, open_landmarker(), body if own_body else None)
    print(detected.summary())
    return encode(detected.records, body, joints_cam=detected.joints_cam)


def main(config: EvaluateConfig) -> None:
    """Measure, print, save.

    Raises:
        PenumbraError: a run cannot be read, two runs would be taken for one another, or as
            `benchmarks`.
    """
    common = common_config(config.runs)
    body = BodyModel.load(common.body)
    sets = {
        name: samples.rows(torch.arange(min(samples.size, config.max_images or samples.size)))
        for name, samples in benchmarks(
            config, body, common.landmark_source, common.body is not None
        ).items()
    }
    print(compare(config.runs, sets, config.measure, body, config.out))


if __name__ == "__main__":
    start(main, EvaluateConfig)
