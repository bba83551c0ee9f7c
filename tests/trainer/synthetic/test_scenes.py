"""Scenes with the cameras of synthetic samples."""

from pathlib import Path

import numpy as np
import pytest

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.types import LIMB_JOINTS
from tests.support.scenes import store_poses
from trainer.render.scenes import CLEAR, Scene
from trainer.synthesize import SynthesizeConfig
from trainer.synthetic.scenes import CameraScenes


@pytest.fixture
def file(poses: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> Path:
    store_poses(poses, tmp_path / "poses.npz")
    return tmp_path / "poses.npz"


def drawn(scenes: CameraScenes, file: Path, body: BodyModel, seed: int, count: int) -> list[Scene]:
    draw, rng = scenes.open(file, "train", body), np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


def test_people_are_in_the_image(file: Path, body: BodyModel) -> None:
    for scene in drawn(CameraScenes(), file, body, 0, 100):
        shaped = body.shaped(scene.betas)
        joints = shaped.posed(scene.rotvec, scene.pelvis - shaped.rest_joints[0]).joints
        px = scene.to_image(joints)[list(LIMB_JOINTS)]
        assert ((px > -1) & (px < np.array(scene.size) + 1)).all(-1).sum() >= 4


def test_near_scenes_are_near(file: Path, body: BodyModel) -> None:
    everyday, near = (
        np.median([scene.pelvis[2] for scene in drawn(CameraScenes(near), file, body, 1, 150)])
        for near in (False, True)
    )
    assert near < 0.7 * everyday


def test_a_seed_decides_the_scenes(file: Path, body: BodyModel) -> None:
    first, again, other = (drawn(CameraScenes(), file, body, seed, 5) for seed in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.rotvec, b.rotvec)
        assert (a.focal, a.size, a.occluders) == (b.focal, b.size, b.occluders)
    assert first[0].focal != other[0].focal


def test_the_command_chooses_the_cameras() -> None:
    assert SynthesizeConfig().scenes() == CameraScenes()
    assert SynthesizeConfig(cameras="near").scenes() == CameraScenes(near=True)
    distant = SynthesizeConfig(cameras="distant")
    assert distant.scenes() == distant.scene


def test_scene_settings_that_would_have_no_effect_are_refused() -> None:
    with pytest.raises(PenumbraError, match="scene: has no effect on everyday cameras"):
        SynthesizeConfig(scene=CLEAR).scenes()
    assert SynthesizeConfig(scene=CLEAR, cameras="distant").scenes() == CLEAR
