"""Draw how far uncertainty can be trusted: the reliability diagram and the sparsification curves,
as PNG files.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib.metrics import LEVELS, Sparsification, coverage

_GRID = np.arange(1, 100) / 100


def reliability_diagram(
    groups: dict[str, Float[np.ndarray, "N"]], uncorrected: Float[np.ndarray, "*B"], path: Path
) -> None:
    """Promised against observed shares; the diagonal is perfect, below it promises are too narrow.

    Args:
        groups: squared distances on chi-square's scale, by name of the group.
        uncorrected: of all joints, when the covariance is taken for a normal distribution's.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    for name, d2 in groups.items():
        (line,) = axes.plot(_GRID, coverage(d2, _GRID), label=name)
        axes.plot(LEVELS, coverage(d2), "o", color=line.get_color(), markersize=4)
    axes.plot(
        _GRID, coverage(uncorrected, _GRID), ":", color="0.4", label="all joints, as if normal"
    )
    axes.set(
        xlabel="promised share",
        ylabel="share of true joints inside",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def sparsification_curves(rankings: dict[str, Sparsification], path: Path) -> None:
    """Mean error of the joints that are kept, against the share that is removed.

    Args:
        rankings: by what joints are removed; all over the same errors.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    for name, curve in rankings.items():
        axes.plot(curve.removed, curve.by_uncertainty, label=f"by {name} (AUSE {curve.ause:.3f})")
    first = next(iter(rankings.values()))
    axes.plot(first.removed, first.oracle, color="0.6", label="by the error itself")
    axes.set(
        xlabel="share of joints removed",
        ylabel="mean error of the rest / of all",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
