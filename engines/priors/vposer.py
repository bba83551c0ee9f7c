r"""VPoser: a variational autoencoder's latent code, and how well it reconstructs a pose.

As a prior of a code it is N(0, I) (`decode`, `decode_with_jacobian`: SMPLify-X moves the code). As
a prior of a pose its energy is

    E = |m(R)|^2 / 2 + sum_j |log(R'_j^T R_j)|^2 / (2 s_j^2)        R' = decode(m(R))

with the mean m of the encoder and the reconstruction error s_j per axis of validation poses. The
code alone tells nothing: broken poses have plausible codes too, but come back as other poses. The
gradient is exact, one backward pass. Rows have the constant curvature 1 / s_j^2 (`curvature.py`):
the reconstruction R' follows R along the poses that it knows and stays where R leaves them, so it
moves like a projection, and what is left of a turn, (I - D)^T S (I - D) with D = dR'/dR, is at most
S. From poses perturbed by 0.3 rad two steps of the solver do what else takes ten.

It knows the joints 1 to 21. The hands cost nothing and decode to none; the collars, which no
recording measures, decode to about none, with a standard deviation of 0.1 rad in the energy.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from engines.fitting.bodies import Bodies
from engines.fitting.residuals import Rows
from engines.priors.curvature import NUM_TURNS, SPAN, Curvature
from engines.priors.layers import Linear, layer, leaky_relu, softplus
from engines.priors.turns import ARTICULATED, coordinates, cross, turn_gradient
from engines.rotations import log_so3
from engines.types import NUM_JOINTS

_KNOWN = slice(ARTICULATED[0], ARTICULATED[-1] + 1)
_COUNT = len(ARTICULATED)


class _Code(NamedTuple):
    """The encoder's pass."""

    mean: Float[np.ndarray, "K Z"]
    std: Float[np.ndarray, "K Z"]
    slope: Float[np.ndarray, "K H"]


class _Pose(NamedTuple):
    """The decoder's pass."""

    R: Float[np.ndarray, "K 21 3 3"]
    by_six: Float[np.ndarray, "K 21 3 6"]
    """Turn of each joint by the six numbers that it is made of."""
    slopes: tuple[Float[np.ndarray, "K H"], Float[np.ndarray, "K H"]]


