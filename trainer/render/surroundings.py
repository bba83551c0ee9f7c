"""What surrounds a rendered body: a background, occluders in front, and a cheap camera's faults.

Everything random comes from the caller's generator. Colours are BGR, 0..255.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from trainer.render.clothed_body import NO_BODY, Rendering

_LONG = 4.0
"""Extent of an occluder that leaves the image at both ends, as a share of the person's size."""


def random_background(size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "S S 3"]:
    """Draw a wall and a floor with soft stains and some furniture-like clutter.

    It is made at half the size, since no joint is looked for there.
    """
    half = size // 2
    stains = rng.uniform(20, 235, (rng.integers(2, 9), rng.integers(2, 9), 3))
    strength = rng.uniform(0, 0.6)
    wall = (stains * strength + rng.uniform(30, 225, 3) * (1 - strength)).astype(np.float32)
    image = cv2.resize(wall, (half, half), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.7:
        horizon = int(rng.uniform(0.4, 1.0) * half)
        image[horizon:] = image[horizon:] * 0.3 + rng.uniform(20, 220, 3) * 0.7
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 9)):
        _draw_clutter(image, rng)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 2.0))
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def add_occluders(
    rendering: Rendering,
    around: Float[np.ndarray, "N 2"],
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Draw up to three occluders in front of the body, in place.

    Args:
        rendering: the image; its `part` map is cleared under the occluders.
        around: points that are worth occluding, px.
        scale: size of the person, px.
        rng: draws what, where, and how many.
    """
    size = rendering.part.shape[0]
    count = rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])
    for _ in range(count):
        occluded = _random_mask(size, around, scale, rng)
        textured = rng.random() < 0.5
        texture = (
            random_background(size, rng)
            if textured
            else np.full_like(rendering.image, rng.uniform(10, 245, 3))
        )
        rendering.image[occluded] = texture[occluded]
        rendering.part[occluded] = NO_BODY


def degrade(
    image: UInt8[np.ndarray, "S S 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "S S 3"]:
    """Add what a cheap camera adds: blur, a colour cast, noise."""
    out = image.astype(np.float32)
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.2:
        out = _blur_by_motion(out, rng)
    gain = rng.uniform(0.6, 1.25) * rng.uniform(0.9, 1.1, 3)
    out = out * gain.astype(np.float32) + np.float32(rng.uniform(-15, 15))
    out += rng.standard_normal(out.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(out, 0, 255).astype(np.uint8)


def _draw_clutter(image: UInt8[np.ndarray, "S S 3"], rng: np.random.Generator) -> None:
    """Draw one rectangle, line or disc, in place."""
    size = image.shape[0]
    colour = rng.uniform(10, 245, 3).tolist()
    (x0, y0), (x1, y1) = rng.integers(0, size, (2, 2)).tolist()
    kind = rng.integers(3)
    if kind == 0:
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, -1)
    elif kind == 1:
        cv2.line(image, (x0, y0), (x1, y1), colour, int(rng.integers(1, max(2, size // 16))))
    else:
        cv2.circle(image, (x0, y0), int(rng.integers(2, size // 5)), colour, -1)


def _random_mask(
    size: int, around: Float[np.ndarray, "N 2"], scale: float, rng: np.random.Generator
) -> Bool[np.ndarray, "S S"]:
    """Draw the outline of one occluder."""
    mask = np.zeros((size, size), np.uint8)
    center = around[rng.integers(len(around))] + rng.normal(0, 0.08 * scale, 2)
    kind = rng.choice(["box", "ellipse", "post", "table"], p=[0.35, 0.2, 0.2, 0.25])
    if kind == "ellipse":
        axes = rng.uniform(0.05, 0.25, 2) * scale
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(mask, (center.tolist(), (2 * axes).tolist(), angle), [1], -1)
        return mask.astype(bool)
    box_extent = rng.uniform(0.08, 0.5, 2)
    post_extent = np.array((rng.uniform(0.05, 0.25), _LONG))
    if kind == "table":  # covers everything on one side of an edge: a desk, a wall, a car
        extent = np.array((_LONG, 1.2))
        angle = 90.0 * rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]) + rng.normal(0, 6)
        outwards = np.array([np.sin(-np.radians(angle)), np.cos(np.radians(angle))])
        center = center + 0.6 * scale * outwards
    elif kind == "post":
        extent = post_extent
        angle = rng.normal(0, 8)
    else:
        extent = box_extent
        angle = rng.uniform(0, 180)
    corners = cv2.boxPoints((center.tolist(), (extent * scale).tolist(), float(angle)))
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], [1])
    return mask.astype(bool)


def _blur_by_motion(
    image: Float[np.ndarray, "S S 3"], rng: np.random.Generator
) -> Float[np.ndarray, "S S 3"]:
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    start = (0, int(rng.integers(length)))
    end = (length - 1, int(rng.integers(length)))
    cv2.line(kernel, start, end, [1.0])
    return cv2.filter2D(image, -1, kernel / kernel.sum())
