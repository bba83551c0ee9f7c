"""Where everything lies in the picture: pure arithmetic on rectangles.

    image  | world          landscape video: the card lies below the image
    card   |
    ----------------
    bar

    image | card + world    portrait and square video: the card lies in the corner of the world

The image keeps its shape. It gets the width that lets it fill the height, within limits that leave
the world enough room.
"""

from dataclasses import dataclass

from realtime.view.text import MIN_PX

MIN_SIZE = (480, 300)
"""Smallest (width, height) that is laid out, px; smaller windows show it scaled down."""
_SHARE = (0.28, 0.6)
"""Smallest and largest share of the width that the image gets."""


@dataclass(frozen=True)
class Rect:
    """A rectangle, px."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column to the right of it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.y + self.height

    @property
    def window(self) -> tuple[slice, slice]:
        """The index of its pixels in an image."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies in it."""
        return self.x <= x < self.right and self.y <= y < self.bottom


@dataclass(frozen=True)
class Layout:
    """The rectangles of one picture, and the unit that everything in it scales with."""

    size: tuple[int, int]
    unit: float
    """1 at 1280x720; letters, gaps and strokes are multiples of it."""
    image: Rect
    """The camera image, scaled into it exactly."""
    world: Rect
    card: Rect
    """What is said about the followed person."""
    card_below: bool
    """Whether the card lies below the image, as a row, or in the world's corner, as a column."""
    chart: Rect
    """A joint's uncertainty over time, when one is picked; over the world's lower edge."""
    bar: Rect
    """Colour scale and status."""
    timeline: Rect
    """The time bar of a recording; no height where there is none."""

    def px(self, units: float) -> int:
        """Return a length in whole pixels, at least 1."""
        return max(1, round(units * self.unit))

    def font(self, units: float) -> int:
        """Return a font size, never illegibly small."""
        return max(MIN_PX, round(units * self.unit))


def arrange(
    size: tuple[int, int], image_size: tuple[int, int], *, timeline: bool = False
) -> Layout:
    """Lay out a picture.

    Args:
        size: (width, height) of the picture, px; at least `MIN_SIZE`.
        image_size: (width, height) of the camera image, px.
        timeline: Whether there is a time bar.
    """
    width, height = (max(a, b) for a, b in zip(size, MIN_SIZE, strict=True))
    unit = min(max(min(width / 1280, height / 720), 0.72), 3.0)

    def px(units: float) -> int:
        return max(1, round(units * unit))

    gap = px(12)
    bar = Rect(0, height - px(52), width, px(52))
    line = px(22) if timeline else 0
    time = Rect(gap, bar.y - line, width - 2 * gap, line)
    room = time.y - 2 * gap
    aspect = image_size[0] / image_size[1]
    column = round(min(max(room * aspect, _SHARE[0] * width), _SHARE[1] * width))
    image_w = min(column, round(room * aspect))
    image_h = min(room, round(image_w / aspect))
    strip = px(70)
    if image_h < room - gap and room - image_h - gap < strip <= 0.16 * room:
        image_h = room - gap - strip  # almost room for the card: the image gives way a little
        image_w = round(image_h * aspect)
        column = max(image_w, round(_SHARE[0] * width))
    left = room - image_h - gap
    below = left >= strip
    world_x = gap + column + gap
    world = Rect(world_x, gap, width - world_x - gap, room)
    card_h = min(left, px(200))
    stack = image_h + gap + card_h if below else image_h
    top = gap + (room - stack) // 2
    image = Rect(gap + (column - image_w) // 2, top, max(image_w, 1), max(image_h, 1))
    inset = px(12)
    if below:
        card = Rect(gap, image.bottom + gap, column, card_h)
    else:
        card = Rect(world.x + inset, world.y + inset, px(196), px(206))
    chart_w = min(world.width - 2 * inset, px(360))
    chart_h = min(px(120), world.height // 3)
    chart = Rect(world.x + inset, world.bottom - inset - chart_h, chart_w, chart_h)
    return Layout((width, height), unit, image, world, card, below, chart, bar, time)
