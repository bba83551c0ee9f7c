"""What a prior over a body's pose can do.

Every kind has an energy and rows for the solver; the other protocols are what some of them can do
in addition. Weights against landmarks are 1: landmarks count in units of their standard deviation,
energies in nats. The root's orientation, shape and position are no pose and cost nothing. A prior
with a latent code is also `engines.fitting.charts.Decoder`.
"""

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from engines.fitting.bodies import Bodies
from engines.fitting.residuals import Rows


@runtime_checkable
class PosePrior(Protocol):
    """A prior; it is also `engines.fitting.residuals.Residuals`."""

    name: ClassVar[str]
    """Of its kind: `gmm`, `vposer`, `ndf`, `nrdf`, `flow`."""

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return what poses cost, nats up to a constant.

        The negative log density where there is one, else the cost that the fit pays.

        Args:
            R: rotation of each joint relative to its parent; that of the root is ignored.
        """
        ...

    def __call__(self, bodies: Bodies) -> Rows:
        """Return rows for Levenberg-Marquardt; their cost is the energy.

        The columns of the root's turn, shape and pelvis are zero.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A prior that tells its gradient without rows; every kind does."""

    def gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return the energies, and their derivative by turns R_j <- R_j exp(e_j) of the joints."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A prior that can be sampled."""

    def sample(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 23 3"]:
        """Draw poses: rotation vectors of the joints below the root, radians."""
        ...


@runtime_checkable
class Projector(Protocol):
    """A prior that finds a plausible pose near a given one."""

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Take poses towards plausible ones by a number of steps; the root stays."""
        ...
