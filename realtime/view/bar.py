"""The lower edge: the colour scale, what the system does right now, the keys, and the time bar."""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import UInt8

from realtime.view.card import panel, rounded
from realtime.view.colors import FAINT, INK, MUTED, PAPER, colormap
from realtime.view.layout import Layout, Rect
from realtime.view.scene import Status, ViewConfig
from realtime.view.state import Position, ViewState
from realtime.view.text import draw_text, text_size


def status_parts(status: Status) -> list[str]:
    """Return delay, rate, dropped frames and device in words, the most important first."""
    if status.every_frame:
        return ["every frame", status.backend]
    parts = [f"delay {status.latency_ms:.0f} ms", f"{status.fps:.0f} frames/s"]
    if status.dropped:
        parts.append(f"{status.dropped} dropped")
    return [*parts, status.backend]


def legend_ticks(config: ViewConfig) -> list[tuple[float, str]]:
    """Return four values from 0 to the end of the scale, cm, with their labels.

    The last one is open-ended: larger values get the same colour.
    """
    values = [config.max_std_cm * i / 3 for i in range(4)]
    return [(v, f"{v:g}" if i < 3 else f"{v:g}+ cm") for i, v in enumerate(values)]


def legend_rect(layout: Layout) -> Rect:
    """Return where the colour scale itself is."""
    x = layout.px(16) + text_size(_TITLE, layout.font(13))[0] + layout.px(14)
    width = min(layout.px(250), layout.size[0] // 4)
    return Rect(x, layout.bar.y + layout.px(11), width, layout.px(12))


_TITLE = "± standard deviation"


def draw_bar(
    canvas: UInt8[np.ndarray, "H W 3"],
    status: Status,
    layout: Layout,
    config: ViewConfig,
    state: ViewState,
) -> None:
    """Draw the bar, in place."""
    bar = layout.bar
    canvas[bar.window] = INK
    _draw_legend(canvas, layout, config)
    size = layout.font(13)
    right = bar.right - layout.px(16)
    used = legend_rect(layout).right + layout.px(64)
    parts = status_parts(status)
    while len(parts) > 1 and text_size("   ·   ".join(parts), size)[0] > right - used:
        parts.pop()
    two_lines = bool(state.hint) and bar.height >= 2 * text_size("", size)[1]
    line = text_size("", size)[1]
    y = bar.y + (bar.height - (2 if two_lines else 1) * line) // 2
    draw_text(canvas, "   ·   ".join(parts), (right, y), size, PAPER, anchor="right")
    if two_lines:
        hint = fitting_hint(state.hint, size, right - used)
        draw_text(canvas, hint, (right, y + line), size, MUTED, anchor="right")


def fitting_hint(hint: str, size: int, width: int) -> str:
    """Return as many of a hint's parts, the last one always, as fit into `width` px."""
    parts = hint.split("  ")
    while len(parts) > 1 and text_size("  ".join(parts), size)[0] > width:
        parts.pop(-2)
    return "  ".join(parts)


def _draw_legend(canvas: UInt8[np.ndarray, "H W 3"], layout: Layout, config: ViewConfig) -> None:
    rect, size = legend_rect(layout), layout.font(13)
    height = text_size(_TITLE, size)[1]
    draw_text(canvas, _TITLE, (layout.px(16), rect.y + (rect.height - height) / 2), size, MUTED)
    canvas[rect.window] = _ramp(rect.width)
    small = layout.font(12)
    for value, label in legend_ticks(config):
        x = rect.x + round(value / config.max_std_cm * (rect.width - 1))
        canvas[rect.bottom : rect.bottom + layout.px(4), x] = MUTED
        middle = text_size(label.split("+")[0], small)[0] // 2
        draw_text(canvas, label, (x - middle, rect.bottom + layout.px(4)), small, PAPER)


@lru_cache(maxsize=4)
def _ramp(width: int) -> UInt8[np.ndarray, "width 3"]:
    return colormap()[np.linspace(0, 255, width).round().astype(int)][:, ::-1]


def draw_timeline(
    canvas: UInt8[np.ndarray, "H W 3"], layout: Layout, position: Position, *, paused: bool
) -> None:
    """Draw the time bar of a recording, in place."""
    rect = layout.timeline
    if not rect.height:
        return
    size = layout.font(13)
    words = f"{clock(position.now_s)} / {clock(position.duration_s)}"
    words = f"paused  {words}" if paused else words
    track = timeline_track(layout)
    y = rect.y + rect.height // 2
    draw_text(
        canvas, words, (rect.right, y - text_size(words, size)[1] / 2), size, PAPER, anchor="right"
    )
    thick = layout.px(4)
    done = np.clip(position.now_s / max(position.duration_s, 1e-6), 0.0, 1.0)
    canvas[y - thick // 2 : y - thick // 2 + thick, track.x : track.right] = FAINT
    x = track.x + round(float(done) * (track.width - 1))
    canvas[y - thick // 2 : y - thick // 2 + thick, track.x : x] = PAPER
    cv2.circle(canvas, (x, y), layout.px(6), PAPER, -1, cv2.LINE_AA)


def timeline_track(layout: Layout) -> Rect:
    """Return the part of the time bar that is clicked on."""
    rect = layout.timeline
    words = text_size("paused  00:00 / 00:00", layout.font(13))[0]
    return Rect(rect.x, rect.y, rect.width - words - layout.px(16), rect.height)


def clock(seconds: float) -> str:
    """Return a time as 1:05."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def draw_message(canvas: UInt8[np.ndarray, "H W 3"], text: str, layout: Layout) -> None:
    """Write what just happened into the middle of the upper edge, in place."""
    size = layout.font(15)
    width, height = text_size(text, size)
    rect = Rect(
        (layout.size[0] - width) // 2 - layout.px(16),
        layout.px(16),
        width + layout.px(32),
        height + layout.px(12),
    )
    panel(canvas, rect, layout.px(8), 0.9)
    draw_text(canvas, text, (rect.x + layout.px(16), rect.y + layout.px(6)), size)


def draw_help(
    canvas: UInt8[np.ndarray, "H W 3"], rows: list[tuple[str, str]], layout: Layout
) -> None:
    """Draw what the keys do over the whole picture, in place."""
    size, step = layout.font(15), layout.px(25)
    left = max(text_size(key, size)[0] for key, _ in rows) + layout.px(24)
    right = max(text_size(what, size)[0] for _, what in rows)
    width, height = left + right + layout.px(48), step * len(rows) + layout.px(36)
    x, y = (layout.size[0] - width) // 2, max(0, (layout.size[1] - height) // 2)
    canvas[:] = canvas // 3
    mask = rounded(width, min(height, layout.size[1]), layout.px(12))
    rect = Rect(x, y, width, mask.shape[0])
    panel(canvas, rect, layout.px(12), 0.95)
    for i, (key, what) in enumerate(rows):
        top = y + layout.px(18) + i * step
        draw_text(canvas, key, (x + layout.px(24), top), size, PAPER)
        draw_text(canvas, what, (x + layout.px(24) + left, top), size, MUTED)
