"""Report an evaluation: a table, the reliability diagram and the sparsification curves."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from calib.metrics import LEVELS, Evaluation, Sparsification, coverage
from engines.calibration_metrics import CalibrationMetrics
from engines.errors import PenumbraError
from engines.outputs import open_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID = np.arange(1, 100) / 100


def table(metrics: CalibrationMetrics) -> str:
    """The metrics as lines of text."""
    rows = [("coverage", *(f"{level:.0%}" for level in metrics.levels), "ECE")]
    for name, shares, ece in (
        ("all joints", metrics.coverage, metrics.ece),
        ("visible", metrics.coverage_visible, metrics.ece_visible),
        ("occluded", metrics.coverage_occluded, metrics.ece_occluded),
        ("as if normal", metrics.coverage_normal, None),
    ):
        if shares is not None:
            cells = (f"{share:.1%}" for share in shares)
            rows.append((name, *cells, "" if ece is None else f"{ece:.3f}"))
    return "\n".join(
        [
            f"measured on {metrics.data}",
            *(f"{name:<14}" + "".join(f"{cell:>8}" for cell in cells) for name, *cells in rows),
            f"AUSE {metrics.ause:.3f}; by landmark visibility {metrics.ause_landmarks:.3f}; "
            f"constant {metrics.ause_constant:.3f}",
            f"rank correlation within joint {_shown(metrics.spearman, '.3f')}; "
            f"distance inside 90 %: {_shown(metrics.distance, '.1%')}",
            *_strata(metrics),
        ]
    )


def _shown(value: float | None, form: str) -> str:
    return "not defined" if value is None else format(value, form)


def _strata(metrics: CalibrationMetrics) -> list[str]:
    """Coverage of each kind of image."""
    lines = []
    for stratum in metrics.strata:
        for group, shares in (
            ("limbs visible", stratum.limbs_visible),
            ("limbs occluded", stratum.limbs_occluded),
            ("trunk", stratum.trunk),
        ):
            if shares is not None:
                cells = "".join(f"{share:>8.1%}" for share in shares)
                lines.append(f"{stratum.name + ', ' + group:<40}{cells}")
    return lines


def save_figures(evaluation: Evaluation, folder: Path) -> None:
    """Write `reliability.png` and `sparsification.png` into a folder.

    Raises:
        PenumbraError: the folder cannot be made or written.
    """
    known = np.isfinite(evaluation.d2)
    groups = {
        "all joints": known,
        "visible": known & evaluation.visible,
        "occluded": known & ~evaluation.visible,
    }
    d2 = {name: evaluation.d2_normal[group] for name, group in groups.items() if group.any()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reliability_diagram(d2, evaluation.d2[known], folder / "reliability.png")
        sparsification_curves(evaluation.sparsification, folder / "sparsification.png")
    except OSError as error:
        raise PenumbraError(
            f"figures: {folder} cannot be written ({error.strerror or error}); choose another "
            "folder."
        ) from error


def reliability_diagram(
    groups: dict[str, Float[np.ndarray, "N"]], d2: Float[np.ndarray, "*B"], path: Path
) -> None:
    """Draw empirical over nominal coverage; below the diagonal, covariances are too small.

    Args:
        groups: squared distances on chi-square's scale, by name of the group.
        d2: squared distances of all joints, drawn as if errors were normal.
        path: the PNG to write.
    """
    figure, axes = _new_figure((5, 5))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    for name, values in groups.items():
        (line,) = axes.plot(_GRID, coverage(values, _GRID), label=name)
        axes.plot(LEVELS, coverage(values), "o", color=line.get_color(), markersize=4)
    axes.plot(_GRID, coverage(d2, _GRID), ":", color="0.4", label="all joints, as if normal")
    axes.set(xlabel="nominal coverage", ylabel="empirical coverage")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(frameon=False)
    _save(figure, path)


def sparsification_curves(curves: dict[str, Sparsification], path: Path) -> None:
    """Draw the mean error of the joints that are kept over the share that is removed.

    Args:
        curves: over the same errors, by name of what joints are removed by.
        path: the PNG to write.
    """
    figure, axes = _new_figure((6, 4.5))
    for name, curve in curves.items():
        axes.plot(curve.removed, curve.by_uncertainty, label=f"by {name} (AUSE {curve.ause:.3f})")
    first = next(iter(curves.values()))
    axes.plot(first.removed, first.oracle, color="0.6", label="by the error itself")
    axes.set(xlabel="share of joints removed", ylabel="mean error of the rest / of all")
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: "Figure", path: Path) -> None:
    with open_output(path, "figures", ".png", force=True) as output:
        figure.savefig(output.file, dpi=150)
        output.commit()


def _new_figure(inches: tuple[float, float]) -> "tuple[Figure, Axes]":
    """An empty figure that needs no display; Matplotlib is imported only here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
