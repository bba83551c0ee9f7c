"""The coordinates that a solver moves bodies in: turns of every joint, or a latent code.

Rows of residuals are derived by the 85 coordinates of `engines.coordinates`. A chart says which
numbers the solver looks for instead, which bodies they make, and how derivatives by the 85 become
derivatives by them. `Turns` takes the 85 as they are. `Latent` takes the pose of the body from a
decoder: there the prior of the code, N(0, I), is the whole pose prior (Pavlakos et al., Expressive
Body Capture, 2019), and stands in the anchor.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from engines.coordinates import DIM, TURNS
from engines.fitting.bodies import Bodies, moved, pose, take
from engines.kernels import Skeleton
from engines.rotations import exp_so3, right_jacobian
from engines.types import NUM_BETAS, NUM_JOINTS


@runtime_checkable
class Chart(Protocol):
    """Coordinates of K bodies; the step 0 is where they start."""

    @property
    def count(self) -> int:
        """K."""
        ...

    @property
    def dim(self) -> int:
        """Number of coordinates, N."""
        ...

    def take(self, index: Int[np.ndarray, "M"]) -> "Chart":
        """Return the chart of some of the bodies, a body as often as it is named."""
        ...

    def bodies(self, step: Float[np.ndarray, "K N"]) -> Bodies:
        """Return the bodies after a step each."""
        ...

    def derivative(
        self, J: Float[np.ndarray, "k r D"], step: Float[np.ndarray, "k N"]
    ) -> Float[np.ndarray, "k r N"]:
        """Turn derivatives by the coordinates of moved bodies into derivatives by the step.

        Args:
            J: of all bodies, or of the first alone.
            step: that they were moved by.
        """
        ...


@dataclass(frozen=True)
class Turns:
    """The 85 coordinates themselves, around bodies to start from."""

    skeleton: Skeleton
    start: Bodies

    @property
    def count(self) -> int:
        """K."""
        return self.start.count

    @property
    def dim(self) -> int:
        """85."""
        return DIM

    def take(self, index: Int[np.ndarray, "M"]) -> "Turns":
        """Return the chart of some of the bodies, a body as often as it is named."""
        return replace(self, start=take(self.start, index))

    def bodies(self, step: Float[np.ndarray, "K D"]) -> Bodies:
        """Return the bodies after a step each."""
        return moved(self.skeleton, self.start, step)

    def derivative(
        self, J: Float[np.ndarray, "k r D"], step: Float[np.ndarray, "k D"]
    ) -> Float[np.ndarray, "k r D"]:
        """Turn derivatives by a turn of the moved bones into derivatives by the step's turns.

        Turns by exp(e) exp(d) are turns by exp(e + J_r(e)^-1 d).
        """
        by_turn = J[..., :TURNS].reshape(*J.shape[:2], NUM_JOINTS, 3).swapaxes(1, 2)
        turns = right_jacobian(step[:, :TURNS].reshape(-1, NUM_JOINTS, 3))
        by_step = (by_turn @ turns).swapaxes(1, 2).reshape(*J.shape[:2], TURNS)
        return np.concatenate([by_step, J[..., TURNS:]], -1)


@runtime_checkable
class Decoder(Protocol):
    """What makes poses of codes that are N(0, I) a priori."""

    @property
    def dim(self) -> int:
        """Numbers of the code, Z."""
        ...

    def decode(self, z: Float[np.ndarray, "K Z"]) -> Float[np.ndarray, "K 24 3 3"]:
        """Return the poses of codes; the root, and joints that it does not know, are I."""
        ...

    def decode_with_jacobian(
        self, z: Float[np.ndarray, "K Z"]
    ) -> tuple[Float[np.ndarray, "K 24 3 3"], Float[np.ndarray, "K 24 3 Z"]]:
        """Decode, and differentiate: R(z + d) = R(z) exp(J d) to first order."""
        ...

    def encode(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K Z"], Float[np.ndarray, "K Z"]]:
        """Return mean and standard deviation of the codes of poses."""
        ...


@dataclass(frozen=True)
class Latent:
    """A code z for the pose, and the root, shape and position as they are.

    A step (e, z, b, p) of 16 + Z numbers makes a body of the pose decode(z), the root turned by e,
    and shape and pelvis moved by b and p: the code is the body's own and no difference.
    """

    skeleton: Skeleton
    decoder: Decoder
    start: Bodies
    """Its pose below the root counts for nothing."""

    @property
    def count(self) -> int:
        """K."""
        return self.start.count

    @property
    def dim(self) -> int:
        """16 + Z."""
        return 3 + self.decoder.dim + NUM_BETAS + 3

    def take(self, index: Int[np.ndarray, "M"]) -> "Latent":
        """Return the chart of some of the bodies, a body as often as it is named."""
        return replace(self, start=take(self.start, index))

    def bodies(self, step: Float[np.ndarray, "K N"]) -> Bodies:
        """Return the bodies of codes, moved."""
        z, rest = self._split(step)
        R = self.decoder.decode(z).astype(step.dtype)
        R[:, 0] = self.start.R[:, 0] @ exp_so3(step[:, :3])
        betas, pelvis = rest[:, :NUM_BETAS], rest[:, NUM_BETAS:]
        return pose(self.skeleton, R, self.start.betas + betas, self.start.pelvis + pelvis)

    def derivative(
        self, J: Float[np.ndarray, "k r D"], step: Float[np.ndarray, "k N"]
    ) -> Float[np.ndarray, "k r N"]:
        """Chain the derivatives with those of the decoder."""
        z, _ = self._split(step)
        _, by_code = self.decoder.decode_with_jacobian(z)
        by_code = by_code.reshape(len(z), TURNS, -1).astype(step.dtype)
        root = J[..., :3] @ right_jacobian(step[:, :3])
        return np.concatenate([root, J[..., 3:TURNS] @ by_code[:, 3:], J[..., TURNS:]], -1)

    def _split(
        self, step: Float[np.ndarray, "k N"]
    ) -> tuple[Float[np.ndarray, "k Z"], Float[np.ndarray, "k 13"]]:
        end = 3 + self.decoder.dim
        return step[:, 3:end], step[:, end:]
