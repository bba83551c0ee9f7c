"""Nothing overlaps or is cut off, whatever the window and the video."""

import itertools

import numpy as np
import pytest

from realtime.view.bar import (
    fitting_hint,
    legend_rect,
    legend_ticks,
    status_parts,
    timeline_track,
)
from realtime.view.keys import HELP, hint
from realtime.view.layout import Rect, arrange
from realtime.view.scene import Status, ViewConfig
from realtime.view.text import MIN_PX, draw_text, fitting, text_mask, text_size

SIZES = [(1280, 720), (900, 500), (1920, 1080), (720, 1280), (640, 480), (2560, 1440), (480, 300)]
IMAGES = [(1920, 1080), (640, 480), (720, 720), (1080, 1920), (4000, 500), (100, 1000)]


def overlap(a: Rect, b: Rect) -> bool:
    return a.x < b.right and b.x < a.right and a.y < b.bottom and b.y < a.bottom


@pytest.mark.parametrize(("size", "image"), list(itertools.product(SIZES, IMAGES)))
@pytest.mark.parametrize("timeline", [False, True])
def test_panels_lie_in_the_picture_side_by_side(
    size: tuple[int, int], image: tuple[int, int], timeline: bool
) -> None:
    layout = arrange(size, image, timeline=timeline)
    whole = Rect(0, 0, *layout.size)
    apart = [layout.image, layout.world, layout.bar]
    if layout.card_below:
        apart.append(layout.card)
    if timeline:
        apart.append(layout.timeline)
    for rect in (*apart, layout.card, layout.chart):
        assert rect.width > 0 and rect.height > 0
        assert whole.contains(rect.x, rect.y)
        assert rect.right <= whole.right and rect.bottom <= whole.bottom
    for a, b in itertools.combinations(apart, 2):
        assert not overlap(a, b), (a, b)
    if not layout.card_below and min(size) >= 480:
        assert layout.card.right <= layout.world.right
        assert layout.card.bottom <= layout.world.bottom


@pytest.mark.parametrize(("size", "image"), list(itertools.product(SIZES, IMAGES[:4])))
def test_the_image_keeps_its_shape_and_the_world_its_room(
    size: tuple[int, int], image: tuple[int, int]
) -> None:
    layout = arrange(size, image)
    shape = layout.image.width / layout.image.height
    assert shape == pytest.approx(image[0] / image[1], rel=0.02)
    assert layout.world.width >= 0.3 * layout.size[0]


def test_a_portrait_video_fills_the_height_and_a_landscape_one_leaves_room_for_the_card() -> None:
    portrait, landscape = arrange((1280, 720), (1080, 1920)), arrange((1280, 720), (1920, 1080))
    assert portrait.image.height > 0.85 * 720 and not portrait.card_below
    assert landscape.image.width > 0.55 * 1280 and landscape.card_below


@pytest.mark.parametrize("size", SIZES)
def test_letters_stay_legible_and_grow_with_the_window(size: tuple[int, int]) -> None:
    layout = arrange(size, (640, 480))
    assert layout.font(13) >= MIN_PX
    if min(size) >= 1080:
        assert layout.font(13) > arrange((1280, 720), (640, 480)).font(13)


def test_letters_are_antialiased_and_have_the_signs_that_are_used() -> None:
    mask = text_mask("left leg: guessed ± 6 cm · delay 59 ms", 14)
    assert len(np.unique(mask)) > 20  # gray levels, not strokes
    missing = text_mask("\ufffe", 14)
    for sign in "±·+%:":
        drawn = text_mask(sign, 14)
        assert drawn.any()
        assert drawn.shape != missing.shape or (drawn != missing).any(), sign


def test_text_is_cut_off_at_the_canvas_and_anchored() -> None:
    canvas = np.zeros((20, 60, 3), np.uint8)
    draw_text(canvas, "far too long for this", (-10, -3), 14)
    assert canvas.any()
    right = np.zeros((20, 60, 3), np.uint8)
    draw_text(right, "ab", (60, 0), 14, anchor="right")
    columns = np.flatnonzero(right.any(axis=(0, 2)))
    assert columns.min() >= 60 - text_size("ab", 14)[0] and columns.max() < 60
    draw_text(canvas, "outside", (500, 500), 14)


def test_shortened_text_fits() -> None:
    assert fitting("left arm", 14, 500) == "left arm"
    short = fitting("right shoulder", 14, 60)
    assert short.endswith("...") and text_size(short, 14)[0] <= 60


@pytest.mark.parametrize("size", [(1280, 720), (900, 500)])
def test_the_bar_has_room_for_its_words(size: tuple[int, int]) -> None:
    layout = arrange(size, (640, 480))
    legend = legend_rect(layout)
    assert legend.bottom < layout.bar.bottom and legend.y >= layout.bar.y
    label = text_size(legend_ticks(ViewConfig())[-1][1], layout.font(12))
    assert legend.bottom + layout.px(4) + label[1] <= layout.bar.bottom + 1
    words = "   ·   ".join(status_parts(Status("openvino (CPU)", 29.6, 58.7, 0))[:2])
    room = layout.bar.right - legend.right - layout.px(80)
    assert text_size(words, layout.font(13))[0] <= room
    shown = fitting_hint(hint(recording=True), layout.font(13), room)
    assert shown.endswith("H: all keys") and text_size(shown, layout.font(13))[0] <= room


def test_words_of_the_status() -> None:
    parts = status_parts(Status("openvino (CPU)", 29.6, 58.7, 3))
    assert parts == ["delay 59 ms", "30 frames/s", "3 dropped", "openvino (CPU)"]
    unhurried = status_parts(Status("openvino (CPU)", 3.0, 900.0, 0, every_frame=True))
    assert unhurried == ["every frame", "openvino (CPU)"]


def test_help_fits_the_smallest_window() -> None:
    layout = arrange((900, 500), (640, 480))
    assert layout.px(25) * len(HELP) + layout.px(36) <= 500
    widest = max(text_size(key, layout.font(15))[0] for key, _ in HELP)
    widest += max(text_size(what, layout.font(15))[0] for _, what in HELP)
    assert widest + layout.px(72) <= 900


def test_the_track_of_the_time_bar_leaves_room_for_the_clock() -> None:
    layout = arrange((900, 500), (640, 480), timeline=True)
    assert timeline_track(layout).right < layout.timeline.right - 60
    assert arrange((900, 500), (640, 480)).timeline.height == 0
