"""The report compares the same frames, with the walker and without."""

from trainer.crossing import Run, report
from trainer.evaluation.track_scores import TrackScores


def run(errors: dict[int, float], touched: set[int]) -> Run:
    scores = TrackScores(0.95, [0, 1], 2, 3, 4, [0.9, 0.8], [[], []])
    return Run([], scores, errors, touched, 0.25)


def test_errors_are_compared_on_the_frames_that_both_runs_have() -> None:
    alone = run({0: 10.0, 1: 20.0, 2: 30.0, 3: 1000.0}, set())
    crossed = run({0: 11.0, 1: 24.0, 2: 30.0, 9: 500.0}, {1, 9})
    rows = report(alone, crossed)
    assert rows["PA-MPJPE"] == {
        "frames": 3,
        "alone": 20.0,
        "with the walker": 21.7,
        "ratio": 1.083,
    }
    assert rows["PA-MPJPE, overlapped"] == {
        "frames": 1,
        "alone": 20.0,
        "with the walker": 24.0,
        "ratio": 1.2,
    }
    assert rows["person found, of frames in sight"] == 0.9
    assert rows["switches of number"] == {"person": 0, "walker": 1}


def test_without_an_overlap_there_is_no_row_for_it() -> None:
    rows = report(run({0: 10.0}, set()), run({0: 12.0}, set()))
    assert "PA-MPJPE, overlapped" not in rows
