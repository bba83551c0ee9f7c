"""Ambiguous CMU: exact landmarks where a joint is seen, and no trace of it where it is not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from random_pairs import records

from engines.body import BodyModel
from engines.types import JOINT_NAMES
from trainer import ambiguous
from trainer.ambiguous import AMBIGUOUS, CLEAR, AmbiguousConfig
from trainer.augment import JOINT_OF_LANDMARK, Raw, joints_in_camera
from trainer.data import encode
from trainer.exact import exact
from trainer.scenes import CROPS
from trainer.synthesize import SynthesizeConfig

MARKS = list(JOINT_OF_LANDMARK)
LEFT_ARM = [JOINT_NAMES.index(name) for name in ("left_elbow", "left_wrist", "left_hand")]
RIGHT_LEG = [JOINT_NAMES.index(name) for name in ("right_knee", "right_ankle", "right_foot")]


@pytest.fixture
def raw(body: BodyModel) -> Raw:
    """People whose left arm and right leg are hidden, and whatever else chance hides."""
    people = records(10, 3, body)
    people["joint_visible"][:, LEFT_ARM + RIGHT_LEG] = False
    return people


def test_seen_landmarks_are_exact_projections(raw: Raw, body: BodyModel) -> None:
    made = exact(raw, body)
    joints = joints_in_camera(raw["rotvec"], raw["betas"], raw["pelvis"], body)
    px = joints[..., :2] / joints[..., 2:] * raw["focal"][:, None, None] + raw["size"][:, None] / 2
    seen = raw["joint_visible"][:, MARKS]
    np.testing.assert_allclose(made["points"][seen], px[:, MARKS][seen], atol=1e-3)
    np.testing.assert_array_equal(made["visibility"], seen)
    np.testing.assert_array_equal(made["presence"], seen)
    assert not made["depth"].any() and not made["world"].any() and "map" not in made
    for key in ("rotvec", "betas", "pelvis", "joint_visible", "window", "size", "focal"):
        np.testing.assert_array_equal(made[key], raw[key])


def test_hidden_joints_leave_no_trace(raw: Raw, body: BodyModel) -> None:
    rng = np.random.default_rng(0)
    other = raw | {"rotvec": raw["rotvec"].copy()}
    for joint in (16, 18, 2, 5):  # what turns at a shoulder, elbow, hip or knee is hidden altogether
        other["rotvec"][:, joint] += rng.normal(0, 1.0, (10, 3)).astype(np.float32)
    seen_by_network = ("points", "depth", "world", "visibility", "presence", "map", "crop_from_image")
    other |= {key: rng.permuted(raw[key]) for key in seen_by_network}
    here, there = encode(exact(raw, body), body), encode(exact(other, body), body)
    apart = (here.joints - there.joints).norm(dim=-1)
    assert apart[:, LEFT_ARM].mean(0).min() > 0.1 and apart[:, RIGHT_LEG].mean(0).min() > 0.1
    torch.testing.assert_close(there.features, here.features, atol=1e-4, rtol=0)
    torch.testing.assert_close(there.R_anchor, here.R_anchor, atol=0, rtol=0)
    torch.testing.assert_close(there.half, here.half)


def test_what_is_seen_is_told(raw: Raw, body: BodyModel) -> None:
    other = raw | {"rotvec": raw["rotvec"].copy()}
    raw["joint_visible"][:, 19] = True  # right elbow
    other["rotvec"][:, 17] += np.float32(0.5)
    here, there = encode(exact(raw, body), body), encode(exact(other, body), body)
    assert ((here.features - there.features).abs().amax(1) > 1e-2).all()


def test_masked_landmarks_are_somebody_upright_about_what_is_seen(raw: Raw, body: BodyModel) -> None:
    made = exact(raw, body)
    seen = raw["joint_visible"][:, MARKS]
    for points, mask in zip(made["points"], seen, strict=True):
        low, high = points[mask].min(0), points[mask].max(0)
        side = max((high - low).max(), 64)  # 0.05 of 1280 px
        away = np.abs(points[~mask] - (low + high) / 2)
        assert away.max() <= side / 2 + 1e-2
    # A lonely wrist has a person of the smallest size about it; nobody at all has one in the middle of the picture.
    raw["joint_visible"][:] = False
    raw["joint_visible"][:, 21] = True
    alone = exact(raw, body)
    wrist = alone["points"][:, 16]
    np.testing.assert_allclose(np.ptp(alone["points"][:, :15], axis=1).max(), 64, rtol=0.6)
    assert (np.abs(alone["points"] - wrist[:, None]).max(1) < 33).all()
    raw["joint_visible"][:] = False
    none = exact(raw, body)
    assert (np.abs(none["points"] - raw["size"][:, None] / 2).max(1) < 33).all()
    assert (none["points"][:, 0, 1] < none["points"][:, 27, 1]).all()  # the head is above the feet
    pairs = encode(none, body)
    assert torch.isfinite(pairs.features).all() and (pairs.half > 1e-3).all()


@pytest.mark.parametrize("clear", [False, True])
def test_scenes_are_of_test_subjects_as_they_were_recorded(clear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SynthesizeConfig] = []
    monkeypatch.setattr(ambiguous, "synthesize", asked.append)
    ambiguous.main(AmbiguousConfig(out=Path("there"), seed=5, clear=clear))
    (config,) = asked
    assert (config.split, config.seed, config.out) == ("test", 5, Path("there"))
    scene = config.scene
    assert scene.swap_upper == scene.jitter_rad == 0  # poses nobody has tampered with
    assert sum(scene.crops) == pytest.approx(1) and len(scene.crops) == len(CROPS)
    assert scene.things == (not clear) and scene == (CLEAR if clear else AMBIGUOUS)
    assert (scene.crops[0] == 1) == clear
    assert dataclasses.asdict(config)["shards"] == AmbiguousConfig().shards
