"""Samples made of rendered scenes by the real landmark network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.blazepose.landmarker import SIDE, decode
from engines.blazepose.roi import crop_to_image, image_to_crop
from engines.blazepose.tracker import PoseTracker
from engines.body import BodyModel
from engines.types import LIMB_JOINTS, Landmarks, Roi
from tests.support.random_samples import random_records
from tests.support.scenes import standing
from trainer.data.rendered import SampleRenderer, frame_record, scene_record
from trainer.data.samples import encode
from trainer.render import crops
from trainer.render.clothed_body import NO_BODY, Rendering
from trainer.render.crops import SceneCrop
from trainer.render.scenes import CROPS, Scene, SceneConfig, draw_scene

LIMB_LANDMARKS = [23, 24, 25, 26, 27, 28, 11, 12, 13, 14, 15, 16]
"""In the order of LIMB_JOINTS."""
UPRIGHT = Roi(np.array([SIDE / 2, SIDE / 2]), SIDE, 0.0)
"""The region of an image that is its own crop."""
LEGS = [4, 5, 7, 8, 10, 11]


@pytest.fixture(scope="module")
def renderer(body: BodyModel) -> SampleRenderer:
    return SampleRenderer.open(body)


@pytest.fixture
def no_occluders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "add_occluders", lambda *_: None)


@pytest.mark.usefixtures("no_occluders")
def test_landmarks_lie_near_the_true_joints_when_nothing_occludes_them(
    renderer: SampleRenderer, body: BodyModel
) -> None:
    misses, angles = [], []
    for i, turn in enumerate((0, 30, -30, 0)):
        record = renderer.sample(standing(turn), np.random.default_rng(i))
        assert record is not None
        samples = encode({key: np.asarray(value)[None] for key, value in record.items()}, body)
        points = samples.features[:, :66].unflatten(1, (33, 2))[:, LIMB_LANDMARKS]
        misses.append((points - samples.target[:, list(LIMB_JOINTS)]).norm(dim=-1) / 2)
        assert record["joint_visible"][list(LIMB_JOINTS)].mean() > 0.8
        angles.append(samples.rotvec[0, 0].norm().item())
    assert torch.cat(misses).median() < 0.05  # of the person's size
    assert np.median(angles) < 0.6  # the torso's world landmarks give the orientation


def test_landmarks_of_a_crop_are_recorded_as_the_live_landmarker_would_give_them() -> None:
    rng = np.random.default_rng(0)
    roi = Roi(np.array([600.0, 300.0]), 512.0, 0.4)
    outputs = {
        "landmarks": rng.uniform(20, 230, (1, 195)),
        # Certain of nothing, so that landmarks stay where they are.
        "heatmap": np.full((1, 64, 64, 39), -9.0),
        "world": rng.normal(0, 0.3, (1, 117)),
        "score": np.array([0.9]),
    }
    in_crop, _ = decode(outputs, UPRIGHT, crop_to_image(UPRIGHT, SIDE))
    live, _ = decode(outputs, roi, crop_to_image(roi, SIDE))
    window = np.array([10.0, 20.0, 900.0, 700.0])
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop = SceneCrop(image, image_to_crop(roi, SIDE), window, np.ones(24, bool))
    record = scene_record(standing(0), crop, in_crop)
    for key in ("points", "depth", "world", "visibility", "presence"):
        expected = getattr(live, key)
        np.testing.assert_allclose(record[key], expected, rtol=1e-5, atol=1e-4, err_msg=key)
    np.testing.assert_array_equal(record["window"], window)
    np.testing.assert_allclose(record["crop_from_image"], image_to_crop(roi, SIDE), rtol=1e-5)


@pytest.mark.usefixtures("no_occluders")
def test_a_sample_records_the_scene_it_was_made_from(renderer: SampleRenderer) -> None:
    scene = standing(10)
    record = renderer.sample(scene, np.random.default_rng(3))
    assert record is not None
    np.testing.assert_allclose(record["pelvis"], scene.pelvis, atol=1e-6)
    np.testing.assert_allclose(record["rotvec"], scene.rotvec, atol=1e-6)
    assert record["focal"] == 700
    assert record["size"].tolist() == [1280, 720]
    assert record["score"] >= 0.5
    assert record["window"].tolist() == [0, 0, 1280, 720]
    assert record["crop"] == 0
    # What the other tests train on has this form.
    assert record.keys() == random_records(1, 0, renderer.body).keys()


def test_the_same_seed_gives_the_same_sample(
    renderer: SampleRenderer, poses: tuple[np.ndarray, np.ndarray]
) -> None:
    def make(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        while True:
            record = renderer.sample(draw_scene(*poses, SceneConfig(), rng), rng)
            if record is not None:
                return record

    first = make(0)
    again = make(0)
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)
    assert not np.array_equal(first["points"], make(1)["points"])


def test_an_image_without_a_person_is_no_sample(
    renderer: SampleRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = standing(0)
    close = replace(scene, pelvis=np.array([0.0, 0.0, 0.2]))
    assert renderer.sample(close, np.random.default_rng(0)) is None

    def wall(rendering: Rendering, *_: object) -> None:
        rendering.image[:] = 90
        rendering.part[:] = NO_BODY

    monkeypatch.setattr(crops, "add_occluders", wall)
    assert renderer.sample(scene, np.random.default_rng(0)) is None


@pytest.mark.usefixtures("no_occluders")
def test_what_a_crop_takes_away_is_not_visible(renderer: SampleRenderer) -> None:
    record = renderer.sample(replace(standing(0), crop="legs"), np.random.default_rng(0))
    assert record is not None and record["crop"] == list(CROPS).index("legs")
    assert not record["joint_visible"][LEGS].any()
    assert record["joint_visible"][[16, 17, 18, 19]].all()
    left, top, right, bottom = record["window"]
    assert 0 < left < right < 1280 and 0 < top < bottom < 720


@pytest.mark.usefixtures("no_occluders")
def test_a_crop_of_what_lies_outside_the_image_is_no_sample(renderer: SampleRenderer) -> None:
    legs_below_border = np.array([0.0, 1.9, 3.5])
    low = replace(standing(0), pelvis=legs_below_border, crop="arms and head")
    assert renderer.sample(low, np.random.default_rng(0)) is None
    blank = np.zeros((SIDE, SIDE, 3), np.uint8)
    person = replace(renderer.landmarker(blank, UPRIGHT)[0], score=1.0)

    class CertainLandmarker:
        def __call__(self, image: np.ndarray, roi: Roi) -> tuple[Landmarks, Roi]:
            return person, roi

    certain = replace(
        renderer,
        landmarker=CertainLandmarker(),  # pyright: ignore[reportArgumentType]
    )
    assert certain.sample(low, np.random.default_rng(0)) is None
    assert certain.sample(replace(low, crop="whole"), np.random.default_rng(0)) is not None


def test_a_clear_scene_has_no_occluders(
    renderer: SampleRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    monkeypatch.setattr(crops, "add_occluders", lambda *_: called.append(1))
    renderer.sample(replace(standing(0), occluders=False), np.random.default_rng(0))
    assert not called
    renderer.sample(standing(0), np.random.default_rng(0))
    assert called


@pytest.mark.usefixtures("no_occluders")
def test_what_lies_outside_the_image_is_not_visible(renderer: SampleRenderer) -> None:
    legs_below_border = np.array([0.0, 1.6, 3.5])
    low: Scene = replace(standing(0), pelvis=legs_below_border)
    record = renderer.sample(low, np.random.default_rng(0))
    assert record is not None
    assert not record["joint_visible"][LEGS].any()
    assert record["joint_visible"][[16, 17]].all()


@pytest.mark.usefixtures("no_occluders")
def test_a_person_in_a_frame_is_found_where_the_true_joints_are(
    renderer: SampleRenderer, body: BodyModel
) -> None:
    """The detector chooses the crop, and the record is in px of the scene's image all the same."""
    found = renderer.tracked_sample(standing(20), np.random.default_rng(3))
    assert found is not None and found.record is not None
    assert found.record.keys() == random_records(1, 0, renderer.body).keys()
    samples = encode({key: np.asarray(value)[None] for key, value in found.record.items()}, body)
    points = samples.features[:, :66].unflatten(1, (33, 2))[:, LIMB_LANDMARKS]
    away = (points - samples.target[:, list(LIMB_JOINTS)]).norm(dim=-1) / 2
    assert away.median() < 0.05  # of the person's size
    hips = np.append(found.record["points"][[23, 24]].mean(0), 1.0)
    in_crop = found.record["crop_from_image"] @ hips
    assert (
        np.linalg.norm(in_crop - SIDE / 2) < 0.1 * SIDE
    )  # a tracker's crop has them in its middle