@dataclass(frozen=True)
class VPoserPrior:
    """The weights."""

    name: ClassVar[str] = "vposer"
    first: Linear
    heads: Linear
    """To means, and to standard deviations before the softplus."""
    decoder: tuple[Linear, Linear, Linear]
    sigma: Float[np.ndarray, "21"]
    """Of the reconstruction, radians per axis."""

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "VPoserPrior":
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays are no autoencoder of poses.
        """
        first = layer(arrays, "first", NUM_TURNS)
        heads = layer(arrays, "heads", first.outputs)
        start = layer(arrays, "decoder_first", heads.outputs // 2)
        second = layer(arrays, "decoder_second", start.outputs)
        last = layer(arrays, "decoder_last", second.outputs, 6 * _COUNT)
        sigma = np.asarray(arrays["sigma"], np.float32)
        if sigma.shape != (_COUNT,) or not (np.isfinite(sigma).all() and sigma.min() > 0):
            raise ValueError(f"sigma must be {_COUNT} positive numbers")
        return VPoserPrior(first, heads, (start, second, last), sigma)

    @property
    def dim(self) -> int:
        """Numbers of the code, Z."""
        return self.heads.outputs // 2

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return code and reconstruction error in nats; see above."""
        code = self._encode(coordinates(R, ARTICULATED))
        return self._energy(R, code, self._decode(code.mean))[0]

    def gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return energies and their derivative by turns; see `Differentiable`.

        With e = log(R'^T R), a turn of R changes |e|^2 / 2 by e, the same turn of R' by -e.
        """
        y = coordinates(R, ARTICULATED)
        code = self._encode(y)
        pose = self._decode(code.mean)
        energy, error = self._energy(R, code, pose)
        pull = error / self.sigma[:, None] ** 2
        by_six = -np.einsum("kjis,kji->kjs", pose.by_six, pull).reshape(len(y), -1)
        start, second, last = self.decoder
        back = last.backward(by_six.astype(y.dtype, copy=False)) * pose.slopes[1]
        back = start.backward(second.backward(back) * pose.slopes[0]) + code.mean
        to_mean = Linear(self.heads.weight[: self.dim], self.heads.bias[: self.dim])
        by_y = self.first.backward(to_mean.backward(back) * code.slope)
        gradient = turn_gradient(by_y.reshape(y.shape), y, ARTICULATED)
        gradient[:, SPAN] += pull.reshape(len(y), -1)
        return energy, gradient

    def __call__(self, bodies: Bodies) -> Rows:
        """Return 63 rows; see `curvature.py`."""
        return self._curvature.rows(*self.gradient(bodies.R))

    def encode(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K Z"], Float[np.ndarray, "K Z"]]:
        """Return mean and standard deviation of the codes of poses."""
        code = self._encode(coordinates(R, ARTICULATED))
        return code.mean, code.std

    def decode(self, z: Float[np.ndarray, "K Z"]) -> Float[np.ndarray, "K 24 3 3"]:
        """Return the poses of codes; root and hands are not turned."""
        out = np.tile(np.eye(3, dtype=z.dtype), (len(z), NUM_JOINTS, 1, 1))
        out[:, _KNOWN] = self._decode(z).R
        return out

    def decode_with_jacobian(
        self, z: Float[np.ndarray, "K Z"]
    ) -> tuple[Float[np.ndarray, "K 24 3 3"], Float[np.ndarray, "K 24 3 Z"]]:
        """Decode, and differentiate: R(z + d) = R(z) exp(J d) to first order."""
        pose = self._decode(z)
        start, second, last = (one.weight_as(z.dtype) for one in self.decoder)
        tangents = pose.slopes[0][..., None] * start
        tangents = pose.slopes[1][..., None] * (second @ tangents)
        six = (last @ tangents).reshape(len(z), _COUNT, 6, -1)
        R = np.tile(np.eye(3, dtype=z.dtype), (len(z), NUM_JOINTS, 1, 1))
        J = np.zeros((len(z), NUM_JOINTS, 3, self.dim), z.dtype)
        R[:, _KNOWN], J[:, _KNOWN] = pose.R, pose.by_six @ six
        return R, J

    def sample(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 23 3"]:
        """Decode codes of N(0, I): rotation vectors, radians."""
        return log_so3(
            self.decode(rng.standard_normal((count, self.dim)).astype(np.float32))[:, 1:]
        )

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Encode and decode, as often as steps are asked for; what has less energy before stays."""
        energy = self.energy(R)
        for _ in range(steps):
            trial = R.copy()
            trial[:, _KNOWN] = self._decode(self.encode(R)[0]).R
            trial_energy = self.energy(trial)
            better = trial_energy < energy
            R = np.where(better[:, None, None, None], trial, R)
            energy = np.where(better, trial_energy, energy)
        return R

    @cached_property
    def _curvature(self) -> Curvature:
        return Curvature(np.diag(np.repeat(1.0 / self.sigma.astype(np.float64) ** 2, 3)))

    def _encode(self, y: Float[np.ndarray, "K 21 3"]) -> _Code:
        hidden, slope = leaky_relu(self.first(y.reshape(len(y), -1)))
        mean, raw = np.split(self.heads(hidden), 2, axis=-1)
        return _Code(mean, softplus(raw)[0], slope)

    def _decode(self, z: Float[np.ndarray, "K Z"]) -> _Pose:
        start, second, last = self.decoder
        hidden, first_slope = leaky_relu(start(z))
        hidden, second_slope = leaky_relu(second(hidden))
        six = last(hidden).reshape(len(z), _COUNT, 2, 3)
        return _Pose(*_gram_schmidt(six), (first_slope, second_slope))

    def _energy(
        self, R: Float[np.ndarray, "K 24 3 3"], code: _Code, pose: _Pose
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 21 3"]]:
        """Return energies, and log(R'^T R)."""
        error = log_so3(np.swapaxes(pose.R, -1, -2) @ R[:, _KNOWN])
        white = error / self.sigma[:, None].astype(error.dtype, copy=False)
        codes = np.einsum("kz,kz->k", code.mean, code.mean)
        return 0.5 * (codes + np.einsum("kji,kji->k", white, white)), error


def _gram_schmidt(
    six: Float[np.ndarray, "K J 2 3"],
) -> tuple[Float[np.ndarray, "K J 3 3"], Float[np.ndarray, "K J 3 6"]]:
    """Return rotations whose first two columns span two vectors a and c, and the turn by (a, c).

    With the columns u, v, w: the turn e has e_x = w.dv, e_y = -w.du, e_z = v.du in the rotation's
    axes, du = da across u / |a|, and dv = (dc - (u.c) du) across u and v / |c - (u.c) u|.
    """
    a, c = six[..., 0, :], six[..., 1, :]
    length_a = np.maximum(np.sqrt(np.einsum("kji,kji->kj", a, a)), 1e-8)[..., None]
    u = a / length_a
    along = np.einsum("kji,kji->kj", u, c)[..., None]
    across = c - along * u
    length_c = np.maximum(np.sqrt(np.einsum("kji,kji->kj", across, across)), 1e-8)[..., None]
    v = across / length_c
    w = cross(u, v)
    by = np.zeros((*six.shape[:2], 3, 6), six.dtype)
    by[..., 0, :3] = -along / (length_a * length_c) * w
    by[..., 0, 3:] = w / length_c
    by[..., 1, :3] = -w / length_a
    by[..., 2, :3] = v / length_a
    return np.stack([u, v, w], -1), by
