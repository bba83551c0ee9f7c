"""Exact landmarks: projections where a joint is visible, no trace of it where it is not."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.types import JOINT_NAMES
from tests.support.random_samples import random_records
from trainer.data.augment import JOINT_OF_LANDMARK, RawRecords, joints_in_camera
from trainer.data.exact import exact
from trainer.data.samples import encode

MARKS = list(JOINT_OF_LANDMARK)
LEFT_ARM = [JOINT_NAMES.index(name) for name in ("left_elbow", "left_wrist", "left_hand")]
RIGHT_LEG = [JOINT_NAMES.index(name) for name in ("right_knee", "right_ankle", "right_foot")]


@pytest.fixture
def raw(body: BodyModel) -> RawRecords:
    """People whose left arm and right leg are occluded, and other joints at random."""
    people = random_records(10, 3, body)
    people["joint_visible"][:, LEFT_ARM + RIGHT_LEG] = False
    return people


def test_visible_landmarks_are_exact_projections(raw: RawRecords, body: BodyModel) -> None:
    made = exact(raw, body)
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
    px = joints[..., :2] / joints[..., 2:] * raw["focal"][:, None, None] + raw["size"][:, None] / 2
    seen = raw["joint_visible"][:, MARKS]
    np.testing.assert_allclose(made["points"][seen], px[:, MARKS][seen], atol=1e-3)
    np.testing.assert_array_equal(made["visibility"], seen)
    np.testing.assert_array_equal(made["presence"], seen)
    assert not made["depth"].any() and not made["world"].any()
    for key in ("rotvec", "betas", "pelvis", "joint_visible", "window", "size", "focal"):
        np.testing.assert_array_equal(made[key], raw[key])


def test_occluded_joints_leave_no_trace(raw: RawRecords, body: BodyModel) -> None:
    rng = np.random.default_rng(0)
    other = raw | {"rotvec": raw["rotvec"].copy()}
    for joint in (
        16,
        18,
        2,
        5,
    ):  # what turns at a shoulder, elbow, hip or knee is hidden altogether
        other["rotvec"][:, joint] += rng.normal(0, 1.0, (10, 3)).astype(np.float32)
    seen_by_network = (
        "points",
        "depth",
        "world",
        "visibility",
        "presence",
        "crop_from_image",
    )
    other |= {key: rng.permuted(raw[key]) for key in seen_by_network}
    here, there = encode(exact(raw, body), body), encode(exact(other, body), body)
    apart = (here.joints - there.joints).norm(dim=-1)
    assert apart[:, LEFT_ARM].mean(0).min() > 0.1 and apart[:, RIGHT_LEG].mean(0).min() > 0.1
    torch.testing.assert_close(there.features, here.features, atol=1e-4, rtol=0)
    torch.testing.assert_close(there.R_anchor, here.R_anchor, atol=0, rtol=0)
    torch.testing.assert_close(there.half_size, here.half_size)


def test_visible_joints_are_features(raw: RawRecords, body: BodyModel) -> None:
    other = raw | {"rotvec": raw["rotvec"].copy()}
    raw["joint_visible"][:, 19] = True  # right elbow
    other["rotvec"][:, 17] += np.float32(0.5)
    here, there = encode(exact(raw, body), body), encode(exact(other, body), body)
    assert ((here.features - there.features).abs().amax(1) > 1e-2).all()


def test_masked_landmarks_are_a_body_upright_about_the_visible_ones(
    raw: RawRecords, body: BodyModel
) -> None:
    """Masked landmarks of a mean body in the T-pose, straight ahead, are all guessed right."""
    raw |= {"rotvec": np.zeros_like(raw["rotvec"]), "betas": np.zeros_like(raw["betas"])}
    raw["rotvec"][:, 0, 0] = np.pi  # the camera's y points down
    raw["pelvis"] = np.tile(
        np.float32([0.3, 0.1, 40.0]), (10, 1)
    )  # far away there is no perspective
    raw["joint_visible"][:, [16, 18]] = True  # the left upper arm at least
    whole = exact(raw | {"joint_visible": np.ones_like(raw["joint_visible"])}, body)
    made = exact(raw, body)
    height = np.ptp(whole["points"][..., 1], axis=1)
    away = np.linalg.norm(made["points"] - whole["points"], axis=-1).max(1)
    assert (~raw["joint_visible"]).sum() > 50 and (away < 0.05 * height).all()


def test_a_single_visible_joint_is_enough(raw: RawRecords, body: BodyModel) -> None:
    raw["joint_visible"][:] = False
    raw["joint_visible"][:5, 21] = True  # a lonely wrist
    made = exact(raw, body)
    np.testing.assert_allclose(np.ptp(made["points"][:, 11:, 1], axis=1), 0.3 * 1280, rtol=0.25)
    assert (
        made["points"][5:, 0, 1] < made["points"][5:, 27, 1]
    ).all()  # the head is above the feet
    batch = encode(made, body)
    assert torch.isfinite(batch.features).all() and (batch.half_size > 0.01).all()
