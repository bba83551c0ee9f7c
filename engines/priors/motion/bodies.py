"""Single bodies as motion begins with them: the mixture of `start.py` without the step.

HuMoR's own fit begins with a prior over poses in every frame. Here it is the marginal of what the
motion prior knows of beginnings, so that no other prior is needed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from engines.coordinates import TURNS
from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, Linearised, LinkedRows
from engines.priors.motion.layout import TURNING
from engines.priors.motion.start import POSE, StartMixture
from engines.rotations import inverse_right_jacobian, log_so3, skew


@dataclass(frozen=True)
class SingleBodies:
    """Every frame's body, z up, the floor at z = 0; its height, its tilt and its pose."""

    start: StartMixture
    size: float
    """Of the person, in sizes of the trained body."""
    weight: float
    """Factor on the cost: frames of a motion are no independent bodies."""

    def at(self, sequence: BodySequence) -> Linearised:
        """Linearise around a sequence; each frame's component may change with it."""
        best, white, _ = self._best(sequence)
        count = sequence.count
        J = np.zeros((count, POSE, FRAME_DIM))
        J[:, 0, TURNS + 2] = 1.0 / self.size
        J[:, 1:4, :3] = skew(sequence.R[:, 0, 2])
        by_turn = inverse_right_jacobian(log_so3(sequence.R[:, list(TURNING)]))
        for i, j in enumerate(TURNING):
            J[:, 4 + 3 * i : 7 + 3 * i, 3 * j : 3 * j + 3] = by_turn[:, i]
        scale = np.sqrt(self.weight)
        rows = LinkedRows(np.arange(count), -scale * white, scale * self._whitening[best] @ J)
        return Linearised((rows,), lambda other: self.weight * float(self._best(other)[2].sum()))

    @property
    def _whitening(self) -> Float[np.ndarray, "C P P"]:
        """L^-1 of the marginal: a corner of that of the whole, which is triangular."""
        return self.start.whitening[:, :POSE, :POSE]

    def _best(
        self, sequence: BodySequence
    ) -> tuple[Int[np.ndarray, "T"], Float[np.ndarray, "T P"], Float[np.ndarray, "T"]]:
        """Return each frame's best component, what it whitens the body to, and its energy."""
        count = sequence.count
        rotvec = log_so3(sequence.R[:, list(TURNING)]).reshape(count, -1)
        height = sequence.pelvis[:, 2:] / self.size
        y = np.concatenate([height, sequence.R[:, 0, 2], rotvec], -1)
        left = y[:, None] - self.start.means[:, :POSE]
        white = np.einsum("cij,tcj->tci", self._whitening, left, optimize=True)
        steps = np.log(np.diagonal(self.start.factors, axis1=1, axis2=2)[:, POSE:]).sum(-1)
        energies = 0.5 * (white**2).sum(-1) - (self.start.log_weights + steps)
        best, which = energies.argmin(1), np.arange(count)
        return best, white[which, best], energies[which, best]
