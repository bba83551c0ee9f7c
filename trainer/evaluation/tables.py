"""Measurements of many runs as the tables of the MHEntropy paper, mean and spread over seeds.

Table 2: PA-MPJPE of the best of 25 hypotheses. Table 3: how well hypotheses agree with visible
joints, and how much they differ in occluded ones. A third table has each method's calibration
metrics.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.methods.registry import METHOD_NAMES


@dataclass(frozen=True)
class Measurement:
    """One run on one benchmark."""

    method: str
    supervision: str
    seed: int
    benchmark: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    benchmark: str
    value: str
    digits: int = 1


_TABLE_2 = (
    ("n = 1", "pa_best_1"),
    ("n = 25", "pa_best_25"),
    ("n = 25 of 100 images", "pa_best_25_of_those"),
    ("quantised, of these", "pa_quantised_25"),
)


def table_2(benchmarks: Sequence[str]) -> list[Column]:
    """One hypothesis, and the best of 25, on every benchmark.

    The slow quantised 25 stand beside random ones on fewer images.
    """
    return [
        Column(f"{name}, {title}", name, value) for name in benchmarks for title, value in _TABLE_2
    ]


def table_estimate(benchmarks: Sequence[str]) -> list[Column]:
    """The one best estimate."""
    titles = {"MPJPE": "mpjpe_of_pa_best_1", "PA-MPJPE": "pa_best_1", "PVE": "pve"}
    return [
        Column(f"{name}, {title}", name, value)
        for name in benchmarks
        for title, value in titles.items()
    ]


def table_best(benchmark: str) -> list[Column]:
    """The best of ever more hypotheses."""
    return [Column(f"n = {n}", benchmark, f"pa_best_{n}") for n in (1, 5, 10, 25, 100)]


def table_3(benchmark: str) -> list[Column]:
    """Diversity, on the ambiguous benchmark."""
    return [
        Column("AH (px)", benchmark, "ah_px", 2),
        Column("WH (px)", benchmark, "wh_px", 2),
        Column("PJD 2D visible (px)", benchmark, "pjd_2d_visible_px", 2),
        Column("PJD 3D occluded (mm)", benchmark, "pjd_3d_occluded_mm", 2),
        Column("RD", benchmark, "rd", 3),
        Column("draws to input (px)", benchmark, "consistency_px", 2),
        Column("entropy follows occluded joints", benchmark, "entropy_rank", 2),
        Column("the same, by image", benchmark, "entropy_rank_images", 2),
    ]


def table_uncertainty(benchmark: str) -> list[Column]:
    """Uncertainty as the method gives it, before any calibration."""
    shares = [
        Column(f"inside {level} %", benchmark, f"coverage_{level}", 1) for level in (50, 68, 90, 95)
    ]
    return [
        Column("NLL / coordinate", benchmark, "nll", 2),
        *shares,
        Column("ECE", benchmark, "ece", 3),
        Column("AUSE", benchmark, "ause", 3),
        Column("Spearman within joint", benchmark, "spearman", 2),
        Column("energy score (mm)", benchmark, "energy_mm"),
        Column("of the whole body", benchmark, "energy_body_mm"),
        Column("confident errors (%)", benchmark, "confident_error", 1),
    ]


def render(title: str, columns: Sequence[Column], measured: Sequence[Measurement]) -> str:
    """A Markdown table, one row a method, `mean ± standard deviation` over seeds."""
    rows: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for one in measured:
        rows[one.supervision, one.method].append(one)
    order = sorted(rows, key=lambda key: (key[0], METHOD_NAMES.index(key[1])))
    head = ["supervision", "method", "seeds", *(column.title for column in columns)]
    lines = [f"**{title}**", "", _line(head), _line(["---"] * len(head))]
    for key in order:
        seeds = len({one.seed for one in rows[key]})
        lines.append(_line([*key, str(seeds), *(_cell(column, rows[key]) for column in columns)]))
    return "\n".join(lines) + "\n"


def ratio(
    measured: Sequence[Measurement], supervision: str, benchmark: str, value: str
) -> float | None:
    """MHEntropy's mean of a value over ProHMR's, as the paper's claim has it; None without both."""
    here = [one for one in measured if (one.supervision, one.benchmark) == (supervision, benchmark)]
    values = [
        [one.values[value] for one in here if one.method == method]
        for method in ("mhentropy", "prohmr")
    ]
    known = [[v for v in column if v is not None] for column in values]
    return statistics.fmean(known[0]) / statistics.fmean(known[1]) if all(known) else None


def ratios(measured: Sequence[Measurement], benchmark: str) -> str:
    """A sentence with the `ratio` of the best of 25 under each supervision; empty without any."""
    found = {
        s: ratio(measured, s, benchmark, "pa_best_25")
        for s in dict.fromkeys(one.supervision for one in measured)
    }
    parts = [
        f"{value:.3f} under {supervision}"
        for supervision, value in found.items()
        if value is not None
    ]
    return f"Best of 25 on {benchmark}, MHEntropy / ProHMR: {', '.join(parts)}.\n" if parts else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(column: Column, runs: Sequence[Measurement]) -> str:
    values = [one.values[column.value] for one in runs if one.benchmark == column.benchmark]
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):.{column.digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.{column.digits}f}"
