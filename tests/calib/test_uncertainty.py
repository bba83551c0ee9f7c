"""`python -m calib.uncertainty`: files in; a record, figures and a table out."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest

from calib.dataset import CalibrationDataset
from calib.fit import fit
from calib.metrics import sparsification, spearman_within_joint
from calib.uncertainty import UncertaintyConfig, calibrate, main, store, usual_error
from engines.command import start
from engines.covariance import squared_mahalanobis
from engines.errors import PenumbraError
from engines.uncertainty import CovarianceCalibration
from tests.support.random_errors import simulate

ONES = np.ones((24, 2))


def sample(seed: int, data: str) -> CalibrationDataset:
    """The errors of occluded joints are four times as large."""
    return replace(simulate(ONES, 4 * ONES, seed=seed, count=400), data=data)


def run(*arguments: str) -> None:
    start(main, UncertaintyConfig, arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command was run."""
    folder = tmp_path_factory.mktemp("uncertainty")
    sample(1, "some people").save(folder / "val.npz")
    sample(2, "other people").save(folder / "test.npz")
    (folder / "flow.json").write_text(json.dumps({"file": "flow.onnx", "calibration": None}))
    errors = f"--fit {folder}/val.npz --measure {folder}/test.npz"
    run(*f"{errors} --record {folder}/flow.json --figures {folder}/figures".split())
    return folder


def test_the_record_gets_the_calibration_and_keeps_the_rest(folder: Path) -> None:
    record = json.loads((folder / "flow.json").read_text())
    assert record["file"] == "flow.onnx"
    calibration = CovarianceCalibration.from_json(record["calibration"])
    assert calibration.data == "some people"
    assert calibration.metrics is not None and calibration.metrics.data == "other people"


def test_what_is_reached_is_what_other_people_show(folder: Path) -> None:
    calibration = CovarianceCalibration.from_json(
        json.loads((folder / "flow.json").read_text())["calibration"]
    )
    others, metrics = sample(2, "other people"), calibration.metrics
    assert metrics is not None
    cov = calibration.apply(others.cov, others.ray, others.p_visible, others.circumstances)
    d2 = squared_mahalanobis(cov, others.error)
    for level, share in zip(metrics.levels, metrics.coverage_occluded or (), strict=True):
        inside = d2 <= calibration.radius(level, others.p_visible)
        # The file has float32.
        assert share == pytest.approx(inside[~others.visible].mean(), abs=1e-3)
    error, use = np.linalg.norm(others.error, axis=-1), ~np.isnan(others.landmark_visibility)
    std = np.sqrt(np.trace(cov, axis1=-2, axis2=-1) / 3)
    assert metrics.ause == pytest.approx(sparsification(error[use], std[use]).ause, abs=1e-3)
    by_landmark = sparsification(error[use], 1 - others.landmark_visibility[use]).ause
    assert metrics.ause_landmarks == pytest.approx(by_landmark, abs=1e-3)
    assert metrics.ause < metrics.ause_landmarks < metrics.ause_constant
    assert metrics.spearman == pytest.approx(
        np.nanmean(spearman_within_joint(error, std, use)), abs=1e-3
    )
    assert metrics.distance == pytest.approx(0.9, abs=0.05)


def test_metrics_that_are_not_defined_are_stored_as_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted, measured = sample(1, "some"), sample(2, "others").rows(np.arange(2))
    fitted.error[:, 5] = np.nan
    for name, errors in (("val", fitted), ("test", measured)):
        unknown = np.full_like(errors.distance_error, np.nan)
        replace(errors, distance_error=unknown).save(tmp_path / f"{name}.npz")
    record = tmp_path / "flow.json"
    record.write_text("{}")
    run(*f"--fit {tmp_path}/val.npz --measure {tmp_path}/test.npz --record {record}".split())
    metrics = CovarianceCalibration.from_json(json.loads(record.read_text())["calibration"]).metrics
    assert metrics is not None and metrics.distance is None and metrics.spearman is None
    assert "distance inside 90 %: not defined" in capsys.readouterr().out


def test_a_calibration_that_no_reader_would_take_is_not_stored(tmp_path: Path) -> None:
    record, usual = tmp_path / "flow.json", fit(sample(1, "some"))
    record.write_text("{}")
    for distance in (math.nan, 1e6):
        with pytest.raises(PenumbraError, match=r"fit: .* cannot be used"):
            store(replace(usual, distance=distance), record)
    assert record.read_text() == "{}"


