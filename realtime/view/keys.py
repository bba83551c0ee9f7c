"""The keys of the window: one table that the window obeys, and that hint and help are made of.

What a key changes in the picture is a function from state to state. What it asks of the run or of
the window is a command by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from realtime.view.state import SIDE, TOP, ViewState

Command = Literal["pause", "step", "back", "forward", "screenshot", "close"]
JUMP_S = 2.0
"""How far the arrow keys go in a recording, seconds."""


@dataclass(frozen=True)
class Key:
    """One key and what it does."""

    name: str
    """As Open3D's `KeyName` spells it."""
    label: str
    """As the user reads it."""
    does: str
    change: Callable[[ViewState], ViewState] | None = None
    command: Command | None = None
    recordings: bool = False
    """Whether it needs a recording that can go to another time."""


def _toggle(layer: str) -> Callable[[ViewState], ViewState]:
    def change(state: ViewState) -> ViewState:
        layers = replace(state.layers, **{layer: not getattr(state.layers, layer)})
        return replace(state, layers=layers)

    return change


def _reset(state: ViewState) -> ViewState:
    return replace(ViewState(), paused=state.paused, hint=state.hint, position=state.position)


KEYS: tuple[Key, ...] = (
    Key("SPACE", "space", "pause, go on", command="pause"),
    Key("PERIOD", ".", "one frame further", command="step"),
    Key("LEFT", "left", f"{JUMP_S:g} s back", command="back", recordings=True),
    Key("RIGHT", "right", f"{JUMP_S:g} s forward", command="forward", recordings=True),
    Key("ONE", "1", "world over the camera's shoulder", lambda s: replace(s, orbit=None)),
    Key("TWO", "2", "world from the side", lambda s: replace(s, orbit=SIDE)),
    Key("THREE", "3", "world from above", lambda s: replace(s, orbit=TOP)),
    Key("R", "R", "reset the view", _reset),
    Key("B", "B", "bodies on, off", _toggle("body")),
    Key("G", "G", "guesses: ghosts, outlines", _toggle("guesses")),
    Key("E", "E", "90 % ellipsoids", _toggle("ellipsoids")),
    Key("T", "T", "trails", _toggle("trail")),
    Key("L", "L", "landmarks", _toggle("landmarks")),
    Key("M", "M", "mirror the image", lambda s: replace(s, mirror=not s.mirror)),
    Key("S", "S", "screenshot", command="screenshot"),
    Key("H", "H", "this help", lambda s: replace(s, help_rows=() if s.help_rows else HELP)),
    Key("ESCAPE", "Esc", "end", command="close"),
)
_MOUSE = (
    ("drag", "turn the world; with the right button: move it"),
    ("wheel", "zoom the world"),
    ("click", "on a person: follow; on a joint: its uncertainty over time"),
)
HELP: tuple[tuple[str, str], ...] = (*_MOUSE, *((key.label, key.does) for key in KEYS))


def hint(*, recording: bool) -> str:
    """Return one line about the most useful keys."""
    parts = ["drag: turn", "click: pick", "1 2 3: views", "space: pause"]
    if recording:
        parts.append("arrows: seek")
    return "  ".join([*parts, "H: all keys"])
