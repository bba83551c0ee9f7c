"""Covering people: what is hidden, with what, and what counts of who is found beside them."""

from dataclasses import replace

import numpy as np
import pytest

from engines.blazepose.people.appearance import colours_of, difference
from engines.blazepose.people.covering import Cover, body_mask, filled, hide, noisy, under
from engines.blazepose.people.track import Candidate
from tests.engines.blazepose.people.bodies import NO_COLOURS, landmarks, region


def test_a_person_is_covered_and_what_is_behind_is_not_visible() -> None:
    image = np.full((480, 640, 3), 9, np.uint8)
    front, back = landmarks(300.0), landmarks(325.0)
    mask = body_mask((640, 480), [front])
    assert under(mask, front).all() and 0 < under(mask, back).mean() < 0.7
    image[mask > 0] = 200
    before = image.copy()
    result = filled(image, mask)
    assert (np.abs(result.astype(int) - 9) <= 3).all()  # as the surroundings: no outline is left
    assert (image == before).all()
    behind = hide(back, under(mask, back))
    assert (behind.visibility[under(mask, back)] < 0.5).all()
    assert (behind.visibility[~under(mask, back)] == 1).all()
    far = replace(front, points=front.points + 1e7)
    assert body_mask((640, 480), [far]).sum() == 0 and not under(mask, far).any()


def test_nothing_is_covered_where_nobody_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    nowhere = np.zeros((48, 64), np.uint8)
    assert (filled(image, nowhere) == image).all() and (noisy(image, nowhere) == image).all()
    assert Cover(image, []).filled is image and Cover(image, []).noisy is image


def test_noise_hides_people_and_nothing_else() -> None:
    image = np.full((480, 640, 3), 9, np.uint8)
    before = image.copy()
    cover = Cover(image, [landmarks(300.0)])
    under_it = cover.noisy[cover.mask > 0].astype(float)
    assert (cover.noisy[cover.mask == 0] == 9).all() and (image == before).all()
    assert under_it.mean() == pytest.approx(127, abs=3) and under_it.std() == pytest.approx(
        50, abs=3
    )


def test_noise_looks_the_same_to_the_network_in_an_image_of_any_size() -> None:
    mask = np.zeros((400, 400), np.uint8)
    mask[20:360, 100:200] = 1
    small = noisy(np.zeros((400, 400, 3), np.uint8), mask)
    doubled = mask.repeat(2, 0).repeat(2, 1)
    large = noisy(np.zeros((800, 800, 3), np.uint8), doubled)
    assert (large == small.repeat(2, 0).repeat(2, 1)).all()


def test_who_is_found_beside_a_cover_has_the_colours_of_the_original() -> None:
    image = np.full((480, 640, 3), (200, 30, 30), np.uint8)
    front, back = landmarks(300.0), landmarks(345.0)
    image[body_mask((640, 480), [front]) > 0] = (30, 30, 200)
    cover = Cover(image, [front])
    assert (cover.filled != image).any()
    one = cover.beside(Candidate(back, region(345.0), NO_COLOURS))
    assert one is not None and difference(one.colours, colours_of(image, landmarks(540.0))) < 0.5
    assert (one.landmarks.visibility[under(cover.mask, back)] < 0.5).all()


def test_nobody_is_found_under_a_cover() -> None:
    cover = Cover(np.zeros((480, 640, 3), np.uint8), [landmarks(300.0)])
    assert cover.beside(Candidate(landmarks(302.0), region(302.0), NO_COLOURS)) is None


def test_a_mask_with_edges_holds_the_plain_one() -> None:
    plain, wide = (body_mask((480, 480), [landmarks(240.0)], width) for width in (1.0, 1.7))
    assert (wide >= plain).all() and wide.sum() > 1.2 * plain.sum()
