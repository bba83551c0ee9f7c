"""Motion experiments on a made-up motion of which everything is known."""

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.fitting.sequences.observations import Shape
from engines.flow.sampler import skeleton_of
from engines.priors.load import load_prior
from engines.priors.motion.layout import BODY
from engines.rotations import exp_so3
from engines.types import JOINT_NAMES
from trainer.experiments.motion import (
    COMPLETION,
    DENOISING,
    MEASURED,
    MotionConfig,
    MotionExperiment,
    windows_of,
)
from trainer.experiments.table import motion_table
from trainer.priors.humor_data import MotionData, sole_heights
from trainer.priors.humor_state import Frames

FRAMES = 12
SMALL = MotionConfig(
    frames=(FRAMES,), windows=1, validation_windows=1, weights=(0.1, 1.0), iterations=4
)


@pytest.fixture(scope="module")
def swinging(body: BodyModel) -> MotionData:
    """Somebody who swings arms and legs, in one clip without a gap."""
    count = 2 * FRAMES
    phase = np.sin(np.linspace(0.0, 3.0, count))
    rotvec = np.zeros((count, BODY, 3))
    for name, axis, size in (("left_hip", 0, 0.5), ("right_hip", 0, -0.5), ("left_shoulder", 2, 1)):
        rotvec[:, JOINT_NAMES.index(name), axis] = size * phase
    rotvec[:, 0, 0] = np.pi / 2  # upright where z is up
    pelvis = np.stack([0.02 * np.arange(count), 0 * phase, 0 * phase + 0.95], -1)
    frames = Frames(torch.from_numpy(exp_so3(rotvec)), torch.from_numpy(pelvis))
    joined = np.ones(count, bool)
    joined[0] = False
    rest = torch.from_numpy(body.rest_joints(np.zeros(10))[:BODY].astype(np.float32))
    nothing = torch.zeros(count, 4, dtype=torch.bool)
    return MotionData(frames, nothing, joined, np.zeros(count, int), rest)


@pytest.fixture(scope="module")
def experiment(body: BodyModel) -> MotionExperiment:
    shape = Shape(skeleton_of(body), np.zeros(10))
    return MotionExperiment(SMALL, shape, sole_heights(body), {"gmm": load_prior("gmm")}, None)


def test_windows_have_no_gap(swinging: MotionData) -> None:
    windows = windows_of(swinging, FRAMES, 5, 0)
    assert len(windows) == 5
    for window in windows:
        np.testing.assert_allclose(np.diff(window.pelvis[:, 0]), 0.02)


def test_exact_joints_are_met_and_noise_is_reduced(
    experiment: MotionExperiment, swinging: MotionData
) -> None:
    clean, noisy = DENOISING[0], DENOISING[2]
    weights = {"gmm": 0.1}
    exact = experiment.errors(swinging, clean, FRAMES, weights)
    found = experiment.errors(swinging, noisy, FRAMES, weights)
    assert max(exact.values()) < 1.0
    measured = 100 * noisy.noise_m * np.sqrt(8 / np.pi)  # the mean length of the noise, cm
    assert max(found.values()) < 0.6 * measured


def test_what_is_not_known_counts_alone(
    experiment: MotionExperiment, swinging: MotionData, body: BodyModel
) -> None:
    leg = COMPLETION[0]
    assert not (leg.visible & leg.counts).any() and (leg.visible | leg.counts)[MEASURED].all()
    weights = experiment.choose_weights(swinging, leg)
    assert weights["gmm"] in SMALL.weights
    errors = experiment.errors(swinging, leg, FRAMES, weights)
    assert set(errors) == {"smoothness alone", "gmm"} and min(errors.values()) > 0.5


def test_the_table_has_a_row_for_each_method() -> None:
    errors = {"clean": {60: {"gmm": 1.0, "humor": 2.345}, 120: {"gmm": 3.0, "humor": 4.0}}}
    assert motion_table(errors).splitlines() == [
        "| 60 / 120 frames | clean |",
        "| --- | --- |",
        "| GMM | 1.00 / 3.00 |",
        "| HuMoR | 2.35 / 4.00 |",
    ]
