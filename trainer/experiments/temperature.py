"""What the spread of the hypotheses gains and costs: the noise of trained methods, scaled.

The best of 25 hypotheses errs less the wider they spread, up to a point, and the wider they spread
the further they lie from visible joints (AH). Scaling the noise that a trained method draws from
moves it along that curve without training, which tells a better posterior from a wider one: at the
same AH, the better one has the lower best of 25.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines.body import BodyModel
from engines.errors import PenumbraError
from trainer.evaluation.comparison import measure_run
from trainer.evaluation.measure import MeasureConfig
from trainer.experiments.method_runs import CLAIM, Run, finished
from trainer.experiments.sweep import CRITERION, validation_images
from trainer.experiments.table import markdown
from trainer.methods.method import Supervision

_AH = "ah_px"
_SPREAD = "pjd_3d_occluded_mm"

Row = tuple[Supervision, float]
"""Supervision and temperature."""


@dataclass(frozen=True)
class TemperatureConfig:
    """How far the noise is scaled, and on what it is measured."""

    temperatures: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
    """Standard deviations of the noise."""
    validation: Path = Path("runs/ambiguous/val")
    """Made by `python -m trainer.ambiguous --no-tracked --split val`."""
    images: int = 600
    """Of it, evenly spread."""
    hypotheses: int = 25
    tables: Path = Path("runs/tables/temperature")


def vary_temperature(config: TemperatureConfig, runs: Sequence[Run]) -> str:
    """Measure the methods of the claim at every temperature; write and return `temperature.md`.

    Args:
        config: what is varied.
        runs: of the methods' tables; those of the claim on rendered images are measured.

    Raises:
        PenumbraError: a run is not finished, or there are no images of validation subjects.
    """
    measured = [
        run for run in runs if run.job.method in CLAIM and run.job.landmark_source == "rendered"
    ]
    missing = [run.folder for run in measured if not finished(run.folder, run.steps)]
    if missing:
        raise PenumbraError(
            f"runs: {missing[0]} is not trained; train it: python -m trainer.reproduce --only-train"
        )
    body = BodyModel.load()
    benchmark = validation_images(config.validation, config.images, body)
    values: dict[Row, dict[str, list[Mapping[str, float | None]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for run in tqdm(measured, unit="run"):
        for temperature in config.temperatures:
            how = MeasureConfig(
                hypotheses=config.hypotheses, temperature=temperature, quantised_images=1
            )
            [found] = measure_run(run.folder, benchmark, how, body)
            values[run.job.supervision, temperature][run.job.method].append(found.values)
    text = table(values)
    config.tables.mkdir(parents=True, exist_ok=True)
    (config.tables / "temperature.md").write_text(text + "\n")
    return text


def table(
    values: Mapping[Row, Mapping[str, Sequence[Mapping[str, float | None]]]],
) -> str:
    """Write means over the seeds as Markdown, the methods of the claim side by side.

    Args:
        values: supervision and temperature -> method -> what each seed measures.
    """
    head = ["supervision", "temperature"]
    head += [f"{method}: best of 25 (mm), AH (px), PJD occluded (mm)" for method in CLAIM]
    rows = []
    for (supervision, temperature), methods in values.items():
        cells = [
            ", ".join(
                [
                    f"{_mean(methods[method], CRITERION):.1f}",
                    f"{_mean(methods[method], _AH):.1f}",
                    f"{_mean(methods[method], _SPREAD):.0f}",
                ]
            )
            for method in CLAIM
        ]
        best = [_mean(methods[method], CRITERION) for method in CLAIM]
        rows.append([supervision, f"{temperature:g}", *cells, f"{best[1] / best[0]:.3f}"])
    return markdown([*head, f"{CLAIM[1]} / {CLAIM[0]}"], rows)


def _mean(seeds: Sequence[Mapping[str, float | None]], name: str) -> float:
    return float(np.mean([value for one in seeds if (value := one[name]) is not None]))
