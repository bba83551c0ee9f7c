"""Choose every method's own weights on validation subjects, with the same number of tries each.

A candidate is the method's configuration with one weight changed; the first is its configuration as
it stands. All train on the same samples for the same number of steps with one seed; the lowest
error of the best of 25 hypotheses on ambiguous images of validation subjects wins. No image of a
test subject is looked at.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.data.samples import Batch, encode, read
from trainer.evaluation.comparison import measure_run
from trainer.evaluation.measure import MeasureConfig
from trainer.experiments.method_runs import Job, Run, RunsConfig, Settings, train_all
from trainer.experiments.table import markdown
from trainer.methods.method import Supervision
from trainer.methods.registry import MethodName

CHOSEN = Path(__file__).resolve().parent.parent / "assets" / "weights.json"
"""The weights that were chosen, of every method and supervision."""
CRITERION = "pa_best_25"
BENCHMARK = "ambiguous CMU, validation subjects"

_SHOWN = {
    CRITERION: "best of 25 (mm)",
    "pa_best_1": "n = 1 (mm)",
    "ah_px": "AH (px)",
    "pjd_2d_visible_px": "PJD 2D visible (px)",
    "energy_body_mm": "energy score (mm)",
}


@dataclass(frozen=True)
class SweepConfig:
    """How long the candidates train, and where everything is kept."""

    out: Path = Path("runs/sweep")
    validation: Path = Path("runs/ambiguous/val")
    """Made by `python -m trainer.ambiguous --no-tracked --split val`."""
    images: int = 600
    """Of it, evenly spread."""
    steps: int = 1000
    tables: Path = Path("runs/tables/sweep")
    """Folder of the table and of `weights.json`."""


def candidates(method: MethodName, supervision: Supervision) -> list[Settings]:
    """Five configurations of a method, the first without a change."""
    prefix = f"methods.{method}."
    changed = _CHANGES[supervision, method]
    return [(), *(((prefix + name, value),) for name, value in changed)]


_SCALE = "loss-2d.laplace-scale"
_PRIOR = "loss-2d.prior"
_CHANGES: Mapping[tuple[Supervision, MethodName], tuple[tuple[str, float], ...]] = {
    ("2d-vis", "hmr"): (
        (_SCALE, 0.045),
        (_SCALE, 0.07),
        (_PRIOR, 0.5),
        (_PRIOR, 2.0),
    ),
    ("2d-vis", "prohmr"): (
        (_SCALE, 0.045),
        (_SCALE, 0.07),
        ("samples-2d", 0.3),
        ("samples-2d", 1.0),
    ),
    ("2d-vis", "mhentropy"): (
        (_SCALE, 0.045),
        (_SCALE, 0.07),
        ("entropy", 1.3),
        ("center-2d", 3.0),
    ),
    ("3d", "hmr"): (
        ("loss-3d.rotations", 2.0),
        ("loss-3d.rotations", 12.0),
        ("loss-3d.reprojection", 0.03),
        ("loss-3d.reprojection", 0.3),
    ),
    ("3d", "spin"): (
        ("loss-3d.rotations", 2.0),
        ("loss-3d.rotations", 12.0),
        ("fit-weight-3d", 0.03),
        ("fit-weight-3d", 0.3),
    ),
    ("3d", "mdn"): (
        ("center-loss-2d", 0.03),
        ("center-loss-2d", 0.3),
        ("concentration", 1.03),
        ("concentration", 1.3),
    ),
    ("3d", "cvae"): (
        ("divergence", 1 / 96),
        ("divergence", 1 / 48),
        ("divergence", 1 / 12),
        ("divergence", 1 / 6),
    ),
    ("3d", "multibodies"): (
        ("best", 0.3),
        ("best", 3.0),
        ("prior", 0.003),
        ("prior", 0.03),
    ),
    ("3d", "prohmr"): (
        ("likelihood", 0.03),
        ("likelihood", 0.3),
        ("likelihood", 0.67),
        ("samples-2d", 0.3),
    ),
    ("3d", "humaniflow"): (
        ("reprojection", 0.07),
        ("reprojection", 0.6),
        ("likelihood", 3.0),
        ("orientation", 30.0),
    ),
    ("3d", "mhentropy"): (
        ("kl", 0.03),
        ("kl", 0.3),
        ("center", 15.0),
        ("center", 100.0),
    ),
}


@dataclass(frozen=True)
class Tried:
    """A candidate and what it measures on validation subjects."""

    job: Job
    values: Mapping[str, float | None]

    @property
    def error(self) -> float:
        """What is chosen by, mm."""
        value = self.values[CRITERION]
        assert value is not None
        return value


def sweep(config: SweepConfig, shared: RunsConfig) -> str:
    """Train and measure all candidates; write `sweep.md` and `weights.json`, return the Markdown.

    Raises:
        PenumbraError: there are no images of validation subjects, or a run failed; its `log.txt`
            says why.
    """
    body = BodyModel.load()
    benchmark = validation_images(config.validation, config.images, body)
    runs = [
        Run(Job(method, supervision, 0, settings=settings), config.out / name, config.steps)
        for supervision, method in _CHANGES
        for number, settings in enumerate(candidates(method, supervision))
        for name in [f"{supervision}_{method}_{number}"]
    ]
    train_all(runs, shared)
    tried = [
        Tried(run.job, measured.values)
        for run in tqdm(runs, unit="candidate")
        for measured in measure_run(run.folder, benchmark, MeasureConfig(), body)
    ]
    config.tables.mkdir(parents=True, exist_ok=True)
    best = choose(tried)
    (config.tables / "weights.json").write_text(_as_json(best))
    text = table(tried, best)
    (config.tables / "sweep.md").write_text(text + "\n")
    return text


def validation_images(folder: Path, images: int, body: BodyModel) -> dict[str, Batch]:
    """Read ambiguous images of validation subjects, evenly spread, under the benchmark's name.

    Raises:
        PenumbraError: there are none.
    """
    samples = encode(read(folder, body, writer="ambiguous --no-tracked --split val"), body)
    some = torch.linspace(0, samples.size - 1, min(images, samples.size)).long()
    return {BENCHMARK: samples.rows(some)}


def choose(tried: Sequence[Tried]) -> list[Job]:
    """Return the candidate with the lowest error of every method and supervision."""
    rows: dict[tuple[Supervision, MethodName], list[Tried]] = defaultdict(list)
    for one in tried:
        rows[one.job.supervision, one.job.method].append(one)
    return [min(row, key=lambda one: one.error).job for row in rows.values()]


def chosen_weights(path: Path = CHOSEN) -> dict[tuple[Supervision, MethodName], Settings]:
    """Read what was chosen, for each supervision and method.

    Raises:
        PenumbraError: the file cannot be read, or lacks a method.
    """
    try:
        stored = json.loads(path.read_text())
        return {
            (supervision, method): tuple(
                (str(name), float(value)) for name, value in stored[supervision][method].items()
            )
            for supervision, method in _CHANGES
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PenumbraError(
            f"weights: {path} cannot be read ({error}); choose them: python -m trainer.reproduce"
            " --table sweep"
        ) from error


def table(tried: Sequence[Tried], best: Sequence[Job]) -> str:
    """Write all candidates as Markdown, the chosen ones in bold."""
    rows = []
    for one in tried:
        changed = ", ".join(f"{name} {value:.3g}" for name, value in own(one.job).items())
        cells = [one.job.supervision, one.job.method, changed or "as it stands"]
        cells += [_number(one.values[name]) for name in _SHOWN]
        rows.append([f"**{cell}**" for cell in cells] if one.job in best else cells)
    return markdown(["supervision", "method", "changed", *_SHOWN.values()], rows)


def own(job: Job) -> dict[str, float]:
    """Weights that a candidate changes, by their names within the method's configuration."""
    return {name.removeprefix(f"methods.{job.method}."): value for name, value in job.settings}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _as_json(best: Sequence[Job]) -> str:
    stored: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for job in best:
        stored[job.supervision][job.method] = dict(job.settings)
    return json.dumps(stored, indent=2) + "\n"
