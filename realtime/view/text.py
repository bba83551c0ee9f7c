"""Letters with anti-aliasing: Pillow's FreeType with the font that Pillow itself brings.

The font is Aileron (CC0), embedded in Pillow, so no file is looked for and nothing is fetched. A
line of text is rendered once and kept; what is drawn again costs one blend.
"""

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from realtime.view.colors import INK, PAPER, Bgr

MIN_PX = 12
"""No letters are smaller than this, px of the font's size."""
Anchor = Literal["left", "middle", "right"]


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow lacks FreeType"
    return font


@lru_cache(maxsize=1024)
def text_mask(text: str, size: int) -> UInt8[np.ndarray, "h w"]:
    """Return the coverage of a line of text; its height is the same for every text of a size."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(text)) + 1), ascent + descent))
    ImageDraw.Draw(image).text((0, ascent), text, font=font, fill=255, anchor="ls")
    return np.asarray(image)


def text_size(text: str, size: int) -> tuple[int, int]:
    """Return (width, height) of what `draw_text` draws, px."""
    height, width = text_mask(text, size).shape
    return width, height


def draw_text(
    canvas: UInt8[np.ndarray, "H W 3"],
    text: str,
    at: tuple[float, float],
    size: int,
    color: Bgr = PAPER,
    *,
    anchor: Anchor = "left",
    halo: bool = False,
) -> int:
    """Draw a line of text in place, cut off at the canvas.

    Args:
        canvas: BGR.
        text: One line.
        at: (x, y) of the anchor; y is the top of the line, px.
        size: Of the font, px.
        color: Of the letters.
        anchor: What of the text is at x.
        halo: Put a dark rim around the letters, for text on an image.

    Returns:
        The width of the text, px.
    """
    mask = text_mask(text, size)
    width = mask.shape[1]
    x = round(at[0]) - {"left": 0, "middle": width // 2, "right": width}[anchor]
    if halo:
        rim = _halo(text, size)
        blend(canvas, rim, (x - _RIM, round(at[1]) - _RIM), INK, 0.75)
    blend(canvas, mask, (x, round(at[1])), color)
    return width


_RIM = 3


@lru_cache(maxsize=256)
def _halo(text: str, size: int) -> UInt8[np.ndarray, "h w"]:
    wide = cv2.dilate(np.pad(text_mask(text, size), _RIM), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(wide, (5, 5), 0)


def blend(
    canvas: UInt8[np.ndarray, "H W 3"],
    mask: UInt8[np.ndarray, "h w"],
    at: tuple[int, int],
    color: Bgr,
    opacity: float = 1.0,
) -> None:
    """Blend a colour into a canvas where a mask is, its top-left corner at `at`; in place."""
    height, width = canvas.shape[:2]
    x, y = at
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + mask.shape[1], width), min(y + mask.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = canvas[y0:y1, x0:x1]
    share = mask[y0 - y : y1 - y, x0 - x : x1 - x, None] * np.float32(opacity / 255.0)
    part[:] = (part + share * (np.array(color, np.float32) - part) + 0.5).astype(np.uint8)


def fitting(text: str, size: int, width: int) -> str:
    """Return the text, shortened with an ellipsis where it is wider than `width` px."""
    if text_size(text, size)[0] <= width:
        return text
    while text and text_size(text + "...", size)[0] > width:
        text = text[:-1]
    return text.rstrip() + "..."
