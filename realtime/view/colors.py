"""The colours of the view: one scale for uncertainty, and a palette around it.

The scale is viridis from its blue on: perceptually uniform, made to be told apart with every common
kind of colour blindness, and its lightness grows from end to end, so it also survives a grey print.
Its dark violet start is left out, which would vanish on a dark background. So a certain body is
calm blue and an uncertain limb glows yellow. Cividis reads as well for colour-blind people, but its
grey middle says little to everybody else; inferno makes certain bodies dark.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Bgr = tuple[int, int, int]

_FIRST_LEVEL = 0.27 * 255
"""Where the scale starts on viridis."""

BACKGROUND: Bgr = (30, 25, 22)
PANEL: Bgr = (42, 36, 32)
INK: Bgr = (18, 15, 13)
PAPER: Bgr = (240, 238, 236)
MUTED: Bgr = (172, 162, 154)
FAINT: Bgr = (92, 84, 78)
OUTLINE: Bgr = (250, 240, 225)
"""Near white: the scale has none, so a hypothesis never looks like a value on it."""
ACCENT: Bgr = (130, 170, 255)
"""Soft orange, for what needs attention."""


@lru_cache(maxsize=1)
def colormap() -> UInt8[np.ndarray, "256 3"]:
    """Return the colour scale, RGB."""
    ramp = np.linspace(_FIRST_LEVEL, 255.0, 256)
    levels = np.arange(256, dtype=np.uint8)
    bgr = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)[:, 0].astype(np.float64)
    lut = np.stack([np.interp(ramp, levels, bgr[:, c]) for c in (2, 1, 0)], axis=1)
    return np.rint(lut).astype(np.uint8)


def std_colors(std_m: Float[np.ndarray, "*n"], max_std_cm: float) -> Float[np.ndarray, "*n 3"]:
    """Return the colours of standard deviations, RGB in [0, 1].

    Args:
        std_m: Standard deviations, metres.
        max_std_cm: End of the scale, cm; larger values get its last colour.
    """
    index = np.rint(np.clip(std_m * 100.0 / max_std_cm, 0.0, 1.0) * 255.0).astype(np.intp)
    return colormap()[index] / 255.0


def std_bgr(std_m: float, max_std_cm: float) -> Bgr:
    """Return the colour of one standard deviation (m) as the bytes that OpenCV draws with."""
    return bgr(std_colors(np.array(std_m), max_std_cm))


def bgr(rgb: Float[np.ndarray, "3"]) -> Bgr:
    """Convert RGB in [0, 1] to the BGR bytes that OpenCV draws with."""
    r, g, b = (round(255 * float(c)) for c in rgb)
    return b, g, r
