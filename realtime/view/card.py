"""The card: what is said about the followed person, limb by limb, in words a newcomer knows."""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from realtime.view.build import LIMBS
from realtime.view.colors import (
    ACCENT,
    BACKGROUND,
    FAINT,
    MUTED,
    PANEL,
    PAPER,
    Bgr,
    std_bgr,
)
from realtime.view.layout import Layout, Rect
from realtime.view.scene import History, Limb, PersonScene, Scene, ViewConfig
from realtime.view.text import blend, draw_text, fitting

_FIXED = 4


def draw_card(
    canvas: UInt8[np.ndarray, "H W 3"], scene: Scene, layout: Layout, config: ViewConfig
) -> None:
    """Draw the card of the followed person, in place; nothing without one."""
    person = scene.followed
    if person is None:
        return
    rect = layout.card
    panel(canvas, rect, layout.px(8), 0.0 if layout.card_below else 0.72)
    if layout.card_below:
        _draw_row(canvas, person, rect, layout, config)
    else:
        _draw_column(canvas, person, rect, layout, config)


def headline(person: PersonScene) -> tuple[str, str, str]:
    """Return who it is, how far away, and how sure that is, in words."""
    away, spread = f"{person.distance:.1f} m away", f"± {person.distance_std:.1f} m"
    return f"person {person.track_id}", away, spread


def limb_lines(limb: Limb) -> tuple[str, str]:
    """Return a limb's name and what is known about it, in words."""
    amount = f"± {100 * limb.std:.0f} cm"
    return limb.name, f"guessed {amount}" if limb.guessed else amount


def _draw_row(
    canvas: UInt8[np.ndarray, "H W 3"],
    person: PersonScene,
    rect: Rect,
    layout: Layout,
    config: ViewConfig,
) -> None:
    """Draw columns: who, then each limb with its last seconds below."""
    name, away, spread = headline(person)
    big, small = layout.font(15), layout.font(13)
    step = layout.px(21)
    columns = len(person.limbs) + 1
    pitch = rect.width / columns
    top = rect.y + layout.px(6)
    x = rect.x + layout.px(2)
    room = round(pitch) - layout.px(10)
    draw_text(canvas, fitting(name, big, room), (x, top), big, PAPER)
    draw_text(canvas, fitting(away, small, room), (x, top + step), small, MUTED)
    draw_text(canvas, spread, (x, top + step + layout.px(17)), small, MUTED)
    for i, limb in enumerate(person.limbs, start=1):
        x = round(rect.x + i * pitch)
        _draw_limb(canvas, limb, (x, top), room, layout, config)
        spark_top = top + 2 * step + layout.px(6)
        height = rect.bottom - spark_top - layout.px(4)
        if height >= layout.px(22):
            spark = Rect(x, spark_top, room, min(height, layout.px(130)))
            history = person.history
            draw_spark(canvas, history.time_s, limb_history(history, limb.name), spark, config)


def _draw_limb(
    canvas: UInt8[np.ndarray, "H W 3"],
    limb: Limb,
    at: tuple[int, int],
    room: int,
    layout: Layout,
    config: ViewConfig,
) -> None:
    name, words = limb_lines(limb)
    big, small = layout.font(15), layout.font(13)
    radius = layout.px(5)
    x, y = at
    dot(
        canvas,
        (x + radius, y + layout.px(10)),
        radius,
        std_bgr(limb.std, config.max_std_cm),
        hollow=limb.guessed,
    )
    indent = 2 * radius + layout.px(7)
    draw_text(canvas, fitting(name, big, room - indent), (x + indent, y), big, PAPER)
    color = ACCENT if limb.guessed else MUTED
    draw_text(canvas, fitting(words, small, room), (x, y + layout.px(21)), small, color)


def _draw_column(
    canvas: UInt8[np.ndarray, "H W 3"],
    person: PersonScene,
    rect: Rect,
    layout: Layout,
    config: ViewConfig,
) -> None:
    """Draw rows: who, then each limb."""
    name, *distance = headline(person)
    away = ", ".join(distance)
    big, small = layout.font(15), layout.font(13)
    inset, radius = layout.px(12), layout.px(5)
    x, y = rect.x + inset, rect.y + layout.px(9)
    room = rect.width - 2 * inset
    draw_text(canvas, fitting(name, big, room), (x, y), big, PAPER)
    draw_text(canvas, fitting(away, small, room), (x, y + layout.px(21)), small, MUTED)
    y += layout.px(50)
    step = (rect.bottom - layout.px(8) - y) / len(person.limbs)
    for limb in person.limbs:
        name, words = limb_lines(limb)
        middle = y + layout.px(10)
        color = std_bgr(limb.std, config.max_std_cm)
        dot(canvas, (x + radius, middle), radius, color, hollow=limb.guessed)
        indent = 2 * radius + layout.px(7)
        draw_text(canvas, name, (x + indent, y), small, PAPER)
        tint = ACCENT if limb.guessed else MUTED
        draw_text(canvas, words, (x + room, y), small, tint, anchor="right")
        y += step


