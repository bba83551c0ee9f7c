"""Score trained methods and print the tables.

    python -m trainer.evaluate --runs runs/table/rendered/*
    python -m trainer.evaluate --runs runs/mine --dataset 3dpw --root /data/3DPW

Without `--dataset` the benchmarks are the folders of `trainer.ambiguous`: clear and ambiguous CMU,
with landmarks as those that the runs learnt from (`--landmark-source` of `trainer.train`).
Everything goes to `--out`: the tables as Markdown, every run's values as JSON. Runs of one method
and supervision share a row, so those in one call must differ in nothing but their seed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engines.blazepose.landmarker import open_landmarker
from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.command import start
from trainer.data.exact import LandmarkSource, with_landmark_source
from trainer.data.samples import Batch, encode, read
from trainer.datasets.open import open_dataset
from trainer.datasets.pictures import Looked, look
from trainer.evaluation import tables
from trainer.evaluation.measure import MeasureConfig, measure, surface_error
from trainer.evaluation.tables import Measured
from trainer.runs.config import TrainConfig, differences
from trainer.runs.folder import load_config, load_method


@dataclass(frozen=True)
class EvaluateConfig:
    """What to score, on what."""

    runs: tuple[Path, ...]
    """Folders of `trainer.train`."""
    out: Path = Path("runs/tables")
    clear: Path = Path("runs/clear/test")
    ambiguous: Path = Path("runs/ambiguous/test")
    dataset: str | None = None
    """3dpw, h36m or prohmr instead of the benchmarks."""
    root: Path | None = None
    """Where that dataset lies."""
    split: str = "test"
    images: Path | None = None
    """Where its pictures lie, if not under `root`."""
    pictures: int | None = None
    """Score the first so many only."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)


def benchmarks(
    config: EvaluateConfig,
    body: BodyModel,
    landmark_source: LandmarkSource = "rendered",
    own_body: bool = False,
) -> dict[str, Batch]:
    """The pairs of every benchmark, by name.

    Args:
        config: which benchmarks.
        body: of the methods.
        landmark_source: which landmarks the methods have learnt from.
        own_body: whether `body` is not the default one, but the SMPL that a dataset's shapes are
            for.

    Raises:
        PenumbraError: if a benchmark or dataset is not there, or the dataset has no SMPL labels.
    """
    if config.dataset is not None:
        if landmark_source == "exact":
            raise PenumbraError(
                f"--dataset {config.dataset}: its pictures go through the landmark network, the runs did not."
            )
        name = config.dataset if own_body else f"{config.dataset} (labels on the default body)"
        looked = _dataset(config.dataset, config, body if own_body else None)
        return {name: encode(looked.raw, body, joints_cam=looked.joints_cam)}
    check_benchmarks(config)
    raws = {"CMU": read(config.clear, body), "ambiguous CMU": read(config.ambiguous, body)}
    if landmark_source == "exact":
        raws = {
            f"exact {name}": with_landmark_source(raw, body, landmark_source)
            for name, raw in raws.items()
        }
    return {name: encode(raw, body) for name, raw in raws.items()}


def check_benchmarks(config: EvaluateConfig) -> None:
    """See that the benchmarks are there.

    Raises:
        PenumbraError: if one is not.
    """
    for argument, folder, option in (
        ("--clear", config.clear, "--clear "),
        ("--ambiguous", config.ambiguous, ""),
    ):
        if not any(folder.glob("*.npz")):
            raise PenumbraError(
                f"{argument} {folder} holds no benchmark; make it: python -m trainer.ambiguous {option}--out {folder.parent}"
            )


def _dataset(name: str, config: EvaluateConfig, body: BodyModel | None) -> Looked:
    if config.root is None:
        raise PenumbraError(f"--root: say where the dataset {name} lies.")
    people = open_dataset(name, config.root, config.split, config.images)
    if config.pictures is not None:
        people = people.rows(np.arange(min(config.pictures, people.count)))
    # To the default body the dataset's betas mean nothing: then no body is given here.
    looked = look(people, open_landmarker(), body)
    print(looked.summary())
    return looked