@pytest.mark.parametrize("name", ["error", "landmark_visibility"])
def test_errors_of_which_nothing_is_known_are_refused_by_name(name: str) -> None:
    usual, unknown = sample(1, "some"), sample(2, "others")
    unknown = replace(unknown, **{name: np.full_like(getattr(unknown, name), np.nan)})
    with pytest.raises(PenumbraError, match=r"^test_errors: holds no .*\.$"):
        calibrate(usual, unknown)


def test_the_usual_error_of_a_joint_that_is_never_known_is_that_of_all() -> None:
    errors = sample(1, "some")
    errors.error[:, 5] = np.nan
    found = usual_error(errors)
    assert found[5] == pytest.approx(np.delete(found, 5).mean())
    assert found[6] == pytest.approx(np.linalg.norm(errors.error[:, 6], axis=-1).mean())


def test_the_figures_can_be_read_and_are_not_blank(folder: Path) -> None:
    for name in ("reliability", "sparsification"):
        image = cv2.imread(str(folder / "figures" / f"{name}.png"))
        assert image.shape[0] > 400 and image.std() > 5


def test_the_table_names_every_group(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--fit", f"{folder}/val.npz", "--measure", f"{folder}/test.npz")
    printed = capsys.readouterr().out
    for word in (
        "some people",
        "other people",
        "visible",
        "occluded",
        "as if normal",
        "AUSE",
        "ECE",
    ):
        assert word in printed


def test_errors_survive_the_file(tmp_path: Path) -> None:
    written = sample(3, "these")
    written.save(tmp_path / "some.file")
    read = CalibrationDataset.load(tmp_path / "some.file", "fit")
    assert read.data == "these" and read.visible.dtype == bool
    np.testing.assert_allclose(read.error, written.error, rtol=1e-6)
    np.testing.assert_allclose(read.landmark_visibility, written.landmark_visibility, rtol=1e-6)


@pytest.mark.parametrize(
    "what", ["missing", "not a zip", "another file", "pickle", "shape", "nan", "zero", "empty"]
)
def test_what_is_no_errors_file_is_refused_by_name(tmp_path: Path, what: str) -> None:
    path, good = tmp_path / "bad.npz", sample(3, "these")
    match what:
        case "missing":
            pass
        case "not a zip":
            path.write_bytes(b"PK and so on")
        case "another file":
            np.savez(path, points=np.zeros(3))
        case "pickle":
            np.savez(path, **{k: np.array([None]) for k in vars(good)})
        case "shape":
            np.savez(path, **vars(good) | {"ray": good.ray[:-1]})
        case "nan":
            replace(good, cov=good.cov * np.nan).save(path)
        case "zero":
            replace(good, distance_std=0 * good.distance_std).save(path)
        case "empty":
            np.savez(path, **{k: v if isinstance(v, str) else v[:0] for k, v in vars(good).items()})
    with pytest.raises(PenumbraError, match=r"measure: .*bad\.npz"):
        CalibrationDataset.load(path, "measure")


def test_user_errors_end_with_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    blind = sample(4, "blind")
    replace(blind, landmark_visibility=np.full_like(blind.landmark_visibility, np.nan)).save(
        tmp_path / "blind.npz"
    )
    unknown = sample(4, "unknown")
    replace(unknown, error=unknown.error * np.nan).save(tmp_path / "unknown.npz")
    val, test = ["--fit", f"{folder}/val.npz"], ["--measure", f"{folder}/test.npz"]
    for arguments, said in (
        ([*val, *test, "--record", str(tmp_path / "none.json")], "is not a model's record"),
        (
            [*val, *test, "--figures", str(tmp_path / "file" / "x")],
            "figures: ",
        ),
        ([*val, "--measure", str(tmp_path / "blind.npz")], "holds no landmark's visibility"),
        ([*val, "--measure", str(tmp_path / "unknown.npz")], "measure: "),
        (["--fit", str(tmp_path / "unknown.npz"), *test], "holds no error of a joint"),
    ):
        with pytest.raises(SystemExit) as end:
            run(*arguments)
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_a_kill_while_writing_errors_leaves_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "errors.npz"
    sample(1, "some people").save(path)

    def dies(file: BinaryIO, **_: object) -> None:
        file.write(b"PK")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez_compressed", dies)
        sample(2, "other people").save(path)
    assert CalibrationDataset.load(path, "fit").data == "some people"
