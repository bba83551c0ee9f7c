"""The controls of one browser: what it displays, and from where."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from realtime.view.colors import colormap
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
        look_from: Callable[[View], None],
        changed: Callable[[], None],
    ) -> None:
        gui = client.gui
        self.paused = False
        self.follow = True
        self.shown = dict.fromkeys(LAYERS, True)
        gui.add_html(legend(config))
        self._words = gui.add_markdown("waiting for the first frame")
        views = gui.add_button_group("View", [_NAMES[view] for view in VIEWS])
        follow = gui.add_checkbox("Follow the person", self.follow)
        pause = gui.add_checkbox("Pause", self.paused, hint="Hold the picture; the run goes on.")
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

    def say(self, words: str) -> None:
        """Display who is there and how sure that is."""
        self._words.content = words


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
