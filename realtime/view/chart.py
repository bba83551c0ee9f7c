"""The chart of a picked joint: its uncertainty over the last seconds, and where it is."""

import numpy as np
from jaxtyping import UInt8

from engines.types import JOINT_NAMES
from realtime.view.card import draw_spark, panel
from realtime.view.colors import MUTED, PAPER
from realtime.view.layout import Layout, Rect
from realtime.view.scene import PersonScene, ViewConfig
from realtime.view.text import draw_text, text_size


def chart_title(person: PersonScene, joint: int) -> str:
    """Return the joint and what is known about it, in words."""
    name = JOINT_NAMES[joint].replace("_", " ")
    said = "guessed, " if person.joint_visible[joint] < 0.5 else ""
    return f"{name}: {said}± {100 * person.joint_std[joint]:.0f} cm"


def draw_chart(
    canvas: UInt8[np.ndarray, "H W 3"],
    person: PersonScene,
    joint: int,
    layout: Layout,
    config: ViewConfig,
) -> None:
    """Draw the standard deviation of one joint over time, in place."""
    rect = layout.chart
    size, small, inset = layout.font(14), layout.font(12), layout.px(10)
    panel(canvas, rect, layout.px(8), 0.85)
    draw_text(canvas, chart_title(person, joint), (rect.x + inset, rect.y + layout.px(5)), size)
    std = person.history.joint_std[:, joint]
    top_cm = max(config.max_std_cm, 100.0 * float(std.max()))
    labels = text_size("00 cm", small)[0] + layout.px(8)
    line = text_size("", small)[1]
    top = layout.px(8) + text_size("", size)[1] + line // 2
    plot = Rect(
        rect.x + inset + labels,
        rect.y + top,
        rect.width - 2 * inset - labels,
        rect.height - top - line - layout.px(6),
    )
    draw_spark(canvas, person.history.time_s, std, plot, config, top_cm=top_cm)
    x = plot.x - layout.px(8)
    draw_text(canvas, f"{top_cm:.0f} cm", (x, plot.y - line / 2), small, MUTED, anchor="right")
    draw_text(canvas, "0", (x, plot.bottom - line / 2 - 2), small, MUTED, anchor="right")
    below = plot.bottom + layout.px(1)
    draw_text(canvas, f"{config.history_s:g} s ago", (plot.x, below), small, MUTED)
    draw_text(canvas, "now", (plot.right, below), small, PAPER, anchor="right")
