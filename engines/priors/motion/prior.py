"""HuMoR as a density of motion: what follows upon two bodies, and how motion begins.

Given the state x of two bodies, the step y to the third has the density

    p(y | x) = integral N(y; d(x, z), diag sigma^2) N(z; m(x), diag s(x)^2) dz

The energy of a frame is Laplace's approximation of -log p(y | x): with the best z,

    E = |(y - d(x, z)) / sigma|^2 / 2 + |(z - m) / s|^2 / 2
        + log det (diag sigma^2 + G diag s^2 G^T) / 2 + 63/2 log 2 pi         G = dd/dz

The encoder of the training is not needed: a few Gauss-Newton steps find z from what the decoder
leaves. Linearised there, y is normal with the covariance C = diag sigma^2 + G diag s^2 G^T, which
gives the rows L^-1 (y - d(x, z) - G (m(x) - z)) with C = L L^T. For a step of a fit, s and G are
held; the gradient of the rows is that of the first line of E, exactly.

The bodies are in a world that is z up, metres, the floor at z = 0, at 30 frames per second. Collars
and hands, which the recordings do not measure, wander about rest (`unmeasured.py`).
"""

import math
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from engines.arrays import read_npz
from engines.coordinates import TURNS
from engines.errors import PenumbraError
from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, Linearised, LinkedRows
from engines.priors.motion.bodies import SingleBodies
from engines.priors.motion.contact import ContactNetwork
from engines.priors.motion.latents import best_latents, step_covariance
from engines.priors.motion.layout import BODY, CONTACTS, STEP
from engines.priors.motion.network import MotionNetwork
from engines.priors.motion.start import StartMixture
from engines.priors.motion.state import Pairs, PelvisFrame, stepped
from engines.priors.motion.unmeasured import Unmeasured

MAX_BYTES = 2**24
"""The file has some two megabytes."""


