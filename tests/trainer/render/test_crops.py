"""The crop of a scene: what lies outside its window."""

import numpy as np

from trainer.render.clothed_body import NO_BODY
from trainer.render.crops import clear_outside, repeat_border


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
