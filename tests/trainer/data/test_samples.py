"""Batch: the truth in the view, the crop that the network saw, and which landmarks lie inside the
picture.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_LANDMARKS, NUM_LANDMARKS
from tests.support.random_samples import random_records
from trainer.data import samples as data
from trainer.data.augment import AugmentConfig, RawRecords, joints_in_camera, mirror, perturb
from trainer.data.samples import Batch, encode

INSIDE = slice(165, 198)
"""Tolerance of the features."""


def in_crop(records: RawRecords, body: BodyModel) -> np.ndarray:
    """Where the crop shows each joint: projected into the picture, then cut out by OpenCV."""
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    px = (
        joints[..., :2] / joints[..., 2:] * records["focal"][:, None, None]
        + records["size"][:, None] / 2
    )
    crops = zip(px, records["crop_from_image"].astype(float), strict=True)
    return np.stack([cv2.transform(points[None], M)[0] for points, M in crops])


def crop_px(batch: Batch) -> np.ndarray:
    """The same from the pair alone."""
    homogeneous = (batch.joints.double() @ batch.crop_from_view.double().mT).numpy()
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.mark.parametrize("change", ["none", "mirror", "perturb", "mirror and perturb"])
def test_crop_from_view_maps_joints_to_where_the_crop_shows_them(
    body: BodyModel, change: str
) -> None:
    records = random_records(12, 5, body)
    if "mirror" in change:
        records = mirror(records)
    if "perturb" in change:
        records = perturb(records, body, AugmentConfig(), np.random.default_rng(0))
    expected = in_crop(records, body)
    assert ((expected > 0) & (expected < 256)).all(-1).mean() > 0.9  # the crops show the people
    np.testing.assert_allclose(crop_px(encode(records, body)), expected, atol=0.02)


def test_mirrored_crops_show_mirror_images(body: BodyModel) -> None:
    records = random_records(6, 5, body, noise_px=0.0)
    both = []
    for people in (records, mirror(records)):
        px = np.stack(
            [
                cv2.transform(p[None].astype(float), M.astype(float))[0]
                for p, M in zip(people["points"], people["crop_from_image"], strict=True)
            ]
        )
        both.append(px)
    flipped = mirror(
        {**records, "points": records["points"] * 0 + np.arange(33, dtype=np.float32)[:, None]}
    )["points"][0, :, 1]
    order = flipped.astype(int)
    np.testing.assert_allclose(both[1], (both[0] * [-1, 1] + [256, 0])[:, order], atol=1e-2)


def test_landmarks_outside_the_window_are_not_in_the_picture(body: BodyModel) -> None:
    records = random_records(3, 5, body)
    points = records["points"]
    assert (encode(records, body).features[:, INSIDE] == 1).all()
    middle = np.median(points[:, :, 1], axis=1)
    records["window"][:, 3] = middle  # the picture ends there
    told = encode(records, body).features[:, INSIDE].numpy()
    np.testing.assert_array_equal(told > 0, points[:, :, 1] < middle[:, None])
    assert told.shape == (3, NUM_LANDMARKS) and 0.3 < (told > 0).mean() < 0.7


def test_the_truth_in_the_view_is_the_truth(body: BodyModel) -> None:
    records = random_records(8, 6, body)
    batch = encode(records, body)
    joints = joints_in_camera(records["rotvec"], records["betas"], records["pelvis"], body)
    # The view only turns the camera.
    np.testing.assert_allclose(
        np.linalg.norm(batch.joints, axis=-1), np.linalg.norm(joints, axis=-1), atol=1e-4
    )
    flat = (batch.joints[..., :2] / batch.joints[..., 2:]) / batch.half_size[:, None, None]
    torch.testing.assert_close(batch.target, flat, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(batch.visible.numpy(), records["joint_visible"])
    np.testing.assert_allclose(batch.rotvec[:, 1:].numpy(), records["rotvec"][:, 1:], atol=1e-6)


def test_pairs_of_another_body_are_refused(body: BodyModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "00000.npz", body=np.array(body.name), **random_records(2, 0, body))
    records = data.read(tmp_path, body)
    assert "body" not in records and len(records["focal"]) == 2
    np.savez(tmp_path / "00001.npz", body=np.array("SMPL neutral"), **random_records(2, 1, body))
    with pytest.raises(
        PenumbraError, match=r"00001\.npz: was made with the body SMPL neutral.* the right body"
    ):
        data.read(tmp_path, body)


def test_shards_are_joined_and_no_pairs_are_refused(body: BodyModel, tmp_path: Path) -> None:
    with pytest.raises(
        PenumbraError, match=r"holds no training samples; run python -m trainer\.synthesize"
    ):
        data.encode(data.read(tmp_path, body), body)
    for i in range(3):
        np.savez(tmp_path / f"{i:05d}.npz", **random_records(4, i, body))
    assert data.encode(data.read(tmp_path, body, shards=2), body).size == 8
    everything = data.encode(data.read(tmp_path, body), body)
    assert everything.size == 12
    last = everything.rows(torch.arange(8, 12))
    for name, value in data.encode(random_records(4, 2, body), body)._asdict().items():
        torch.testing.assert_close(getattr(last, name), value, msg=name)


def test_a_damaged_shard_is_named(body: BodyModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "00000.npz", **random_records(2, 0, body))
    (tmp_path / "00001.npz").write_bytes((tmp_path / "00000.npz").read_bytes()[:1000])
    with pytest.raises(PenumbraError, match=r"00001\.npz: is no shard of samples .*; delete it"):
        data.read(tmp_path, body)
    np.savez(tmp_path / "00001.npz", rotvec=np.zeros((5, 24, 3)))  # the poses, by mistake
    with pytest.raises(PenumbraError, match=r"00001\.npz: is no shard .*it has no visibility"):
        data.read(tmp_path, body)


def test_the_truth_lies_where_the_joints_are_seen(body: BodyModel) -> None:
    records = random_records(5, 4, body, noise_px=0.0)
    batch = data.encode(records, body)
    seen = batch.features[:, :66].unflatten(1, (33, 2))[:, list(LIMB_LANDMARKS)]
    torch.testing.assert_close(
        batch.target[:, list(LIMB_LANDMARKS.values())], seen, atol=1e-4, rtol=0
    )
    # The anchor is the torso: what remains of the orientation is small for somebody who stands
    # straight.
    assert batch.rotvec[:, 0].norm(dim=-1).max() < 1.3