def limb_history(history: History, name: str) -> Float[np.ndarray, "T"]:
    """Return the standard deviation of one limb over time, metres."""
    return np.sqrt(np.mean(history.joint_std[:, list(LIMBS[name])] ** 2, axis=1))


def draw_spark(
    canvas: UInt8[np.ndarray, "H W 3"],
    time_s: Float[np.ndarray, "T"],
    std: Float[np.ndarray, "T"],
    rect: Rect,
    config: ViewConfig,
    *,
    top_cm: float | None = None,
) -> None:
    """Draw one standard deviation over the last seconds, coloured by itself, in place.

    Args:
        canvas: BGR.
        time_s: Rising.
        std: Metres.
        rect: Where; its left edge is `history_s` ago, its right edge now.
        config: Of the colours.
        top_cm: Value at the upper edge; 1.5 times the end of the scale by default.
    """
    if len(time_s) < 2:  # a photo has no past
        return
    top_m = (top_cm or 1.5 * config.max_std_cm) / 100.0
    base = rect.bottom - 1
    cv2.line(canvas, (rect.x, base), (rect.right - 1, base), FAINT, 1)
    ago = time_s[-1] - time_s
    x = rect.right - 1 - ago / config.history_s * (rect.width - 1)
    y = base - np.clip(std / top_m, 0.0, 1.0) * (rect.height - 2)
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), max(2, rect.width // 2))).astype(int))
    x, y, std = x[keep], y[keep], std[keep]
    points = np.stack([x, y], axis=1)
    fixed = np.rint(points * (1 << _FIXED)).astype(np.int32)
    area = np.concatenate([points, [[x[-1], base], [x[0], base]]])
    part = canvas[rect.window]
    layer = part.copy()
    shifted = np.rint((area - (rect.x, rect.y)) * (1 << _FIXED)).astype(np.int32)
    cv2.fillPoly(layer, [shifted], std_bgr(float(std[-1]), config.max_std_cm), cv2.LINE_AA, _FIXED)
    cv2.addWeighted(layer, 0.18, part, 0.82, 0, dst=part)
    for a, b, value in zip(fixed[:-1].tolist(), fixed[1:].tolist(), std[1:].tolist(), strict=True):
        color = std_bgr(value, config.max_std_cm)
        cv2.line(canvas, tuple(a), tuple(b), color, 1, cv2.LINE_AA, _FIXED)


def dot(
    canvas: UInt8[np.ndarray, "H W 3"],
    center: tuple[float, float],
    radius: int,
    color: Bgr,
    *,
    hollow: bool = False,
) -> None:
    """Draw a disc, or a ring when `hollow`."""
    blend(
        canvas, _disc(radius, hollow), (round(center[0]) - radius, round(center[1]) - radius), color
    )


@lru_cache(maxsize=16)
def _disc(radius: int, hollow: bool) -> UInt8[np.ndarray, "d d"]:
    size, scale = 2 * radius + 1, 8
    large = np.zeros((size * scale, size * scale), np.uint8)
    middle = size * scale // 2
    cv2.circle(large, (middle, middle), radius * scale, (255,), -1)
    if hollow:
        cv2.circle(large, (middle, middle), max(1, radius - 2) * scale, (0,), -1)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def panel(canvas: UInt8[np.ndarray, "H W 3"], rect: Rect, radius: int, opacity: float) -> None:
    """Darken a rounded rectangle so that text can be read on it, in place."""
    if opacity > 0.0:
        mask = rounded(rect.width, rect.height, radius)
        blend(canvas, mask, (rect.x, rect.y), PANEL if opacity < 1.0 else BACKGROUND, opacity)


@lru_cache(maxsize=32)
def rounded(width: int, height: int, radius: int) -> UInt8[np.ndarray, "h w"]:
    """Return the mask of a rectangle with round corners."""
    mask = np.full((height, width), 255, np.uint8)
    r = min(radius, width // 2, height // 2)
    y, x = np.mgrid[0:r, 0:r] + 0.5
    corner = np.clip(r - np.hypot(r - x, r - y) + 0.5, 0.0, 1.0)
    corner = np.rint(corner * 255.0).astype(np.uint8)
    if r:
        mask[:r, :r], mask[:r, -r:] = corner, corner[:, ::-1]
        mask[-r:, :r], mask[-r:, -r:] = corner[::-1], corner[::-1, ::-1]
    return mask
