"""Bodies of successive frames, and rows of residuals that link a few of them.

A sequence moves by 75 numbers a frame, turns and pelvis as in `engines.fitting.bodies`, and by a
few numbers that all frames share, such as the body's shape or the floor. A group of rows is about
one to three successive frames and about what is shared, so the normal equations are a band with a
border: `solver.py` solves them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from engines.coordinates import TURNS
from engines.rotations import exp_so3
from engines.types import NUM_JOINTS

FRAME_DIM = TURNS + 3
"""Coordinates of a frame: a right turn of each joint, radians, then the pelvis, metres."""
FEWEST_FRAMES = 3
"""Below it there is no acceleration, and nothing to fit a motion to."""


@dataclass(frozen=True)
class BodySequence:
    """One person over T frames, in a frame of reference that stands still."""

    R: Float[np.ndarray, "T 24 3 3"]
    """Of each joint relative to its parent, of the root relative to the frame of reference."""
    pelvis: Float[np.ndarray, "T 3"]
    """Metres."""
    shared: Float[np.ndarray, "G"]
    """What all frames share; what it means is up to the residuals."""

    @property
    def count(self) -> int:
        """T."""
        return len(self.R)

    def moved(
        self, step: Float[np.ndarray, "T 75"], shared: Float[np.ndarray, "G"]
    ) -> "BodySequence":
        """Move by a step."""
        R = self.R @ exp_so3(step[:, :TURNS].reshape(-1, NUM_JOINTS, 3))
        return BodySequence(R, self.pelvis + step[:, TURNS:], self.shared + shared)


@dataclass(frozen=True)
class LinkedRows:
    """N groups of r rows, each about S successive frames; linear to first order."""

    first: Int[np.ndarray, "N"]
    """The first frame that each group is about; a frame is not listed twice."""
    residual: Float[np.ndarray, "N r"]
    """Measured minus predicted, in units of its standard deviation."""
    J: Float[np.ndarray, "N r SD"]
    """Derivative of what is predicted by the coordinates of the S frames, in the same units."""
    shared: Float[np.ndarray, "N r G"] | None = None
    """Derivative by what is shared; None for none."""


@dataclass(frozen=True)
class Linearised:
    """Residuals around one sequence.

    Weights that depend on the sequence (of robust losses, of contacts, of a conditional variance)
    are those of this sequence, in `rows` and in `cost`, so that a step is judged by what it was
    computed from.
    """

    rows: tuple[LinkedRows, ...]
    cost: Callable[[BodySequence], float]
    """Nats, without constants, of another sequence."""


@runtime_checkable
class SequenceResiduals(Protocol):
    """Something that a sequence should agree with."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Linearise around a sequence."""
        ...