@dataclass(frozen=True)
class MotionPrior:
    """A prior over sequences of bodies; `engines.fitting.sequences.sequence.SequenceResiduals`."""

    name: ClassVar[str] = "humor"
    network: MotionNetwork
    contact: ContactNetwork
    rest: Float[np.ndarray, "22 3"]
    """Rest joints of the body that it was trained on, metres."""
    start: StartMixture
    size: float = 1.0
    """Of the person, in sizes of that body; motion is scaled by it."""
    unmeasured: Unmeasured = field(default_factory=Unmeasured)
    """Joints that the recordings do not measure."""

    @staticmethod
    def load(path: Path | None = None) -> "MotionPrior":
        """Read a prior that `python -m trainer.prior --kind humor` wrote; the shipped one if None.

        Raises:
            PenumbraError: the file is missing, damaged or something else.
        """
        if path is None:
            with as_file(files("engines") / "assets" / "priors" / "humor.npz") as shipped:
                return MotionPrior.load(Path(shipped))
        try:
            arrays = read_npz(path, max_bytes=MAX_BYTES)
            if str(arrays["kind"]) != MotionPrior.name:
                raise ValueError("its kind is another")
            return MotionPrior.of(arrays)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise PenumbraError(
                f"motion prior: {path} cannot be read ({error}); make it with "
                "python -m trainer.prior --kind humor."
            ) from error

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "MotionPrior":
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit together.
        """
        rest = np.asarray(arrays["rest"], np.float64)
        if rest.shape != (BODY, 3) or not np.isfinite(rest).all():
            raise ValueError(f"rest must hold {BODY} joints")
        networks = MotionNetwork.of(arrays), ContactNetwork.of(arrays)
        return MotionPrior(*networks, rest, StartMixture.of(arrays))

    def sized(self, size: float) -> "MotionPrior":
        """Return the prior for a person of another size."""
        return replace(self, size=size)

    def bodies(self, weight: float) -> SingleBodies:
        """Return what is known of single bodies, as rows with a factor on their cost."""
        return SingleBodies(self.start, self.size, weight)

    def predict(
        self, pairs: Pairs, z: Float[np.ndarray, "K L"] | None = None
    ) -> tuple[Float[np.ndarray, "K 24 3 3"], Float[np.ndarray, "K 3"]]:
        """Step from the second bodies of pairs.

        Args:
            pairs: of the world and the person's own size.
            z: latents; what is expected of them when None.

        Returns:
            Rotations and pelvis (metres) of the next bodies.
        """
        pairs = self._scaled(pairs)
        state = pairs.state(self.rest)
        if z is None:
            z, _ = self.network.prior(state)
        R, pelvis = stepped(pairs.R, pairs.pelvis, self.network.decode(state, z))
        return R, pelvis * self.size

    def rollout(
        self, pairs: Pairs, frames: int, rng: np.random.Generator | None = None
    ) -> tuple[Float[np.ndarray, "K T 24 3 3"], Float[np.ndarray, "K T 3"]]:
        """Go on from pairs of bodies, which are the first two frames.

        Args:
            pairs: K of them.
            frames: T, the first two included.
            rng: draws the latents; None follows what is expected.

        Returns:
            Rotations, and pelvises in metres.
        """
        R, pelvis = [pairs.R_before, pairs.R], [pairs.pelvis_before, pairs.pelvis]
        for _ in range(frames - 2):
            last = Pairs(R[-2], R[-1], pelvis[-2], pelvis[-1])
            z = None
            if rng is not None:
                mean, std = self.network.prior(self._scaled(last).state(self.rest))
                z = mean + std * rng.standard_normal(std.shape)
            R_next, pelvis_next = self.predict(last, z)
            R.append(R_next)
            pelvis.append(pelvis_next)
        return np.stack(R, 1), np.stack(pelvis, 1)

    def sample(
        self, count: int, frames: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "K T 24 3 3"], Float[np.ndarray, "K T 3"]]:
        """Draw motions: rotations, and pelvises in metres; each begins above the origin."""
        pairs = self.start.sample(count, rng)
        scaled = replace(
            pairs, pelvis_before=pairs.pelvis_before * self.size, pelvis=pairs.pelvis * self.size
        )
        return self.rollout(scaled, frames, rng)

    def energy(self, sequence: BodySequence) -> Float[np.ndarray, "M"]:
        """Return the energy of each frame from the third on, given the two before; nats."""
        states, steps = self._transitions(sequence)
        mean, std = self.network.prior(states)
        z, misfit = best_latents(self.network, states, steps, mean, std, mean)
        _, G = self.network.latent_jacobian(states, z)
        factor = np.linalg.cholesky(step_covariance(self.network, G, std))
        log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(-1)
        return misfit + log_det + 0.5 * STEP * math.log(2 * math.pi)

    def start_energy(self, sequence: BodySequence) -> float:
        """Return the energy of the first two bodies, nats up to a constant."""
        return float(self.start.energy(self._pairs(sequence).take(slice(1)))[0])

    def contacts(self, sequence: BodySequence) -> Float[np.ndarray, "M 4"]:
        """Return how probable it is that each of `CONTACTS` stands, from the third frame on.

        The last of three bodies is the one that the decoder makes of the best latent: what it
        cannot make is more likely noise than motion.
        """
        pairs = self._pairs(sequence)
        first, second = pairs.take(slice(-1)), pairs.take(slice(1, None))
        states, steps = first.state(self.rest), second.step()
        mean, std = self.network.prior(states)
        z, _ = best_latents(self.network, states, steps, mean, std, mean)
        return self.contacts_after(first, self.network.decode(states, z))

    def contacts_after(
        self, pairs: Pairs, steps: Float[np.ndarray, "K 63"]
    ) -> Float[np.ndarray, "K 4"]:
        """Return the same after steps from the second bodies of pairs, of the trained size."""
        bodies = (
            (pairs.R_before, pairs.pelvis_before),
            (pairs.R, pairs.pelvis),
            stepped(pairs.R, pairs.pelvis, steps),
        )
        return self.contact(np.stack([feet(self.rest, R, pelvis) for R, pelvis in bodies], 1))

    def at(self, sequence: BodySequence) -> Linearised:
        """Linearise around a sequence of at least three frames."""
        pairs = self._pairs(sequence)
        first, second = pairs.take(slice(-1)), pairs.take(slice(1, None))
        states, by_first, by_second = first.state_jacobian(self.rest)
        steps = second.step()
        step_second, step_third = second.step_jacobian()
        mean, std = self.network.prior(states)
        z, _ = best_latents(self.network, states, steps, mean, std, mean)
        predicted, by_state, G = self.network.decode_jacobian(states, z)
        by_state = by_state + G @ self.network.mean_jacobian(states)
        left = steps - predicted - (G @ (mean - z)[..., None])[..., 0]
        by_bodies = (-by_state @ by_first, step_second - by_state @ by_second, step_third)
        whitening = np.linalg.inv(np.linalg.cholesky(step_covariance(self.network, G, std)))
        J = whitening @ self._by_size(np.concatenate(by_bodies, -1))
        rows = LinkedRows(np.arange(len(left)), -(whitening @ left[..., None])[..., 0], J)

        def cost(other: BodySequence) -> float:
            states, steps = self._transitions(other)
            mean, _ = self.network.prior(states)
            _, misfit = best_latents(self.network, states, steps, mean, std, z)
            wandering = sum(float((part.residual**2).sum()) for part in self.unmeasured.rows(other))
            return float(misfit.sum()) + 0.5 * wandering + self.start_energy(other)

        return Linearised((rows, self._start_rows(pairs), *self.unmeasured.rows(sequence)), cost)

    def _pairs(self, sequence: BodySequence) -> Pairs:
        """Each two successive bodies of a sequence, in the size of the trained body."""
        pelvis = sequence.pelvis / self.size
        return Pairs(sequence.R[:-1], sequence.R[1:], pelvis[:-1], pelvis[1:])

    def _scaled(self, pairs: Pairs) -> Pairs:
        pelvis_before, pelvis = pairs.pelvis_before / self.size, pairs.pelvis / self.size
        return Pairs(pairs.R_before, pairs.R, pelvis_before, pelvis)

    def _transitions(
        self, sequence: BodySequence
    ) -> tuple[Float[np.ndarray, "K F"], Float[np.ndarray, "K 63"]]:
        """Return the states before the third and each later body, and the steps to them."""
        pairs = self._pairs(sequence)
        return pairs.take(slice(-1)).state(self.rest), pairs.take(slice(1, None)).step()

    def _by_size(self, J: Float[np.ndarray, "N r SD"]) -> Float[np.ndarray, "N r SD"]:
        """Turn derivatives by the scaled pelvis into those by the person's own, in place."""
        columns = J.reshape(*J.shape[:2], -1, FRAME_DIM)
        columns[..., TURNS:] /= self.size
        return J

    def _start_rows(self, pairs: Pairs) -> LinkedRows:
        residual, first, second = self.start.rows(pairs.take(slice(1)))
        return LinkedRows(
            np.zeros(1, int), residual, self._by_size(np.concatenate([first, second], -1))
        )


def feet(
    rest: Float[np.ndarray, "22 3"],
    R: Float[np.ndarray, "K 24 3 3"],
    pelvis: Float[np.ndarray, "K 3"],
) -> Float[np.ndarray, "K 4 3"]:
    """Return where `CONTACTS` are in the world, metres."""
    joints = PelvisFrame.of(rest, R).joints[:, list(CONTACTS)]
    return pelvis[:, None] + joints @ R[:, 0].swapaxes(-1, -2)
