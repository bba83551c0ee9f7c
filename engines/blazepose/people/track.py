"""One person through time: what is remembered, and where the person is expected next."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from engines.blazepose.sides import SideContinuity
from engines.types import Landmarks, Roi

_VELOCITY_GAIN = 0.4
"""Share of a step that the velocity takes up: a person walks on through some frames of noise."""
_COAST = 15
"""Frames for which somebody out of sight is expected to move on."""


@dataclass(frozen=True)
class Observation:
    """Landmarks of one frame, before it is known whose they are."""

    landmarks: Landmarks
    roi: Roi
    """The region about the body, which the next frame is looked for in."""
    track: "Track | None" = None
    """In whose region they were found; None for a detection."""


@dataclass(eq=False)
class Track:
    """One person; changed by `see` and `miss` alone."""

    landmarks: Landmarks
    """As found last, left and right as the network said."""
    roi: Roi
    """Region for the next frame."""
    track_id: int | None = None
    """None as long as it is not sure that this is a person."""
    velocity: Float[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    """Of the region's centre, px per frame."""
    seen: int = 1
    """Frames in a row in which the person was found, or was before getting out of sight."""
    hidden: int = 0
    """Frames since then; 0 while the person is in sight."""
    sides: SideContinuity = field(default_factory=SideContinuity)

    def see(self, landmarks: Landmarks, roi: Roi) -> None:
        """Take what was found in this frame."""
        step = (roi.center - self.roi.center) / (self.hidden + 1)
        self.velocity = self.velocity + _VELOCITY_GAIN * (step - self.velocity)
        if self.hidden:
            self.sides.reset()
        self.landmarks, self.roi = landmarks, roi
        self.seen, self.hidden = self.seen + 1, 0

    def miss(self) -> None:
        """Note a frame in which the person was not found."""
        self.hidden += 1

    @property
    def expected(self) -> Roi:
        """The region where the person should be in the frame that follows."""
        steps = min(self.hidden, _COAST) + 1
        return Roi(self.roi.center + steps * self.velocity, self.roi.size, self.roi.rotation)
