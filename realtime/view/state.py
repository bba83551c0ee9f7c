"""What the user has chosen to see; plain data that keys and mouse replace and drawing reads."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Layers:
    """Which parts are drawn."""

    body: bool = True
    guesses: bool = True
    """Ghosts of occluded limbs and outlines of hypotheses."""
    ellipsoids: bool = True
    landmarks: bool = False
    trail: bool = True


@dataclass(frozen=True)
class Orbit:
    """Where the world is seen from, relative to the camera's own direction."""

    azimuth_deg: float
    """0 looks where the camera looks, 90 from the camera's right side to its left."""
    elevation_deg: float
    zoom: float = 1.0
    """1 fits everybody into the panel."""
    pan: tuple[float, float] = (0.0, 0.0)
    """Shift of what is in the middle, right and up, in heights of the panel."""

    def turned(self, right_deg: float, up_deg: float) -> "Orbit":
        """Return the orbit after a drag."""
        elevation = float(np.clip(self.elevation_deg + up_deg, 1.0, 89.0))
        azimuth = (self.azimuth_deg + right_deg + 180.0) % 360.0 - 180.0
        return Orbit(azimuth, elevation, self.zoom, self.pan)

    def zoomed(self, factor: float) -> "Orbit":
        """Return the orbit nearer (above 1) or farther (below 1)."""
        zoom = float(np.clip(self.zoom * factor, 0.2, 8.0))
        return Orbit(self.azimuth_deg, self.elevation_deg, zoom, self.pan)

    def panned(self, right: float, up: float) -> "Orbit":
        """Return the orbit with the world shifted, in heights of the panel."""
        pan = (self.pan[0] + right, self.pan[1] + up)
        return Orbit(self.azimuth_deg, self.elevation_deg, self.zoom, pan)


def shoulder(aspect: float) -> Orbit:
    """Return the view over the camera's shoulder for a panel of this width over height.

    A wide panel has room for camera and people side by side, a tall one for one behind the other.
    """
    wide = float(np.clip((aspect - 0.6) / 0.7, 0.0, 1.0))
    return Orbit(azimuth_deg=26.0 + 26.0 * wide, elevation_deg=24.0 - 10.0 * wide)


SIDE = Orbit(azimuth_deg=90.0, elevation_deg=4.0)
TOP = Orbit(azimuth_deg=0.0, elevation_deg=89.0)


@dataclass(frozen=True)
class Position:
    """Where a recording is."""

    now_s: float
    duration_s: float


@dataclass(frozen=True)
class ViewState:
    """Everything that changes the picture besides the scene."""

    layers: Layers = field(default_factory=Layers)
    orbit: Orbit | None = None
    """None is the view over the camera's shoulder."""
    mirror: bool = False
    joint: int | None = None
    """The joint whose chart is drawn."""
    help_rows: tuple[tuple[str, str], ...] = ()
    """Keys and what they do, when the user has asked; else empty."""
    paused: bool = False
    hint: str = ""
    """One line about the keys; empty in recordings, which have none."""
    message: str = ""
    """What just happened, such as a saved screenshot."""
    position: Position | None = None
    """None for a live source and in recordings."""
