"""Results of the experiments as Markdown, with the seminar's own figures beside them."""

from collections.abc import Mapping, Sequence

from trainer.experiments.generation import Generated

NAMES: dict[str, str] = {
    "gmm": "GMM",
    "vposer": "VPoser",
    "ndf": "Pose-NDF",
    "nrdf": "NRDF",
    "flow": "flow",
    "humor": "HuMoR",
}
"""How the priors are called."""
Errors = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Task -> frames -> method -> cm."""
SEMINAR_DENOISING = """\
| *Tiwari et al., AMASS, 60 / 120 / 240 frames* | clean | noisy |
| --- | --- | --- |
| VPoser | 1.52 / 1.55 / 1.47 | 8.96 / 9.13 / 9.15 |
| HuMoR | 3.21 / 3.62 / 3.67 | 11.04 / 17.14 / 30.31 |
| Pose-NDF | 0.59 / 0.55 / 0.54 | 7.96 / 8.31 / 8.46 |"""
SEMINAR_COMPLETION = """\
| *Tiwari et al., 60 / 120 / 240 frames* | leg | arm and hand | shoulder and upper arm |
| --- | --- | --- | --- |
| VPoser | 2.53 / 2.57 / 2.54 | 8.51 / 8.52 / 8.59 | 9.98 / 9.49 / 9.48 |
| HuMoR | 5.60 / 6.19 / 9.09 | 7.83 / 8.44 / 10.25 | 4.75 / 5.11 / 4.95 |
| Pose-NDF | 2.49 / 2.51 / 2.47 | 7.81 / 8.13 / 7.98 | 7.63 / 7.89 / 6.76 |"""

Fitted = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Row -> column -> what was measured."""
SEMINAR_FITTING = """\
| *Tiwari et al., per-vertex error (mm)* | no prior | VPoser | GAN-S | Pose-NDF |
| --- | --- | --- | --- | --- |
| optimisation |  | 60.34 | 59.18 | 57.39 |
| ExPose, 54.76, refined | 99.78 | 67.23 | 54.09 | 53.81 |"""
SEMINAR_ABLATION = """\
| *Pavlakos et al., EHF, per-vertex error (mm)* | |
| --- | --- |
| SMPLify-X | 52.9 |
| gender neutral model | 58.0 |
| GMM for VPoser | 56.4 |
| no collision | 53.5 |"""


def fitting_table(fitted: Fitted, rows: Sequence[str]) -> str:
    """Write rows of PA-MPJPE by images: that of the best estimate, and the best of all, mm."""
    columns = list(dict.fromkeys(name for row in rows for name in fitted[row]))

    def cell(row: str, column: str) -> str:
        found = fitted[row].get(column)
        return f"{found['best estimate']:.1f}, {found['best of all']:.1f}" if found else ""

    return markdown(["", *columns], [[row, *(cell(row, one) for one in columns)] for row in rows])


def motion_table(errors: Errors) -> str:
    """Write a table of methods by tasks; a cell has an error for each length, cm."""
    tasks = list(errors)
    lengths = list(next(iter(errors.values())))
    methods = list(errors[tasks[0]][lengths[0]])
    head = f"{' / '.join(map(str, lengths))} frames"
    rows = [
        [NAMES.get(method, method)]
        + [
            " / ".join(f"{errors[task][length][method]:.2f}" for length in lengths)
            for task in tasks
        ]
        for method in methods
    ]
    return markdown([head, *tasks], rows)


def generation_table(generated: Mapping[str, Generated]) -> str:
    """Write a table of what priors generate."""
    head = ["", "diversity, cm", "judge, nats", "plausible, %", "knees and elbows in range, %"]
    rows = [
        [
            NAMES.get(name, name),
            f"{one.diversity_cm:.1f}",
            f"{one.energy:.0f}",
            f"{100 * one.plausible:.0f}",
            f"{100 * one.within_limits:.0f}",
        ]
        for name, one in generated.items()
    ]
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