def measure_run(
    run: Path, sets: dict[str, Batch], config: MeasureConfig, body: BodyModel
) -> list[Measured]:
    """One run on every benchmark."""
    facts, method = load_config(run), load_method(run)
    measured = []
    for name, pairs in sets.items():
        values = measure(method, pairs, config) | {
            "pve": round(surface_error(method, pairs, body), 4)
        }
        measured.append(Measured(facts.method, facts.supervision, facts.seed, name, values))
    return measured


def _common(runs: Sequence[Path]) -> TrainConfig:
    """The configuration of one of the runs, which have the landmarks and the body of it in common.

    Raises:
        PenumbraError: if they have not, or two would share a cell of the tables.
    """
    if not runs:
        raise PenumbraError("--runs: name at least one folder of trainer.train.")
    known: dict[tuple[str, str, int], Path] = {}
    configs = [load_config(run) for run in runs]
    if len({facts.landmark_source for facts in configs}) > 1:
        raise PenumbraError(
            "--runs: some learnt from rendered landmarks, others from exact ones; score them apart."
        )
    if len({facts.body for facts in configs}) > 1:
        raise PenumbraError("--runs: they were trained for different bodies; score them apart.")
    for run, facts in zip(runs, configs, strict=True):
        other = known.setdefault((facts.method, facts.supervision, facts.seed), run)
        if other is not run:
            raise PenumbraError(
                f"--runs: {other} and {run} have the same method, supervision and seed; score them apart."
            )
    _check_rows(runs, configs)
    return configs[0]


def _check_rows(runs: Sequence[Path], configs: Sequence[TrainConfig]) -> None:
    """Raise where two runs that share a row are not seeds of the same."""
    first: dict[tuple[str, str], tuple[Path, TrainConfig]] = {}
    for run, facts in zip(runs, configs, strict=True):
        other, theirs = first.setdefault((facts.method, facts.supervision), (run, facts))
        if differ := differences(facts, theirs, but={"seed"}):
            raise PenumbraError(
                f"--runs: {other} and {run} share a row but differ in {', '.join(differ)}; score them apart."
            )


def report(measured: list[Measured]) -> str:
    """All tables as Markdown."""
    names = list(dict.fromkeys(one.benchmark for one in measured))
    hardest = names[-1]
    return "\n".join(
        (
            tables.render("PA-MPJPE of the best hypothesis (mm)", tables.table_2(names), measured),
            tables.ratios(measured, hardest),
            tables.render(
                f"PA-MPJPE of the best of n on {hardest} (mm)", tables.table_best(hardest), measured
            ),
            tables.render("The best estimate (mm)", tables.table_estimate(names), measured),
            tables.render(f"Diversity on {hardest}, n = 25", tables.table_3(hardest), measured),
            tables.render(
                f"Uncertainty on {hardest}, as given", tables.table_trust(hardest), measured
            ),
        )
    )


def main(config: EvaluateConfig) -> None:
    """Measure, print, save.

    Raises:
        PenumbraError: if a run cannot be read, two runs would be taken for one another, or as
            `benchmarks`.
    """
    common = _common(config.runs)
    torch.set_num_threads(1)
    body = BodyModel.load(common.body)
    sets = {
        name: pairs.rows(torch.arange(min(pairs.size, config.pictures or pairs.size)))
        for name, pairs in benchmarks(
            config, body, common.landmark_source, common.body is not None
        ).items()
    }
    config.out.mkdir(parents=True, exist_ok=True)
    measured: list[Measured] = []
    for run in tqdm(config.runs, unit="run"):
        measured += measure_run(run, sets, config.measure, body)
        (config.out / "values.json").write_text(
            json.dumps([asdict(one) for one in measured], indent=2) + "\n"
        )
    text = report(measured)
    (config.out / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    start(main, EvaluateConfig)
