"""The shipped gravity network: its bounds, its symmetry, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel, joints_only
from engines.errors import PenumbraError
from engines.gravity.direction import Direction
from engines.gravity.features import NUM_FEATURES
from engines.gravity.network import GravityNetwork
from engines.rotations import exp_so3
from tests.support.paths import ROOT

FACING = np.diag([1.0, -1.0, -1.0])
"""A person who faces an upright camera."""
RECORD = ROOT / "engines" / "assets" / "gravity.json"


@pytest.fixture(scope="module")
def network() -> GravityNetwork:
    return GravityNetwork.load()


def standing(network: GravityNetwork, body: BodyModel, R: np.ndarray) -> Direction:
    """What a person tells who stands before a camera that is turned by R."""
    rotvec = np.zeros((24, 3))
    rotvec[[16, 17], 2] = -1.2, 1.2  # arms down
    joints = joints_only(body, rotvec, np.zeros(10), np.zeros(3)).astype(float)
    joints = (joints - joints[0]) @ FACING + (0, 0, 3.5)
    cov = np.broadcast_to(0.04**2 * np.eye(3), (24, 3, 3))
    return network.direction(R @ FACING, joints @ R.T, R @ cov @ R.T, np.full(24, 0.95))


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def test_a_standing_person_tells_where_up_is(network: GravityNetwork, body: BodyModel) -> None:
    found = standing(network, body, np.eye(3))
    assert angle_deg(found.vector, np.array([0.0, -1, 0])) < 5
    assert 4 < np.degrees(found.std) < 15
    np.testing.assert_allclose(found.cov @ found.vector, 0, atol=1e-9)


@pytest.mark.parametrize("roll_deg", [20, 90, 180, -90])
def test_a_rolled_camera_changes_little(
    network: GravityNetwork, body: BodyModel, roll_deg: float
) -> None:
    R = exp_so3(np.array([0, 0, np.radians(roll_deg)]))
    found = standing(network, body, R)
    assert angle_deg(found.vector, R @ np.array([0.0, -1, 0])) < 8


def test_the_covariance_is_one(network: GravityNetwork) -> None:
    rng = np.random.default_rng(0)
    vector, cov = network.predict(3 * rng.normal(size=(500, NUM_FEATURES)))
    np.testing.assert_allclose(np.linalg.norm(vector, axis=-1), 1)
    assert (np.linalg.eigvalsh(cov)[:, 1] > 0).all()
    assert np.isfinite(cov).all()


def test_the_record_states_errors_that_calibration_holds() -> None:
    """Of the test subjects, whom neither weights nor scale were chosen on."""
    record = json.loads(RECORD.read_text())
    test = record["metrics"]["test"]
    assert test["samples"] >= 3000
    assert test["error_deg"]["median"] < 12
    assert test["error_deg"]["median"] < 0.9 * test["upright_pelvis_error_deg"]["median"]
    assert 0.84 < test["coverage"]["0.9"] < 0.95
    surest, *_, least_sure = test["by_predicted_sigma"]
    assert surest["median_deg"] < 8.5
    assert least_sure["rms_deg"] > 2 * surest["rms_deg"]
    assert 0.75 < surest["rms_deg"] / surest["predicted_deg"] < 1.3


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with np.load(ROOT / "engines" / "assets" / "gravity.npz") as shipped:
        arrays = dict(shipped)
    wrong: list[dict[str, np.ndarray]] = [
        {},
        {name: array for name, array in arrays.items() if name != "bias_1"},
        arrays | {"weight_0": arrays["weight_0"][:, 1:]},
        arrays | {"mean": arrays["mean"] * np.nan},
        arrays | {"std": -arrays["std"]},
        arrays | {"scale": np.zeros(())},
    ]
    for i, one in enumerate(wrong):
        path = tmp_path / f"{i}.npz"
        np.savez(path, **one)
        with pytest.raises(PenumbraError, match="is no gravity network"):
            GravityNetwork.load(path)
    with pytest.raises(PenumbraError, match="is no gravity network"):
        GravityNetwork.load(tmp_path / "missing.npz")
