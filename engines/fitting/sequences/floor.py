"""Feet and the floor: what stands does not move and lies on it, and nothing lies below.

A model of motion says how probable it is that each heel and ball stands in each frame. A standing
joint's displacement since the frame before, and the height of its sole, are rows with the weight of
that probability, which is held for a step of the fit.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engines.fitting.sequences.observations import Shape, half_square
from engines.fitting.sequences.sequence import (
    BodySequence,
    Linearised,
    LinkedRows,
    SequenceResiduals,
)
from engines.types import JOINT_NAMES

FEET: tuple[int, ...] = tuple(
    JOINT_NAMES.index(f"{side}_{part}") for part in ("ankle", "foot") for side in ("left", "right")
)
"""Heels, below the ankles, and balls of the feet."""


@runtime_checkable
class MotionModel(SequenceResiduals, Protocol):
    """A prior over motion that knows contacts; bodies are z up, the floor at z = 0."""

    def contacts(self, sequence: BodySequence) -> Float[np.ndarray, "M 4"]:
        """Return how probable it is that each of `FEET` stands, from the third frame on."""
        ...

    def bodies(self, weight: float) -> SequenceResiduals:
        """Return what is known of single bodies, with a factor on its cost."""
        ...

    def sized(self, size: float) -> "MotionModel":
        """Return the same for a person of another size, in sizes of the default body."""
        ...


@dataclass(frozen=True)
class FloorContactConfig:
    """How firmly feet stand."""

    speed: float = 0.2
    """Standard deviation of a standing joint's velocity per axis, metres per second."""
    height_m: float = 0.05
    """The same of its sole's height, metres."""
    below_m: float = 0.03
    """The same of how far a sole may lie below the floor."""
    fps: float = 30.0


@dataclass(frozen=True)
class FloorContact:
    """Contacts that a model finds, and the floor itself."""

    shape: Shape
    model: MotionModel
    sole_m: Float[np.ndarray, "4"]
    """Height of each of `FEET` above the sole of a standing body, metres."""
    config: FloorContactConfig

    def at(self, sequence: BodySequence) -> Linearised:
        """Linearise around a sequence; its contacts are held."""
        probability = self.model.contacts(sequence)
        bodies = self.shape.bodies(sequence)
        J, shared = self.shape.jacobian(bodies, len(sequence.shared))
        J, shared = J[:, list(FEET)], shared[:, list(FEET)]
        move_scale, height_scale = self._scales(probability)
        below_scale = self._below(bodies.joints)
        moved, height, below = self._residuals(bodies.joints, probability)
        by_move = np.concatenate([-J[1:-1], J[2:]], -1) * move_scale[..., None, None]
        move_shared = (shared[2:] - shared[1:-1]) * move_scale[..., None, None]
        count, rows_each = len(by_move), 3 * len(FEET)
        up, up_shared = J[:, :, 2], shared[:, :, 2]
        rows = (
            LinkedRows(
                np.arange(1, count + 1),
                moved.reshape(count, rows_each),
                by_move.reshape(count, rows_each, -1),
                move_shared.reshape(count, rows_each, -1),
            ),
            LinkedRows(
                np.arange(2, count + 2),
                height,
                up[2:] * height_scale[..., None],
                up_shared[2:] * height_scale[..., None],
            ),
            LinkedRows(
                np.arange(sequence.count),
                below,
                up * below_scale[..., None],
                up_shared * below_scale[..., None],
            ),
        )

        def cost(other: BodySequence) -> float:
            parts = self._residuals(self.shape.joints(other), probability)
            return sum(half_square(part) for part in parts)

        return Linearised(rows, cost)

    def _scales(
        self, probability: Float[np.ndarray, "M 4"]
    ) -> tuple[Float[np.ndarray, "M 4"], Float[np.ndarray, "M 4"]]:
        root = np.sqrt(probability)
        return root * self.config.fps / self.config.speed, root / self.config.height_m

    def _below(self, joints: Float[np.ndarray, "T 24 3"]) -> Float[np.ndarray, "T 4"]:
        return (joints[:, list(FEET), 2] < self.sole_m) / self.config.below_m

    def _residuals(
        self, joints: Float[np.ndarray, "T 24 3"], probability: Float[np.ndarray, "M 4"]
    ) -> tuple[Float[np.ndarray, "M 4 3"], Float[np.ndarray, "M 4"], Float[np.ndarray, "T 4"]]:
        feet = joints[:, list(FEET)]
        move_scale, height_scale = self._scales(probability)
        moved = -(feet[2:] - feet[1:-1]) * move_scale[..., None]
        above = feet[..., 2] - self.sole_m
        return moved, -above[2:] * height_scale, -above * self._below(joints)
