"""Whole fits with the shipped motion prior, on motion made here: denoising, completion, video."""

from itertools import pairwise

import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.fitting.bodies import pose, take
from engines.fitting.observation import JOINTS
from engines.fitting.sequences.denoise import (
    DenoiseConfig,
    JointMeasurements,
    RotationMeasurements,
    denoise,
    split_windows,
)
from engines.fitting.sequences.floor import FEET
from engines.fitting.sequences.observations import Shape
from engines.fitting.sequences.sequence import BodySequence
from engines.fitting.sequences.video import UPRIGHT, VideoConfig, fit_video
from engines.kernels import Skeleton
from engines.priors.motion.prior import MotionPrior
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES

FRAMES = 24
FEW = DenoiseConfig(iterations=6)


@pytest.fixture(scope="module")
def prior() -> MotionPrior:
    return MotionPrior.load()


@pytest.fixture(scope="module")
def skeleton(body: BodyModel) -> Skeleton:
    return Skeleton(body.J_template, body.J_shapedirs)


@pytest.fixture(scope="module")
def soles(body: BodyModel) -> np.ndarray:
    return body.J_template[list(FEET), 1] - body.full.v_template[:, 1].min().astype(np.float64)


@pytest.fixture(scope="module")
def swinging(soles: np.ndarray, body: BodyModel) -> BodySequence:
    """Somebody who stands and swings both arms, bending the elbows."""
    t = np.arange(FRAMES) / 30.0
    rotvec = np.zeros((FRAMES, 24, 3))
    rotvec[:, 0, 0] = np.pi / 2  # y up to z up
    swing = 0.5 * np.sin(2 * np.pi * 0.7 * t)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotvec[:, JOINT_NAMES.index(f"{side}_shoulder"), 2] = -1.1 * sign + 0.2 * swing
        rotvec[:, JOINT_NAMES.index(f"{side}_shoulder"), 1] = sign * swing
        rotvec[:, JOINT_NAMES.index(f"{side}_elbow"), 1] = -sign * (0.6 + swing)
    pelvis = np.zeros((FRAMES, 3))
    pelvis[:, 2] = soles[0] - body.J_template[FEET[0], 1]
    return BodySequence(exp_so3(rotvec), pelvis, np.zeros(0))


def error_mm(shape: Shape, found: BodySequence, target: BodySequence) -> float:
    off = shape.joints(found) - shape.joints(target)
    return 1000 * float(np.linalg.norm(off, axis=-1)[:, :22].mean())


def test_noisy_joints_are_denoised(
    prior: MotionPrior, skeleton: Skeleton, soles: np.ndarray, swinging: BodySequence
) -> None:
    shape = Shape(skeleton, np.zeros(10))
    noise = 0.04 * np.random.default_rng(0).standard_normal((FRAMES, 24, 3))
    measured = JointMeasurements(shape.joints(swinging) + noise, np.ones((FRAMES, 24), bool), 0.04)
    found = denoise(prior, shape, measured, soles, FEW)
    assert error_mm(shape, found, swinging) < 0.4 * 1000 * np.linalg.norm(noise, axis=-1).mean()


def test_noisy_rotations_are_denoised(
    prior: MotionPrior, skeleton: Skeleton, soles: np.ndarray, swinging: BodySequence
) -> None:
    shape = Shape(skeleton, np.zeros(10))
    rng = np.random.default_rng(1)
    R = swinging.R @ exp_so3(0.15 * rng.standard_normal((FRAMES, 24, 3)))
    pelvis = swinging.pelvis + 0.02 * rng.standard_normal((FRAMES, 3))
    visible = np.ones((FRAMES, 24), bool)
    measured = RotationMeasurements(R, pelvis, visible, 0.15, 0.02)
    found = denoise(prior, shape, measured, soles, FEW)
    before = error_mm(shape, BodySequence(R, pelvis, swinging.shared), swinging)
    assert error_mm(shape, found, swinging) < 0.4 * before


def test_an_occluded_arm_is_completed(
    prior: MotionPrior, skeleton: Skeleton, soles: np.ndarray, swinging: BodySequence
) -> None:
    shape = Shape(skeleton, np.zeros(10))
    joints = shape.joints(swinging)
    visible = np.ones((FRAMES, 24), bool)
    hidden = [JOINT_NAMES.index(f"left_{part}") for part in ("elbow", "wrist", "hand")]
    visible[2:9, hidden] = False  # while the arm moves by 9 cm
    measured = JointMeasurements(np.where(visible[..., None], joints, np.nan), visible, 0.01)
    found = denoise(prior, shape, measured, soles, FEW)
    off = np.linalg.norm(shape.joints(found) - joints, axis=-1)
    still = np.linalg.norm(joints[2:9] - joints[1], axis=-1)
    assert off[2:9, hidden[:2]].mean() < 0.3 * still[:, hidden[:2]].mean()


