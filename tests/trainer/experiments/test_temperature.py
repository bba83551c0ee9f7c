"""The noise of trained methods scaled: which runs are measured, and what is written of them."""

from pathlib import Path

import pytest

from engines.errors import PenumbraError
from trainer.evaluation.measure import MeasureConfig
from trainer.evaluation.tables import Measurement
from trainer.experiments import temperature as module
from trainer.experiments.method_runs import Run, jobs
from trainer.experiments.temperature import TemperatureConfig, vary_temperature


def _runs(folder: Path) -> list[Run]:
    return [Run(job, job.folder(folder), 9) for job in jobs(2)]


def test_the_methods_of_the_claim_are_measured_at_every_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, float]] = []

    def measure(
        folder: Path, benchmarks: object, config: MeasureConfig, body: object
    ) -> list[Measurement]:
        supervision, method, seed = folder.name.split("_")
        measured.append((folder.name, config.temperature))
        error = 80.0 + 10 * (method == "prohmr") + int(seed) + config.temperature
        values = {"pa_best_25": error, "ah_px": 12.0, "pjd_3d_occluded_mm": 100.0}
        return [Measurement(method, supervision, int(seed), "validation", values)]

    monkeypatch.setattr(module, "measure_run", measure)
    monkeypatch.setattr(module, "finished", lambda folder, steps: True)
    monkeypatch.setattr(module, "validation_images", lambda folder, images, body: {})
    config = TemperatureConfig(temperatures=(0.5, 2.0), tables=tmp_path / "tables")
    text = vary_temperature(config, _runs(tmp_path))
    assert len(measured) == len(set(measured)) == 2 * 2 * 2 * 2
    assert not any("hmr_" in name and "prohmr" not in name for name, _ in measured)
    rows = text.splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| 2d-vis", "0.5"],
        ["| 2d-vis", "2"],
        ["| 3d", "0.5"],
        ["| 3d", "2"],
    ]
    assert "91.0, 12.0, 100 | 81.0, 12.0, 100 | 0.890" in rows[0]
    assert (tmp_path / "tables/temperature.md").read_text() == text + "\n"


def test_a_run_that_is_not_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match=r"2d-vis_prohmr_0 is not trained; train it"):
        vary_temperature(TemperatureConfig(tables=tmp_path), _runs(tmp_path))
