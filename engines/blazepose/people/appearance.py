"""What a person wears: the mean colours of chest, belly and thighs.

They tell two people apart who cross, and a skeleton on a person from one that has slipped between
two. Light and creases change them by about `SAME`.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from engines.types import Landmarks

SAME = 20.0
"""Distance in CIELAB that one person's colours have in two images."""
_LIGHTNESS = 0.5
"""Weight of the lightness, which shadows change."""
_VISIBLE = 0.5
_FOLLOW = 0.1
"""Share of new colours that is taken over."""
_SHOULDERS, _HIPS, _KNEES = ([11, 12], [23, 24], [25, 26])
_ACROSS = np.array([-0.25, 0.0, 0.25])
_ALONG = ((0.15, 0.3, 0.45), (0.55, 0.7, 0.85), (0.2, 0.35, 0.5))
"""Where chest and belly are sampled from shoulders to hips, and thighs from hips to knees."""

Colours = Float[np.ndarray, "3 3"]
"""CIELAB of chest, belly and thighs; nan where they cannot be seen."""

UNKNOWN: Colours = np.full((3, 3), np.nan)


def colours_of(
    image: UInt8[np.ndarray, "h w 3"],
    landmarks: Landmarks,
    others: UInt8[np.ndarray, "h w"] | None = None,
) -> Colours:
    """Sample a person's colours.

    Args:
        image: BGR.
        landmarks: of the person.
        others: not zero where the image shows somebody else.
    """
    points, shown = landmarks.points, landmarks.visibility > _VISIBLE
    shoulders, hips, knees = points[_SHOULDERS], points[_HIPS], points[_KNEES]
    torso = shown[_SHOULDERS].any() and shown[_HIPS].any()
    colours = np.full((3, 3), np.nan)
    if torso:
        for patch in range(2):
            colours[patch] = _mean_colour(image, _between(shoulders, hips, _ALONG[patch]), others)
    legs = [side for side in range(2) if shown[_HIPS[side]] and shown[_KNEES[side]]]
    if legs:
        share = np.array(_ALONG[2])[:, None, None]
        thighs = hips[legs] + share * (knees[legs] - hips[legs])
        colours[2] = _mean_colour(image, thighs.reshape(-1, 2), others)
    return colours


def difference(a: Colours, b: Colours) -> float:
    """Return how much colours differ, in units of `SAME`; nan if nothing can be compared."""
    apart = np.linalg.norm((a - b) * (_LIGHTNESS, 1.0, 1.0), axis=1) / SAME
    known = np.isfinite(apart)
    return float(apart[known].mean()) if known.any() else float("nan")


def followed(before: Colours, now: Colours) -> Colours:
    """Return remembered colours after one more image."""
    mixed = before + _FOLLOW * (now - before)
    return np.where(np.isnan(before), now, np.where(np.isnan(now), before, mixed))


def _between(
    top: Float[np.ndarray, "2 2"], bottom: Float[np.ndarray, "2 2"], along: tuple[float, ...]
) -> Float[np.ndarray, "n 2"]:
    """Return points inside of a quadrangle, away from its sides."""
    share = np.array(along)[:, None]
    middle = top.mean(0) + share * (bottom.mean(0) - top.mean(0))
    width = (top[0] - top[1]) + share * ((bottom[0] - bottom[1]) - (top[0] - top[1]))
    return (middle[:, None] + _ACROSS[:, None] * width[:, None]).reshape(-1, 2)


def _mean_colour(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "n 2"],
    others: UInt8[np.ndarray, "h w"] | None,
) -> Float[np.ndarray, "3"]:
    height, width = image.shape[:2]
    x, y = np.floor(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    if others is not None:
        inside[inside] = others[y[inside], x[inside]] == 0
    if inside.sum() * 3 < len(inside):
        return np.full(3, np.nan)
    pixels = image[y[inside], x[inside]][None].astype(np.float32) / 255
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB)[0].mean(0).astype(float)
