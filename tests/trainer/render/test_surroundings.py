"""Occluders in front of a rendered body, and the faults of a cheap camera."""

import cv2
import numpy as np

from trainer.render.clothed_body import NO_BODY, Rendering
from trainer.render.surroundings import add_occluders, degrade


def test_occluders_show_no_body() -> None:
    changed_somewhere = False
    for seed in range(8):
        image = np.full((128, 128, 3), 3, np.uint8)
        rendering = Rendering(image, np.full((128, 128), 5, np.uint8))
        add_occluders(rendering, np.array([[64.0, 64.0]]), 80, np.random.default_rng(seed))
        changed = (rendering.image != 3).any(-1)
        assert (rendering.part[changed] == NO_BODY).all()
        assert (rendering.part[~changed] == 5).mean() > 0.99
        changed_somewhere |= bool(changed.any())
    assert changed_somewhere


def test_a_cheap_camera_keeps_the_image_recognisable() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 8).astype(np.uint8)
    for seed in range(5):
        worse = degrade(image, np.random.default_rng(seed))
        assert worse.shape == image.shape and worse.dtype == np.uint8
    np.testing.assert_array_equal(worse, degrade(image, np.random.default_rng(4)))
