"""The errors files of a flow: the same as asking the live sampler image by image."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.dataset import CalibrationDataset
from engines.body import BodyModel
from engines.camera import Intrinsics
from engines.errors import PenumbraError
from engines.flow.model import FlowModel
from engines.flow.statistics import joint_moments
from engines.types import LIMB_JOINTS
from tests.support.random_samples import random_records
from trainer import calibrate
from trainer.calibrate import CalibrateConfig
from trainer.data.augment import joints_in_camera
from trainer.estimation.frame_estimator import FrameEstimator
from trainer.evaluation.live_errors import dataset, observation, of_records, of_views
from trainer.evaluation.view_scores import ViewSample, without_common_distance

COUNT = 3


@pytest.fixture(scope="module")
def estimator(body: BodyModel) -> FrameEstimator:
    return FrameEstimator(FlowModel.load(), body, 20)


@pytest.fixture(scope="module")
def records(body: BodyModel) -> dict[str, np.ndarray]:
    return random_records(COUNT, 3, body)


def test_each_image_is_what_the_live_system_says(
    estimator: FrameEstimator, records: dict[str, np.ndarray], body: BodyModel
) -> None:
    rows = of_records(estimator, records, body)
    target = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    for i, row in enumerate(rows):
        samples = estimator.samples(*observation(records, i))
        moments = joint_moments(samples.hypotheses)
        predicted = row.predicted
        np.testing.assert_allclose(predicted.cov, moments.cov)
        assert predicted.entropy == pytest.approx(-samples.hypotheses.log_q[1:].mean())
        assert predicted.half_size == samples.half_size and not predicted.heavy
        error = target[i] - samples.hypotheses.joints[0]
        assert row.distance_error == pytest.approx(error[0] @ moments.ray)
        np.testing.assert_allclose(row.error, error - row.distance_error * moments.ray, atol=1e-6)
        np.testing.assert_array_equal(row.visible, records["joint_visible"][i])
        assert (~np.isnan(predicted.landmark_visibility)).sum() == len(LIMB_JOINTS)
        assert predicted.landmark_visibility[20] == records["visibility"][i, 15]  # left wrist


def test_a_window_of_an_image_is_an_image_with_another_principal_point() -> None:
    record = {
        "window": np.array([[100.0, 50.0, 500.0, 350.0]], np.float32),
        "size": np.array([[1280, 720]], np.int32),
        "focal": np.array([900.0], np.float32),
        "score": np.array([0.9], np.float32),
        "points": np.full((1, 33, 2), 300.0, np.float32),
        **{
            name: np.ones((1, 33), np.float32)
            for name in ("depth", "visibility", "presence", "peak")
        },
        "world": np.zeros((1, 33, 3), np.float32),
    }
    landmarks, intrinsics = observation(record, 0)
    assert intrinsics.size == (400, 300)
    np.testing.assert_allclose(landmarks.points, [[200.0, 250.0]] * 33)
    whole = Intrinsics(900.0, 900.0, 640.0, 360.0, (1280, 720))
    np.testing.assert_allclose(
        intrinsics.rays(landmarks.points), whole.rays(np.full((33, 2), 300.0))
    )


def test_footage_knows_the_joints_of_its_reference(
    estimator: FrameEstimator, records: dict[str, np.ndarray]
) -> None:
    landmarks, intrinsics = observation(records, 0)
    joints = np.array([4, 5, 18])
    best = estimator.samples(landmarks, intrinsics).hypotheses.joints[0].astype(float)
    ray = best[0] / np.linalg.norm(best[0])
    shift = np.array([0.02, 0.0, 0.01])
    target = best[joints] + shift - 0.7 * ray  # nearer by 70 cm, which is not an error
    (row,) = of_views(estimator, [ViewSample(landmarks, intrinsics, joints, target)])
    assert np.flatnonzero(np.isfinite(row.error).all(-1)).tolist() == joints.tolist()
    cov = row.predicted.cov[joints] + 0.004**2 * np.eye(3)
    expected = without_common_distance(np.tile(shift, (3, 1)), cov, ray)
    np.testing.assert_allclose(row.error[joints], expected, atol=1e-5)
    assert np.isnan(row.distance_error)


def test_folders_become_strata_of_one_file_each(
    body: BodyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("clear/val", "near/val", "near/test")):
        (tmp_path / name).mkdir(parents=True)
        np.savez(tmp_path / name / "00000.npz", **random_records(2 + seed, seed, body))
    config = CalibrateConfig(
        val=(tmp_path / "clear/val", tmp_path / "near/val"),
        test=(tmp_path / "near/test",),
        images=3,
        hypotheses=10,
        out=tmp_path,
    )
    (tmp_path / "clear/val" / "made.json").write_text('{"network": "heavy"}')
    calibrate.main(config)
    val, test = (
        CalibrationDataset.load(tmp_path / f"{split}_errors.npz", "fit")
        for split in ("val", "test")
    )
    assert val.strata == ("clear", "near") and test.strata == ("near",)
    assert val.stratum.tolist() == [0, 0, 1, 1, 1] and test.size == 3
    assert val.heavy.tolist() == [True, True, False, False, False] and not test.heavy.any()
    assert val.data.endswith("and footage: 2 of clear, 3 of near")
    assert "--record engines/assets/flow.json" in capsys.readouterr().out
    flow = Path(shutil.copy(FlowModel.load().onnx, tmp_path / "mine.onnx"))
    shutil.copy(FlowModel.load().onnx.with_suffix(".json"), tmp_path / "mine.json")
    calibrate.main(replace(config, model=flow))
    assert f"--record {tmp_path / 'mine.json'}" in capsys.readouterr().out


def test_folders_of_one_stratum_and_numbers_that_are_too_small_are_refused() -> None:
    both = (Path("runs/near/val"), Path("more/near/val"))
    for argument in ("val", "test"):
        with pytest.raises(PenumbraError, match=f"{argument}: several folders .* called near"):
            calibrate.main(replace(CalibrateConfig(), **{argument: both}))
    for name in ("images", "every"):
        with pytest.raises(PenumbraError, match=f"{name}: must be at least 1"):
            calibrate.main(replace(CalibrateConfig(), **{name: 0}))


def test_a_side_without_images_is_refused() -> None:
    with pytest.raises(PenumbraError, match="val and test: need at least one folder"):
        calibrate.main(CalibrateConfig(val=(), test=(), hypotheses=10))


def test_strata_are_numbered_in_their_order(
    estimator: FrameEstimator, records: dict[str, np.ndarray], body: BodyModel
) -> None:
    rows = of_records(estimator, records, body)
    errors = dataset({"a": rows[:1], "b": rows[1:]}, "three")
    assert errors.stratum.tolist() == [0, 1, 1] and errors.strata == ("a", "b")
    np.testing.assert_array_equal(errors.error[2], rows[2].error)


def test_views_that_are_not_in_the_footage_are_named() -> None:
    config = CalibrateConfig(val=(), test=(), hypotheses=10, fit_views=("balancing/cam2",))
    with pytest.raises(PenumbraError, match="fit_views: balancing/cam2 is not among the views"):
        calibrate.main(config)
