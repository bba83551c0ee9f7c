"""Limbs and hips of the default body's people."""

import numpy as np
import pytest

from engines.body import BodyModel
from engines.types import JOINT_NAMES
from trainer.body.proportions import (
    ARM_LENGTH,
    ARM_SPREAD,
    LEG_SPREAD,
    SEGMENT_SPREAD,
    anatomical_hips,
    with_limb_lengths,
)

COUNT = 2000
ARM = ("left_shoulder", "left_elbow", "left_wrist")
LEG = ("left_hip", "left_knee", "left_ankle")


def joint(name: str) -> int:
    return JOINT_NAMES.index(name)


def lengths(joints: np.ndarray, chain: tuple[str, ...]) -> np.ndarray:
    """Lengths of a limb's two bones: (N, 2)."""
    points = joints[:, [joint(name) for name in chain]]
    return np.linalg.norm(np.diff(points, axis=1), axis=-1)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def joints(body: BodyModel) -> np.ndarray:
    """Joints of many people who started as the same one."""
    alike = np.repeat(body.J_template[None].astype(np.float64), COUNT, axis=0)
    none = np.zeros((COUNT, 0, 3))
    return with_limb_lengths(none, alike, np.zeros((0, 24)), np.random.default_rng(1))[1]


@pytest.mark.parametrize(
    ("chain", "mean", "spread"), [(ARM, ARM_LENGTH, ARM_SPREAD), (LEG, 1.0, LEG_SPREAD)]
)
def test_limbs_vary_as_stated(
    body: BodyModel, joints: np.ndarray, chain: tuple[str, ...], mean: float, spread: float
) -> None:
    log = np.log(lengths(joints, chain) / lengths(body.J_template[None], chain))
    assert log.mean(0) == pytest.approx(np.log(mean), abs=0.004)
    assert log.std(0) == pytest.approx(np.hypot(spread, SEGMENT_SPREAD), rel=0.06)
    assert log.mean(1).std() == pytest.approx(spread, rel=0.06)


def test_left_and_right_are_alike_and_the_rest_stays(body: BodyModel, joints: np.ndarray) -> None:
    for chain in (ARM, LEG):
        right = tuple(name.replace("left", "right") for name in chain)
        ratio = lengths(joints, chain) / lengths(joints, right)
        template = lengths(body.J_template[None], chain) / lengths(body.J_template[None], right)
        assert ratio == pytest.approx(np.broadcast_to(template, ratio.shape), rel=1e-6)
    trunk = [joint(name) for name in ("neck", "head", "left_shoulder", "left_hip", "right_hip")]
    np.testing.assert_allclose(
        joints[:, trunk], body.J_template[None, trunk] + 0 * joints[:, trunk]
    )
    hand = joints[:, joint("left_hand")] - joints[:, joint("left_wrist")]
    known = body.J_template[joint("left_hand")] - body.J_template[joint("left_wrist")]
    np.testing.assert_allclose(hand, np.broadcast_to(known, hand.shape), atol=1e-6)


def test_the_skin_goes_with_the_bones(body: BodyModel) -> None:
    mesh = body.full
    vertices = mesh.v_template[None].astype(np.float64)
    joints = body.J_template[None].astype(np.float64)
    moved, at = with_limb_lengths(vertices, joints, mesh.weights, np.random.default_rng(2))
    hand = mesh.weights[:, [joint("left_wrist"), joint("left_hand")]].sum(1) >= 1.0
    trunk = mesh.weights[:, [0, 3, 6, 9, 12, 15]].sum(1) >= 1.0
    shift = at[0, joint("left_wrist")] - joints[0, joint("left_wrist")]
    assert hand.sum() > 100
    assert trunk.sum() > 100
    assert np.linalg.norm(shift) > 0.01
    np.testing.assert_allclose(
        (moved - vertices)[0, hand], np.broadcast_to(shift, (hand.sum(), 3)), atol=1e-5
    )
    np.testing.assert_allclose(moved[0, trunk], vertices[0, trunk], atol=1e-5)


def test_hips_are_as_far_apart_as_published(body: BodyModel) -> None:
    """Hara et al., 2016: half the distance is 8 mm + 0.086 leg length."""
    wide = body.J_template[None].astype(np.float64).copy()
    wide[:, joint("left_hip"), 0], wide[:, joint("right_hip"), 0] = 0.112, -0.112
    moved = anatomical_hips(wide)
    bones = lengths(wide, LEG)[0].sum()
    leg = (bones + 0.009) / (1 - 0.078)
    apart = np.linalg.norm(moved[0, joint("left_hip")] - moved[0, joint("right_hip")])
    assert apart / 2 == pytest.approx(0.008 + 0.086 * leg, rel=1e-6)
