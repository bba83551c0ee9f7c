"""Augmentation: landmarks move exactly as the joints that they see, and a mirror mirrors
everything.
"""

import cv2
import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.rotations import exp_so3, geodesic_angle
from engines.types import MIRRORED_LANDMARKS, NUM_JOINTS
from tests.support.random_samples import random_records
from trainer.data.augment import (
    JOINT_OF_LANDMARK,
    AugmentConfig,
    RawRecords,
    joints_in_camera,
    mirror,
    perturb,
)
from trainer.data.samples import encode
from trainer.motion.anatomy import MIRRORED_JOINTS

MARKS = list(JOINT_OF_LANDMARK)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def seen_joints(records: RawRecords, body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Where the truth puts each landmark: image px, and metres from the middle of the hips."""
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    px = (
        joints[..., :2] / joints[..., 2:] * records["focal"][:, None, None]
        + records["size"][:, None] / 2
    )
    return px[:, MARKS], (joints - joints[:, [1, 2]].mean(1, keepdims=True))[:, MARKS]


def test_errors_of_seen_landmarks_stay_what_they_were(body: BodyModel) -> None:
    records = random_records(30, 3, body, noise_px=5.0)
    new = perturb(records, body, AugmentConfig(), rng())
    visible = records["joint_visible"][:, MARKS]
    (px, metres), (px_new, metres_new) = seen_joints(records, body), seen_joints(new, body)
    before, after = records["points"] - px, new["points"] - px_new
    np.testing.assert_allclose(after[visible], before[visible], atol=2e-3)
    before, after = records["world"] - metres, new["world"] - metres_new
    np.testing.assert_allclose(after[visible], before[visible], atol=1e-5)
    assert np.abs(px_new - px)[visible].max() > 10  # and the truth did move


def test_hidden_landmarks_stay_where_they_are(body: BodyModel) -> None:
    records = random_records(30, 3, body)
    new = perturb(records, body, AugmentConfig(), rng())
    hidden = ~records["joint_visible"][:, MARKS]
    for key in ("points", "depth", "world"):
        np.testing.assert_array_equal(new[key][hidden], records[key][hidden])
    for key in ("visibility", "presence", "peak", "pelvis", "focal", "size", "joint_visible"):
        np.testing.assert_array_equal(new[key], records[key])


def test_relative_depth_follows_in_pixels(body: BodyModel) -> None:
    records = random_records(30, 3, body)
    new = perturb(records, body, AugmentConfig(), rng())
    scale = (records["focal"] / records["pelvis"][:, 2])[:, None]
    np.testing.assert_allclose(
        new["depth"] - records["depth"],
        scale * (new["world"] - records["world"])[..., 2],
        atol=0.01,
    )


def test_turns_have_the_stated_size_and_betas_stay_standard_normal(body: BodyModel) -> None:
    records = random_records(600, 4, body)
    new = perturb(records, body, AugmentConfig(max_rad=0.2, root_rad=0.1, shape=0.4), rng())
    angle = geodesic_angle(
        exp_so3(records["rotvec"].astype(float)), exp_so3(new["rotvec"].astype(float))
    )
    rms = np.sqrt((angle**2).mean(0) / 3)  # a uniform strength u has E[u^2] = 1/3
    np.testing.assert_allclose(rms[1:], 0.2 / np.sqrt(3), rtol=0.15)
    assert rms[0] == pytest.approx(0.1 / np.sqrt(3), rel=0.15)
    assert new["betas"].std() == pytest.approx(1.0, abs=0.04)
    correlation = np.corrcoef(records["betas"].ravel(), new["betas"].ravel())[0, 1]
    assert correlation == pytest.approx(np.sqrt(1 - 0.4**2), abs=0.02)


def test_no_perturbation_changes_nothing(body: BodyModel) -> None:
    records = random_records(5, 2, body)
    same = perturb(records, body, AugmentConfig(0.0, 0.0, 0.0), rng())
    for key, value in records.items():
        np.testing.assert_allclose(
            same[key], value, atol=1e-3 if key == "points" else 1e-5, err_msg=key
        )


def test_somebody_too_close_to_the_camera_stays_as_he_was(body: BodyModel) -> None:
    records = random_records(4, 2, body)
    records["pelvis"][1] = 0.0, 0.0, 0.4  # an arm or the head is behind the camera
    new = perturb(records, body, AugmentConfig(), rng())
    for key in ("points", "depth", "world", "rotvec", "betas"):
        np.testing.assert_array_equal(new[key][1], records[key][1])
        assert not np.array_equal(new[key][0], records[key][0])
        assert np.isfinite(new[key]).all()


def test_a_mirror_twice_is_nothing(body: BodyModel) -> None:
    records = random_records(5, 2, body)
    records["window"] = np.tile(np.array([300, 100, 700, 500], np.float32), (5, 1))
    twice = mirror(mirror(records))
    assert twice.keys() == records.keys()
    for key in twice:
        value = records[key]
        np.testing.assert_allclose(
            twice[key],
            value,
            atol=1e-3 if key in ("points", "crop_from_image") else 1e-6,
            err_msg=key,
        )


def test_the_mirror_image_has_mirrored_truth(body: BodyModel) -> None:
    records = random_records(5, 2, body)
    here, there = encode(records, body), encode(mirror(records), body)
    joints, flip = list(MIRRORED_JOINTS), torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(
        there.joints, here.joints[:, joints] * flip, atol=0.01, rtol=0
    )  # bodies are uneven
    torch.testing.assert_close(there.target, here.target[:, joints] * flip[:2], atol=0.02, rtol=0)
    torch.testing.assert_close(there.half_size, here.half_size)
    torch.testing.assert_close(there.camera, here.camera * flip, atol=1e-5, rtol=0)
    torch.testing.assert_close(there.visible, here.visible[:, joints])
    M = torch.diag(flip)
    torch.testing.assert_close(there.R_anchor, M @ here.R_anchor @ M, atol=1e-5, rtol=0)
    points, mirrored = (batch.features[:, :66].unflatten(1, (33, 2)) for batch in (here, there))
    torch.testing.assert_close(
        mirrored, points[:, list(MIRRORED_LANDMARKS)] * flip[:2], atol=1e-5, rtol=0
    )


def test_window_and_crop_are_mirrored_with_the_picture(body: BodyModel) -> None:
    records = random_records(5, 2, body)
    records["window"][:] = 300, 100, 700, 500
    there = mirror(records)
    np.testing.assert_array_equal(there["window"], np.tile([580, 100, 980, 500], (5, 1)))
    # A point and its mirror image fall on places of the crop that are mirror images too.
    point = np.array([[[410.0, 222.0], [1200.0, 700.0]]])
    mirrored = point * [-1, 1] + [1280, 0]
    for here, flipped in zip(records["crop_from_image"], there["crop_from_image"], strict=True):
        expected = cv2.transform(point, here.astype(float)) * [-1, 1] + [256, 0]
        np.testing.assert_allclose(
            cv2.transform(mirrored, flipped.astype(float)), expected, atol=1e-3
        )


def test_mirrored_places_are_permutations_that_undo_themselves() -> None:
    for places, count in ((MIRRORED_LANDMARKS, 33), (MIRRORED_JOINTS, NUM_JOINTS)):
        assert [places[i] for i in places] == list(range(count))
    assert [MIRRORED_JOINTS[JOINT_OF_LANDMARK[i]] for i in MIRRORED_LANDMARKS] == list(
        JOINT_OF_LANDMARK
    )