def test_measurements_that_cannot_be_fitted_are_refused(
    prior: MotionPrior, skeleton: Skeleton, soles: np.ndarray, swinging: BodySequence
) -> None:
    shape, visible = Shape(skeleton, np.zeros(10)), np.ones((FRAMES, 24), bool)
    joints, R = shape.joints(swinging), swinging.R.copy()
    joints[3, 4] = R[3, 4] = np.nan
    hidden = visible.copy()
    hidden[3, 4] = False
    JointMeasurements(joints, hidden, 0.03)
    for said, make in (
        ("joints", lambda: JointMeasurements(joints, visible, 0.03)),
        ("sigma", lambda: JointMeasurements(joints, hidden, 0.0)),
        ("R", lambda: RotationMeasurements(R, swinging.pelvis, visible, 0.1, 0.02)),
        ("pelvis", lambda: RotationMeasurements(R, joints[:, 4], hidden, 0.1, 0.02)),
        ("pelvis_sigma", lambda: RotationMeasurements(R, swinging.pelvis, hidden, 0.1, np.nan)),
    ):
        with pytest.raises(PenumbraError, match=f"^{said}: "):
            make()
    two = JointMeasurements(joints[:2], visible[:2], 0.03)
    with pytest.raises(PenumbraError, match="at least 3"):
        denoise(prior, shape, two, soles)


def test_a_video_is_fitted(
    prior: MotionPrior, skeleton: Skeleton, soles: np.ndarray, swinging: BodySequence
) -> None:
    rng = np.random.default_rng(2)
    R = swinging.R.copy()
    R[:, 0] = UPRIGHT.T @ R[:, 0]
    pelvis = (swinging.pelvis - np.array([0.0, -3.5, 1.2])) @ UPRIGHT
    betas = np.zeros((FRAMES, 10))
    target = pose(skeleton, R, betas, pelvis)
    rays = target.joints[:, JOINTS, :2] / target.joints[:, JOINTS, 2:]
    sigma = np.full((FRAMES, 12), 0.006)
    rays = rays + 0.006 * rng.standard_normal(rays.shape)
    sigma[5:10, 3], rays[5:10, 3] = np.inf, np.nan
    wrong = R @ exp_so3(0.15 * rng.standard_normal((FRAMES, 24, 3)))
    start = pose(skeleton, wrong, betas, pelvis + 0.05 * rng.standard_normal((FRAMES, 3)))
    turn_sigma = np.full((FRAMES, 24), 0.15)
    found = fit_video(
        prior, skeleton, start, rays, sigma, turn_sigma, soles, config=VideoConfig(iterations=8)
    )
    assert found.cost < 0.1 * found.cost_before

    def error(joints: np.ndarray) -> float:
        off = joints - joints[:, :1] - target.joints + target.joints[:, :1]
        return float(np.linalg.norm(off, axis=-1)[:, :22].mean())

    assert error(found.bodies.joints) < 0.5 * error(start.joints)
    assert found.T_world_cam[2, 3] == pytest.approx(1.2, abs=0.3)
    world = found.bodies.joints @ found.T_world_cam[:3, :3].T + found.T_world_cam[:3, 3]
    heights = world[:, list(FEET), 2] - soles
    assert np.abs(heights).max() < 0.06  # both feet stand on the floor

    unknown = np.where(np.arange(12) == 4, np.nan, rays.swapaxes(1, 2)).swapaxes(1, 2)
    for said, arguments in (
        ("start", (take(start, slice(2)), rays[:2], sigma[:2], turn_sigma[:2])),
        ("rays", (start, unknown, sigma, turn_sigma)),
        ("sigma", (start, rays, 0.0 * sigma, turn_sigma)),
        ("turn_sigma", (start, rays, sigma, np.nan * turn_sigma)),
    ):
        with pytest.raises(PenumbraError, match=f"^{said}: "):
            fit_video(prior, skeleton, *arguments, soles)


def test_windows_cover_a_long_motion() -> None:
    assert split_windows(50, 60, 10) == [slice(0, 50)]
    windows = split_windows(150, 60, 10)
    assert windows[0].start == 0 and windows[-1].stop == 150
    for one, following in pairwise(windows):
        assert following.start <= one.stop - 10 and one.stop - one.start == 60
