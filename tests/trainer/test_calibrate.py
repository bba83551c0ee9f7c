"""The errors file of a flow: the same as asking the flow picture by picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calib.dataset import CalibrationDataset
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.sampler import noise
from engines.kernels import weighted_moments_reference
from tests.support.random_samples import mhentropy, random_flow, random_records, stored_run
from trainer import calibrate
from trainer.calibrate import CalibrateConfig
from trainer.data import samples as data
from trainer.model.kinematics import SkeletonTensors, view_joints

COUNT = 5


@pytest.fixture(scope="module")
def records(body: BodyModel) -> dict[str, np.ndarray]:
    return random_records(COUNT, 3, body)


@pytest.fixture(scope="module")
def errors(records: dict[str, np.ndarray], body: BodyModel) -> CalibrationDataset:
    return calibrate.errors_of(random_flow(1), skeleton(body), records, body, "five", chunk=2)


def skeleton(body: BodyModel) -> SkeletonTensors:
    return SkeletonTensors(
        *(torch.tensor(part, dtype=torch.float32) for part in (body.J_template, body.J_shapedirs))
    )


@torch.no_grad()
def test_each_picture_is_what_the_live_statistics_say(
    errors: CalibrationDataset, records: dict[str, np.ndarray], body: BodyModel
) -> None:
    flow, batch = random_flow(1), data.encode(records, body)
    for i in range(COUNT):
        one = batch.rows(torch.tensor([i]))
        bodies, log_q = flow.sample(flow.encode(one.features), torch.from_numpy(noise(100))[None])
        joints = (
            view_joints(skeleton(body), one.R_anchor, one.half_size, bodies)[0].double().numpy()
        )
        moments = weighted_moments_reference(joints, np.ones(100))
        np.testing.assert_allclose(errors.cov[i], moments.cov, atol=1e-6)
        np.testing.assert_allclose(errors.ray[i], moments.ray, atol=1e-6)
        assert errors.distance_std[i] == pytest.approx(moments.distance[1], rel=1e-4)
        assert errors.entropy[i] == pytest.approx(-log_q[0, 1:].mean().item(), rel=1e-5)
        miss = one.joints[0].numpy() - joints[0]
        assert errors.distance_error[i] == pytest.approx(miss[0] @ moments.ray, abs=1e-4)
        np.testing.assert_allclose(
            errors.error[i], miss - (miss[0] @ moments.ray) * moments.ray, atol=1e-4
        )


def test_several_folders_become_one_file_each(body: BodyModel, tmp_path: Path) -> None:
    """The file says what is in it, and its rows are the folders' one after the other."""
    flow = random_flow(1)
    stored_run(tmp_path / "run", mhentropy(body, flow))
    for seed, name in enumerate(("dataset/val", "ambiguous/val", "ambiguous/test")):
        (tmp_path / name).mkdir(parents=True)
        np.savez(tmp_path / name / "00000.npz", **random_records(2 + seed, seed, body))
    calibrate.main(
        CalibrateConfig(
            tmp_path / "run",
            (tmp_path / "dataset/val", tmp_path / "ambiguous/val"),
            (tmp_path / "ambiguous/test",),
            tmp_path,
        )
    )
    val, test = (
        CalibrationDataset.load(tmp_path / f"{split}_errors.npz", "--fit")
        for split in ("val", "test")
    )
    assert val.size == 5 and test.size == 4
    assert val.data.endswith(
        "validation subjects through the landmark network: 2 of dataset/val and 3 of ambiguous/val"
    )
    assert test.data.endswith("test subjects through the landmark network: 4 of ambiguous/test")
    with pytest.raises(PenumbraError, match="--val and --test: name at least one"):
        calibrate.main(
            CalibrateConfig(tmp_path / "run", (), (tmp_path / "ambiguous/test",), tmp_path)
        )
    alone = calibrate.errors_of(flow, skeleton(body), random_records(3, 1, body), body, "")
    np.testing.assert_allclose(val.error[2:], alone.error, atol=1e-6)


def test_limbs_have_their_landmark_and_the_rest_has_none(
    errors: CalibrationDataset, records: dict[str, np.ndarray]
) -> None:
    np.testing.assert_array_equal(
        errors.landmark_visibility[:, 20], records["visibility"][:, 15]
    )  # left wrist
    np.testing.assert_array_equal(
        errors.landmark_visibility[:, 2], records["visibility"][:, 24]
    )  # right hip
    assert (~np.isnan(errors.landmark_visibility)).all(0).sum() == 12
    np.testing.assert_array_equal(errors.visible, records["joint_visible"])
    assert errors.p_visible.min() > 0 and errors.p_visible.max() < 1 and errors.data == "five"


def test_the_file_is_what_the_fit_reads(errors: CalibrationDataset, tmp_path: Path) -> None:
    errors.save(tmp_path / "val_errors.npz")
    assert CalibrationDataset.load(tmp_path / "val_errors.npz", "--fit").size == COUNT
