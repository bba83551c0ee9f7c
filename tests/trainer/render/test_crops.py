"""The crop of a scene: where the body is in it, and what lies outside its window."""

import numpy as np
import pytest

from engines.blazepose.landmarker import SIDE
from engines.blazepose.roi import apply_affine
from engines.body import BodyModel
from trainer.render import crops
from trainer.render.clothed_body import NO_BODY, visible_joints
from trainer.render.crops import OVERSAMPLE, SceneRenderer, clear_outside, repeat_border
from trainer.render.scenes import CLEAR, draw_scene


def test_the_border_is_repeated_beyond_the_image() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50] = 50
    image[:, 49] = 200
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    window = np.array([0.0, 0.0, 50.0, 100.0])  # the image is the left half of the crop
    out = repeat_border(image, window, identity)
    assert (out[:, 50:] == 200).all()
    np.testing.assert_array_equal(out[:, :50], image[:, :50])
    part = np.full((100, 100), 5, np.uint8)
    clear_outside(part, window, identity)
    assert (part[:, 52:] == NO_BODY).all() and (part[:, :49] == 5).all()


def test_the_border_of_a_crop_is_repeated_on_every_side() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    window = np.array([30.0, 40.0, 60.0, 90.0])
    shift = np.array([[1.0, 0.0, -10.0], [0.0, 1.0, -20.0]])
    out = repeat_border(image, window, shift)  # in the crop it is x 20 to 50 and y 20 to 70
    np.testing.assert_array_equal(out[20:70, 20:50], image[20:70, 20:50])
    np.testing.assert_array_equal(out[20:70, :20], np.repeat(image[20:70, 20:21], 20, axis=1))
    np.testing.assert_array_equal(out[70:, 20:50], np.repeat(image[69:70, 20:50], 30, axis=0))
    np.testing.assert_array_equal(out[:20, 50:], np.broadcast_to(image[20, 49], (20, 50, 3)))


def test_a_body_is_rendered_where_its_camera_sees_it(
    body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[np.ndarray] = []

    def keep(part: np.ndarray, joints_px: np.ndarray, reach: int) -> np.ndarray:
        parts.append(part)
        return visible_joints(part, joints_px, reach)

    monkeypatch.setattr(crops, "visible_joints", keep)
    renderer, rng = SceneRenderer.of(body), np.random.default_rng(5)
    standing = np.zeros((2, 24, 3))
    shifts = []
    for _ in range(60):
        scene = draw_scene(standing, np.zeros(2, np.int64), CLEAR, rng)
        crop = renderer.crop(scene, rng)
        assert crop is not None
        shaped = body.shaped(scene.betas)
        posed = shaped.posed(scene.rotvec, scene.pelvis - shaped.rest_joints[0])
        pixels = apply_affine(crop.crop_from_image, scene.to_image(posed.vertices("decimated")))
        pixels = pixels * OVERSAMPLE
        if pixels.min() < 2 or pixels.max() > OVERSAMPLE * SIDE - 2:
            continue
        covered = np.argwhere(parts[-1] != NO_BODY)[:, ::-1]  # columns and rows, from 0
        middle = 0.5 * (covered.min(0) + covered.max(0) + 1)
        shifts.append(middle - 0.5 * (pixels.min(0) + pixels.max(0)))
    assert len(shifts) >= 20
    assert np.abs(np.median(shifts, 0)).max() < 0.2  # thin fingers leave gaps now and then
