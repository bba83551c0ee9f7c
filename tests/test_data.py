"""Pairs: the truth in the view, the crop that the network saw, and which landmarks lie inside the picture."""

import cv2
import numpy as np
import pytest
import torch
from random_pairs import records

from engines.body import BodyModel
from engines.types import NUM_LANDMARKS
from trainer.pairs.augment import AugmentConfig, Raw, joints_in_camera, mirror, perturb
from trainer.pairs.data import Pairs, encode

INSIDE = slice(165, 198)
"""Of the features."""


def in_crop(raw: Raw, body: BodyModel) -> np.ndarray:
    """Where the crop shows each joint: projected into the picture, then cut out by OpenCV."""
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
    px = joints[..., :2] / joints[..., 2:] * raw["focal"][:, None, None] + raw["size"][:, None] / 2
    crops = zip(px, raw["crop_from_image"].astype(float), strict=True)
    return np.stack([cv2.transform(points[None], M)[0] for points, M in crops])


def by_pairs(pairs: Pairs) -> np.ndarray:
    """The same from the pair alone."""
    homogeneous = (pairs.joints.double() @ pairs.crop_from_view.double().mT).numpy()
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.mark.parametrize("change", ["none", "mirror", "perturb", "mirror and perturb"])
def test_crop_from_view_maps_joints_to_where_the_crop_shows_them(body: BodyModel, change: str) -> None:
    raw = records(12, 5, body)
    if "mirror" in change:
        raw = mirror(raw)
    if "perturb" in change:
        raw = perturb(raw, body, AugmentConfig(), np.random.default_rng(0))
    expected = in_crop(raw, body)
    assert ((expected > 0) & (expected < 256)).all(-1).mean() > 0.9  # the crops show the people
    np.testing.assert_allclose(by_pairs(encode(raw, body)), expected, atol=0.02)


def test_mirrored_crops_show_mirror_images(body: BodyModel) -> None:
    raw = records(6, 5, body, noise_px=0.0)
    both = []
    for people in (raw, mirror(raw)):
        px = np.stack(
            [
                cv2.transform(p[None].astype(float), M.astype(float))[0]
                for p, M in zip(people["points"], people["crop_from_image"], strict=True)
            ]
        )
        both.append(px)
    flipped = mirror({**raw, "points": raw["points"] * 0 + np.arange(33, dtype=np.float32)[:, None]})["points"][0, :, 1]
    order = flipped.astype(int)
    np.testing.assert_allclose(both[1], (both[0] * [-1, 1] + [256, 0])[:, order], atol=1e-2)


def test_landmarks_outside_the_window_are_not_in_the_picture(body: BodyModel) -> None:
    raw = records(3, 5, body)
    points = raw["points"]
    assert (encode(raw, body).features[:, INSIDE] == 1).all()
    middle = np.median(points[:, :, 1], axis=1)
    raw["window"][:, 3] = middle  # the picture ends there
    told = encode(raw, body).features[:, INSIDE].numpy()
    np.testing.assert_array_equal(told > 0, points[:, :, 1] < middle[:, None])
    assert told.shape == (3, NUM_LANDMARKS) and 0.3 < (told > 0).mean() < 0.7


def test_maps_are_there_where_they_were_asked_for(body: BodyModel) -> None:
    raw = records(3, 5, body)
    assert encode(raw, body).map.shape == (3, 0)
    with_map = encode(raw, body, with_map=True)
    np.testing.assert_array_equal(with_map.map.numpy(), raw["map"])
    assert with_map.rows(torch.tensor([2])).map.shape == (1, 4, 4, 288)
    assert with_map.size == 3 and with_map.to("cpu").size == 3


def test_the_truth_in_the_view_is_the_truth(body: BodyModel) -> None:
    raw = records(8, 6, body)
    pairs = encode(raw, body)
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
    # The view only turns the camera.
    np.testing.assert_allclose(np.linalg.norm(pairs.joints, axis=-1), np.linalg.norm(joints, axis=-1), atol=1e-4)
    flat = (pairs.joints[..., :2] / pairs.joints[..., 2:]) / pairs.half[:, None, None]
    torch.testing.assert_close(pairs.target, flat, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(pairs.visible.numpy(), raw["joint_visible"])
    np.testing.assert_allclose(pairs.y[:, 1:].numpy(), raw["rotvec"][:, 1:], atol=1e-6)
