"""Tables of fits: what a cell is, and that it is computed once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.types import LIMB_JOINTS
from tests.support.random_samples import random_records
from tests.support.rigs import perfect_estimates, ring
from trainer.data.augment import joints_in_camera
from trainer.estimation.objectives import open_objective
from trainer.evaluation.live_errors import observation
from trainer.evaluation.motion_scores import CameraTrack
from trainer.evaluation.view_scores import ViewSample
from trainer.experiments import fitting
from trainer.experiments.compare_priors import PriorTableConfig, compare_priors
from trainer.experiments.fitting import (
    ABLATION,
    FROM_MEAN,
    REFINEMENT,
    ROWS,
    Column,
    FittingConfig,
    Row,
    fit_tables,
    open_row,
)
from trainer.experiments.results import Results, sha256_of_assets
from trainer.experiments.table import fitting_table

COUNT = 3


@pytest.fixture
def config(body: BodyModel, tmp_path: Path) -> FittingConfig:
    clear = tmp_path / "clear"
    clear.mkdir()
    np.savez(clear / "00000.npz", **random_records(COUNT, 1, body))
    return FittingConfig(clear=clear, hypotheses=10)


def test_rows_have_names_of_their_own_and_all_priors_are_there() -> None:
    names = [row.name for row in dict.fromkeys(ROWS)]
    assert len(set(names)) == len(names)
    for rows, objective in ((FROM_MEAN, "smplify"), (REFINEMENT, "anchored")):
        mine = {row.prior for row in rows if row.objective == objective}
        assert mine == {"none", "gmm", "vposer", "ndf", "nrdf", "flow"}
    assert {row.starts for row in REFINEMENT if row.objective == "smplify"} == {"flow"}
    assert sum(row.collision for row in ABLATION) == 2


def test_a_cell_is_the_score_of_its_fit_and_is_computed_once(
    body: BodyModel, config: FittingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (Row("smplify", "gmm"), Row("smplify", "none"), Row("anchored", "none", fitted=False))
    table = fit_tables(config, tmp_path, rows)
    assert list(table) == ["smplify, gmm, from mean", "smplify, none, from mean", "flow, no fit"]
    records = random_records(COUNT, 1, body)
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    fit = open_objective("smplify", "gmm", body, None, 10)
    errors = []
    for i, target in enumerate(joints):
        (estimate,) = fit([observation(records, i)])
        x, y = (part[list(LIMB_JOINTS)] for part in (estimate.joints, target))
        x, y = x - x.mean(0), y - y.mean(0)
        U, S, Vt = np.linalg.svd(x.T @ y)
        sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
        aligned = (S * sign).sum() / (x**2).sum() * x @ ((U * sign) @ Vt)
        errors.append(1000 * np.linalg.norm(aligned - y, axis=-1).mean())
    cell = table["smplify, gmm, from mean"]["clear renderings"]
    assert cell["best estimate"] == pytest.approx(np.mean(errors), abs=0.02)
    assert cell["best of all"] <= cell["best estimate"] and cell["images"] == COUNT

    def refuse(*arguments: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(fitting, "open_row", refuse)
    assert fit_tables(config, tmp_path, rows) == table
    with pytest.raises(AssertionError, match="already"):
        fit_tables(config, tmp_path, (*rows, Row("smplify", "ndf")))
    with pytest.raises(PenumbraError, match="other options"):
        fit_tables(replace(config, hypotheses=11), tmp_path, rows)
    shipped = FlowModel.load()
    other = replace(shipped, record=shipped.record | {"sha256": "another"})
    with monkeypatch.context() as patch, pytest.raises(PenumbraError, match="other options"):
        patch.setattr(FlowModel, "load", staticmethod(lambda: other))
        fit_tables(config, tmp_path, rows)
    text = fitting_table(table, list(table))
    assert (
        f"| flow, no fit | {table['flow, no fit']['clear renderings']['best estimate']:.1f}, "
        in text
    )


def test_motion_is_scored_where_the_prior_knows_the_rate(body: BodyModel) -> None:
    """Four frames of somebody who stands still; one of them is not found."""
    camera = ring(1)[0]
    joints = body.shaped(np.zeros(10)).posed(np.zeros((24, 3)), np.array([0.0, 0.0, 3.0])).joints
    seen = [perfect_estimates([camera], joints)[0].landmarks for _ in range(4)]
    limbs = np.array(LIMB_JOINTS)
    target = camera.to_camera(joints)[limbs]
    samples = [ViewSample(seen[i], camera.intrinsics, limbs, target) for i in (0, 1, 3)]
    track = CameraTrack([seen[0], seen[1], None, seen[3]], camera.intrinsics, 30.0, samples)
    score = open_row(Row("humor", "humor", "flow"), body, FlowModel.load(), 5)
    assert len(score(Column(samples, (track,)))) == 3
    assert score(Column(samples)) == []


def test_results_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "fitting.json"
    path.write_text("{")
    with pytest.raises(PenumbraError, match=r"out: .*fitting.json holds no results"):
        Results(path, {})


def test_results_outlive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "new" / "some.json"
    Results(path, {"a": 1}).cell("x", lambda: {"cm": 1.5})
    again = Results(path, {"a": 1})
    assert again.get("x") == {"cm": 1.5} and again.get("y") is None


def test_results_of_other_priors_or_poses_are_not_taken(tmp_path: Path) -> None:
    poses = tmp_path / "poses.npz"
    poses.write_bytes(b"some")
    options: dict[str, object] = {"assets": sha256_of_assets([poses])}
    Results(tmp_path / "motion.json", options).cell("x", lambda: {"cm": 1.5})
    assert Results(tmp_path / "motion.json", {"assets": sha256_of_assets([poses])}).get("x")
    poses.write_bytes(b"others")
    with pytest.raises(PenumbraError, match="holds results of other options"):
        Results(tmp_path / "motion.json", {"assets": sha256_of_assets([poses])})
    with pytest.raises(PenumbraError, match=r"cannot read .*none\.npz"):
        sha256_of_assets([tmp_path / "none.npz"])


def test_an_experiment_without_images_is_refused_before_it_begins(tmp_path: Path) -> None:
    config = PriorTableConfig(out=tmp_path / "out", fitting=FittingConfig(clear=tmp_path / "none"))
    with pytest.raises(PenumbraError, match="folders: there are no recordings"):
        compare_priors(config)
    assert not (tmp_path / "out").exists()
