"""The controls of one browser: what it displays, and from where."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.view.colors import colormap
from realtime.view.controls import Controls
from realtime.view.scene import ViewConfig
from realtime.view.web.cameras import VIEWS, View
from realtime.view.web.stage import LAYERS

if TYPE_CHECKING:
    import viser

_NAMES: dict[View, str] = {"orbit": "Orbit", "side": "Side", "top": "Top", "camera": "Camera"}


class Panel:
    """The controls of one browser; they say what the user wants, and `changed` is called."""

    def __init__(
        self,
        client: "viser.ClientHandle",
        config: ViewConfig,
        controls: Controls,
        look_from: Callable[[View], None],
        changed: Callable[[], None],
    ) -> None:
        gui = client.gui
        self.paused = False
        """Whether the picture stands still though the run goes on; of a live source only."""
        self.follow = True
        self.shown = dict.fromkeys(LAYERS, True)
        gui.add_html(legend(config))
        self._words = gui.add_markdown("waiting for the first frame")
        views = gui.add_button_group("View", [_NAMES[view] for view in VIEWS])
        follow = gui.add_checkbox("Follow the person", self.follow)
        what = "the recording" if controls.pausable else "the picture; the run goes on"
        pause = gui.add_checkbox("Pause", False, hint=f"Hold {what}.")
        self._duration_s = controls.duration_s or 0.0
        self._time = _time_slider(gui, controls) if controls.seekable and self._duration_s else None
        with gui.add_folder("Layers", expand_by_default=False):
            for layer in LAYERS:
                self._layer(gui.add_checkbox(layer.capitalize(), True), layer, changed)

        @views.on_click
        def _(_event: object) -> None:
            look_from(next(view for view in VIEWS if _NAMES[view] == views.value))

        @follow.on_update
        def _(_event: object) -> None:
            self.follow = follow.value

        @pause.on_update
        def _(_event: object) -> None:
            if controls.pausable:
                controls.pause(pause.value)
            else:
                self.paused = pause.value
                changed()

    def _layer(
        self,
        box: "viser.GuiCheckboxHandle",  # pyright: ignore[reportPrivateImportUsage]
        layer: str,
        changed: Callable[[], None],
    ) -> None:
        @box.on_update
        def _(_event: object) -> None:
            self.shown[layer] = box.value
            changed()

    def say(self, words: str, time_s: float) -> None:
        """Display who is there and how sure that is, and where in the recording."""
        self._words.content = words
        if self._time is not None:
            self._time.value = min(round(time_s, 1), self._duration_s)


def _time_slider(gui: "viser.GuiApi", controls: Controls) -> "viser.GuiInputHandle[float]":
    """Add the time of a recording, which the user may change."""
    assert controls.duration_s is not None
    time_s = gui.add_slider("Time (s)", 0.0, controls.duration_s, 0.1, 0.0)

    @time_s.on_update
    def _(event: "viser.GuiEvent[Any]") -> None:
        if event.client is not None:  # the user, not a frame that has arrived
            controls.seek(time_s.value)

    return time_s


def legend(config: ViewConfig) -> str:
    """Return the colour scale as HTML."""
    levels = colormap()[np.linspace(0, 255, 9).round().astype(int)]
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in levels.tolist())
    ticks = [f"± {config.max_std_cm * i / 3:g}" for i in range(4)]
    ticks[-1] += " cm or more"
    words = "".join(f"<span>{tick}</span>" for tick in ticks)
    return (
        "<div style='padding: 0.5em 0.9em 0; font-size: 0.8em'>How far off a point may be"
        f"<div style='height: 0.8em; border-radius: 3px; margin: 0.35em 0 0.2em; "
        f"background: linear-gradient(to right, {stops})'></div>"
        f"<div style='display: flex; justify-content: space-between'>{words}</div></div>"
    )
