"""Numbers of many runs as tables."""

import pytest

from trainer.evaluation.tables import (
    Column,
    Measurement,
    ratio,
    ratios,
    render,
    table_2,
    table_3,
    table_best,
    table_estimate,
    table_uncertainty,
)

COLUMNS = [Column("A (mm)", "easy", "a"), Column("B", "hard", "b", 3)]


def measured(
    method: str, supervision: str, seed: int, a: float | None, b: float | None
) -> list[Measurement]:
    """A run on two benchmarks; each also has a value that belongs to the other's column, which must
    not be shown.
    """
    return [
        Measurement(method, supervision, seed, "easy", {"a": a, "b": -1.0}),
        Measurement(method, supervision, seed, "hard", {"a": -1.0, "b": b}),
    ]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_is_mean_and_standard_deviation_over_seeds() -> None:
    runs = [
        *measured("mhentropy", "3d", 0, 50.0, 0.1),
        *measured("mhentropy", "3d", 1, 52.0, 0.2),
        *measured("mhentropy", "3d", 2, 57.0, 0.3),
    ]
    title, empty, head, rule, row = render("Title", COLUMNS, runs).splitlines()
    assert title == "**Title**" and empty == ""
    assert cells(head) == ["supervision", "method", "seeds", "A (mm)", "B"]
    assert cells(rule) == ["---"] * 5
    # Squared distances from 53: 9 + 1 + 16 = 26, over n - 1.
    assert cells(row) == ["3d", "mhentropy", "3", f"53.0 ± {13**0.5:.1f}", "0.200 ± 0.100"]


def test_rows_are_sorted_by_supervision_and_then_as_the_paper_lists_them() -> None:
    order = [
        ("2d-vis", "hmr"),
        ("2d-vis", "mhentropy"),
        ("3d", "hmr"),
        ("3d", "cvae"),
        ("3d", "prohmr"),
    ]
    shuffled = [order[i] for i in (4, 1, 3, 0, 2)]
    runs = [
        one
        for supervision, method in shuffled
        for one in measured(method, supervision, 0, 1.0, 1.0)
    ]
    lines = render("", COLUMNS, runs).splitlines()[4:]
    assert [tuple(cells(line)[:2]) for line in lines] == order


def test_one_seed_has_no_spread_and_what_is_missing_is_a_dash() -> None:
    runs = [*measured("hmr", "3d", 0, 60.0, None), *measured("prohmr", "3d", 0, 70.0, 0.5)]
    runs += measured("prohmr", "3d", 1, None, 0.7)
    hmr, prohmr = (cells(line) for line in render("", COLUMNS, runs).splitlines()[4:])
    assert hmr == ["3d", "hmr", "1", "60.0", "–"]
    assert prohmr == ["3d", "prohmr", "2", "70.0", f"0.600 ± {0.02**0.5:.3f}"]
    only_easy = [one for one in runs if one.benchmark == "easy"]
    assert cells(render("", COLUMNS, only_easy).splitlines()[4])[-1] == "–"


def test_a_ratio_is_one_of_means() -> None:
    def run(
        method: str,
        seed: int,
        value: float | None,
        supervision: str = "2d-vis",
        benchmark: str = "hard",
    ) -> Measurement:
        return Measurement(method, supervision, seed, benchmark, {"pa_best_25": value})

    runs = [
        run("mhentropy", 0, 30.0),
        run("mhentropy", 1, 50.0),
        run("mhentropy", 2, None),
        run("prohmr", 0, 50.0),
    ]
    others = [
        run("mhentropy", 0, 1.0, "3d"),
        run("hmr", 0, 2.0, "3d"),
        run("prohmr", 0, 3.0, benchmark="easy"),
    ]
    assert ratio(runs + others, "2d-vis", "hard", "pa_best_25") == pytest.approx(0.8)
    assert ratio(runs + others, "3d", "hard", "pa_best_25") is None  # nothing to divide by
    assert (
        ratios(runs + others, "hard")
        == "Best of 25 on hard, MHEntropy / ProHMR: 0.800 under 2d-vis.\n"
    )
    more = [*runs, *others, run("prohmr", 0, 4.0, "3d")]
    assert (
        ratios(more, "hard")
        == "Best of 25 on hard, MHEntropy / ProHMR: 0.800 under 2d-vis, 0.250 under 3d.\n"
    )
    assert ratios(others, "hard") == ""


def test_the_tables_have_the_columns_of_the_paper() -> None:
    second = table_2(["CMU", "ambiguous CMU"])
    assert [column.benchmark for column in second] == ["CMU"] * 4 + ["ambiguous CMU"] * 4
    assert second[5] == Column("ambiguous CMU, n = 25", "ambiguous CMU", "pa_best_25")
    assert [column.value for column in table_estimate(["x"])] == [
        "mpjpe_of_pa_best_1",
        "pa_best_1",
        "pve",
    ]
    assert [column.value for column in table_3("x")] == [
        "ah_px",
        "wh_px",
        "pjd_2d_visible_px",
        "pjd_3d_occluded_mm",
        "rd",
        "consistency_px",
        "entropy_rank",
        "entropy_rank_images",
    ]
    assert [column.value for column in table_best("x")][-2:] == ["pa_best_25", "pa_best_100"]
    assert {column.benchmark for column in table_3("x") + table_uncertainty("x")} == {"x"}
