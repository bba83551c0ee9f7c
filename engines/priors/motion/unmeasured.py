"""Joints that the recordings do not measure: collars and hands, which wander about rest.

Each component of their rotation vectors is a first-order autoregressive process of its own.
"""

import math
from dataclasses import dataclass

import numpy as np

from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, LinkedRows
from engines.priors.motion.layout import TURNING
from engines.rotations import inverse_right_jacobian, log_so3
from engines.types import NUM_JOINTS

UNMEASURED = tuple(j for j in range(1, NUM_JOINTS) if j not in TURNING)
"""Collars and hands."""


@dataclass(frozen=True)
class Unmeasured:
    """How far they wander, and how fast."""

    std_rad: float = 0.1
    """Standard deviation of each component."""
    memory: float = 0.98
    """Correlation from frame to frame."""

    def rows(self, sequence: BodySequence) -> tuple[LinkedRows, LinkedRows]:
        """Return the rows of a sequence: of its first frame, and of the others."""
        joints = list(UNMEASURED)
        rotvec = log_so3(sequence.R[:, joints])
        by_turn = inverse_right_jacobian(rotvec)
        count = len(rotvec)
        J = np.zeros((count, 3 * len(joints), FRAME_DIM))
        for i, j in enumerate(joints):
            J[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = by_turn[:, i]
        J /= self.std_rad
        y = rotvec.reshape(count, -1) / self.std_rad
        fresh = math.sqrt(1.0 - self.memory**2)
        first = LinkedRows(np.zeros(1, int), -y[:1], J[:1])
        moved = (self.memory * y[:-1] - y[1:]) / fresh
        later = np.concatenate([-self.memory * J[:-1], J[1:]], -1) / fresh
        return first, LinkedRows(np.arange(count - 1), moved, later)
