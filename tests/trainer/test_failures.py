"""The search for failures: errors in units of sigma, and where a body lies in the crop."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from tests.support.example_estimate import make_estimate
from tests.support.random_samples import random_records
from trainer.data.augment import joints_in_camera
from trainer.estimation.prediction import ViewEstimate
from trainer.failures import FailuresConfig, crop_from_camera, main, normalised_error


def estimate() -> ViewEstimate:
    person = make_estimate().person
    assert person is not None
    joints = np.tile(person.best.joints, (5, 1, 1))
    hypotheses = replace(person.hypotheses, joints=joints)
    return ViewEstimate(
        person.landmarks, hypotheses, np.tile(0.04 * np.eye(3), (24, 1, 1)), np.ones(24)
    )


def test_errors_are_in_units_of_sigma_without_the_common_distance() -> None:
    one = estimate()
    ray = one.joints[0] / np.linalg.norm(one.joints[0])
    across = np.cross(ray, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    assert normalised_error(one, one.joints + 0.7 * ray) == pytest.approx(0.0, abs=1e-6)
    sign = np.where(np.arange(24) % 2, 1.0, -1.0)[:, None]
    assert normalised_error(one, one.joints + 0.3 * sign * across) == pytest.approx(1.5, rel=1e-6)


def test_the_homography_takes_joints_to_the_crop(body: BodyModel) -> None:
    records = random_records(3, 0, body)
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)[1]
    focal, (width, height) = float(records["focal"][1]), records["size"][1]
    px = joints[:, :2] / joints[:, 2:] * focal + np.array([width, height]) / 2
    expected = cv2.transform(px[None], records["crop_from_image"][1].astype(float))[0]
    found = joints @ crop_from_camera(records, 1).T
    np.testing.assert_allclose(found[:, :2] / found[:, 2:], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["a.webm", "missing/a.jpg"])
def test_an_image_that_cannot_be_written_is_refused_before_the_search(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(PenumbraError, match="out: "):
        main(FailuresConfig(out=tmp_path / name, poses=tmp_path / "none.npz"))


def test_poses_are_needed(tmp_path: Path) -> None:
    with pytest.raises(PenumbraError, match="poses"):
        main(FailuresConfig(out=tmp_path / "a.jpg", poses=tmp_path / "none.npz"))