@pytest.mark.usefixtures("no_occluders")
def test_a_frame_shows_the_joints_where_it_says(renderer: SampleRenderer) -> None:
    scene = standing(10)
    frame = renderer.renderer.frame(scene, np.random.default_rng(0))
    assert frame is not None and frame.image.shape == (360, 640, 3)  # of 1280 x 720
    np.testing.assert_allclose(frame.frame_from_image, [[0.5, 0, 0], [0, 0.5, 0]], atol=1e-12)
    shaped = renderer.body.shaped(scene.betas)
    joints = shaped.posed(scene.rotvec, scene.pelvis - shaped.rest_joints[0]).joints
    np.testing.assert_allclose(frame.joints_px, scene.to_image(joints) / 2, atol=1e-9)
    assert frame.joint_visible[list(LIMB_JOINTS)].mean() > 0.8


def test_people_whom_the_tracker_does_not_find_are_told_from_those_who_are_not_there(
    renderer: SampleRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    with monkeypatch.context() as patch:
        patch.setattr(PoseTracker, "__call__", lambda self, image: None)
        lost = renderer.tracked_sample(standing(0), rng)
    assert lost is not None and lost.record is None
    outside = replace(standing(0), pelvis=np.array([9.0, 0.0, 3.0]))
    assert renderer.tracked_sample(outside, rng) is None


@pytest.mark.usefixtures("no_occluders")
def test_a_region_beside_the_person_is_not_the_person(renderer: SampleRenderer) -> None:
    scene = standing(0)
    frame = renderer.renderer.frame(scene, np.random.default_rng(0))
    assert frame is not None
    renderer.tracker.reset()
    found = renderer.tracker(frame.image)
    assert found is not None and frame_record(scene, frame, found) is not None
    beside = replace(found, roi=Roi(np.array([40.0, 40.0]), 60.0, 0.0))
    assert frame_record(scene, frame, beside) is None
