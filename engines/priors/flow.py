r"""The flow: exact density of 21 joint rotations, its gradient, and samples.

Rotation vectors y pass through a radial map of the ball of radius pi to R^3, x = (pi atanh(t / pi)
/ t) y with t = |y|, then through affine couplings to z, which is N(0, I) (`trainer.priors.flow`).
With s the couplings' log scales, the energy is the negative log density against the Haar measure:

    E = |z|^2 / 2 + sum s + sum_j l(t_j)
    l(t) = 2 log(t / (pi atanh(t / pi))) + log(1 - t^2 / pi^2) + log((2 - 2 cos t) / t^2)

up to a constant. The gradient is one backward pass, written out; rows have the average curvature
(`curvature.py`). The hands cost nothing; collars, which no recording measures, were trained as
normal with a standard deviation of 0.1 rad per axis.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from engines.fitting.bodies import Bodies
from engines.fitting.residuals import Rows
from engines.priors.curvature import NUM_TURNS, Curvature
from engines.priors.descent import descend
from engines.priors.layers import Linear, silu, stacked_layers
from engines.priors.turns import ARTICULATED, coordinates, turn_gradient
from engines.types import NUM_JOINTS

_KEPT = NUM_TURNS // 2
_MOST = 0.9995
"""Share of pi beyond which rotation vectors are taken as lying there."""


class Coupling(NamedTuple):
    """Half of the numbers scale and shift the other half."""

    first: Linear
    second: Linear
    last: Linear
    order: Int[np.ndarray, "63"]
    """Where the numbers go before it, in the direction of sampling."""


class _Pass(NamedTuple):
    """What the backward pass needs of a coupling."""

    slopes: tuple[Float[np.ndarray, "K H"], Float[np.ndarray, "K H"]]
    """Of the activations."""
    tanh: Float[np.ndarray, "K 32"]
    """Log scales over their bound."""
    shrink: Float[np.ndarray, "K 32"]
    """exp(-s)."""
    moved: Float[np.ndarray, "K 32"]
    """What came out."""


@dataclass(frozen=True)
class FlowPrior:
    """The weights."""

    name: ClassVar[str] = "flow"
    mean: Float[np.ndarray, "63"]
    """Of x."""
    std: Float[np.ndarray, "63"]
    bound: float
    """Of a log scale."""
    couplings: tuple[Coupling, ...]
    """In the order of sampling."""
    curvature: Curvature

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "FlowPrior":
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays are no flow.
        """
        orders = np.asarray(arrays["permutations"], np.int64)
        if not (np.sort(orders, -1) == np.arange(NUM_TURNS)).all():
            raise ValueError("its permutations are none")
        first = stacked_layers(arrays, "first", len(orders), _KEPT)
        second = stacked_layers(arrays, "second", len(orders), first[0].outputs)
        last = stacked_layers(
            arrays, "last", len(orders), second[0].outputs, 2 * (NUM_TURNS - _KEPT)
        )
        mean, std = (np.asarray(arrays[name], np.float32) for name in ("mean", "std"))
        bound = float(arrays["bound"])
        if mean.shape != (NUM_TURNS,) or std.shape != mean.shape:
            raise ValueError("mean and std have other sizes")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and std.min() > 0 < bound):
            raise ValueError("std and bound must be positive")
        couplings = tuple(
            Coupling(*parts) for parts in zip(first, second, last, orders, strict=True)
        )
        return FlowPrior(mean, std, bound, couplings, Curvature.of(arrays))

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return negative log densities against the Haar measure, nats up to a constant."""
        return self._forward(coordinates(R, ARTICULATED))[0]

    def log_density(self, rotvec: Float[np.ndarray, "K 21 3"]) -> Float[np.ndarray, "K"]:
        """Return the log density against the Haar measure, whose total is 8 pi^2 for each joint."""
        constant = np.log(self.std.astype(np.float64)).sum() + 0.5 * NUM_TURNS * math.log(
            2 * math.pi
        )
        return -self._forward(rotvec)[0] - constant

    def gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return energies and their derivative by turns; see `Differentiable`."""
        y = coordinates(R, ARTICULATED)
        energy, z, passes = self._forward(y)
        grad = z
        for coupling, one in zip(self.couplings, reversed(passes), strict=True):
            grad = _backward(coupling, one, grad[:, coupling.order])
        by_x = (grad / self.std).astype(y.dtype, copy=False).reshape(y.shape)
        return energy, turn_gradient(_radial_backward(y, by_x), y, ARTICULATED)

    def __call__(self, bodies: Bodies) -> Rows:
        """Return 63 rows; see `curvature.py`."""
        return self.curvature.rows(*self.gradient(bodies.R))

    def sample(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 23 3"]:
        """Draw poses, their hands straight: rotation vectors, radians."""
        u = rng.standard_normal((count, NUM_TURNS)).astype(np.float32)
        for coupling in self.couplings:
            u = u[:, coupling.order]
            kept, moved = u[:, :_KEPT], u[:, _KEPT:]
            _, tanh, shift = _scale_and_shift(coupling, kept, self.bound)
            u = np.concatenate([kept, moved * np.exp(self.bound * tanh) + shift], 1)
        x = (u * self.std + self.mean).reshape(count, -1, 3)
        length = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
        out = np.zeros((count, NUM_JOINTS - 1, 3), np.float32)
        out[:, : len(ARTICULATED)] = x * (math.pi * np.tanh(length / math.pi) / length)
        return out

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Descend the energy by preconditioned steps, each halved until it does not rise."""
        return descend(self.gradient, lambda _, gradient: self.curvature.step(gradient), R, steps)

    def _forward(
        self, y: Float[np.ndarray, "K 21 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 63"], list[_Pass]]:
        """Return energies, noise z, and what the backward pass needs."""
        x, volume = _radial(y)
        u = (x.reshape(len(x), -1) - self.mean) / self.std
        energy = volume.sum(-1)
        passes: list[_Pass] = []
        for coupling in reversed(self.couplings):
            kept, moved = u[:, :_KEPT], u[:, _KEPT:]
            slopes, tanh, shift = _scale_and_shift(coupling, kept, self.bound)
            shrink = np.exp(-self.bound * tanh)
            moved = (moved - shift) * shrink
            passes.append(_Pass(slopes, tanh, shrink, moved))
            energy = energy + self.bound * tanh.sum(-1)
            u = np.empty_like(u)
            u[:, coupling.order[:_KEPT]] = kept
            u[:, coupling.order[_KEPT:]] = moved
        return energy + 0.5 * np.einsum("ki,ki->k", u, u), u, passes


def _scale_and_shift(
    coupling: Coupling, kept: Float[np.ndarray, "K 31"], bound: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Return the slopes of both activations, the bounded log scale over its bound, the shift."""
    hidden, first = silu(coupling.first(kept))
    hidden, second = silu(coupling.second(hidden))
    out = coupling.last(hidden)
    raw, shift = np.split(out, 2, axis=-1)
    return (first, second), np.tanh(raw / bound), shift


def _backward(
    coupling: Coupling, one: _Pass, grad: Float[np.ndarray, "K 63"]
) -> Float[np.ndarray, "K 63"]:
    """Take the gradient by a coupling's outputs (kept, moved) to its inputs."""
    by_moved = grad[:, _KEPT:] * one.shrink
    by_raw = (1.0 - grad[:, _KEPT:] * one.moved) * (1.0 - one.tanh**2)
    back = coupling.last.backward(np.concatenate([by_raw, -by_moved], 1))
    back = coupling.second.backward(back * one.slopes[1])
    back = coupling.first.backward(back * one.slopes[0])
    return np.concatenate([grad[:, :_KEPT] + back, by_moved], 1)


def _radial(
    y: Float[np.ndarray, "K J 3"],
) -> tuple[Float[np.ndarray, "K J 3"], Float[np.ndarray, "K J"]]:
    """Map y to x; also l(t), see above."""
    t, s, near_zero = _lengths(y)
    c = np.where(near_zero, 1.0 + s * s / 3.0, np.arctanh(s) / s)
    chord = np.where(near_zero, -t * t / 12.0, 2.0 * np.log(2.0 * np.sin(0.5 * t) / t))
    volume = -2.0 * np.log(c) + np.log1p(-s * s) + chord
    return y * c[..., None], volume


def _radial_backward(
    y: Float[np.ndarray, "K J 3"], by_x: Float[np.ndarray, "K J 3"]
) -> Float[np.ndarray, "K J 3"]:
    """Take the gradient by x to y, and add that of l(t).

    With c = atanh(s) / s, s = t / pi: x = c y, dx/dy = c I + c'(t) / t y y^T.
    """
    t, s, near_zero = _lengths(y)
    c = np.where(near_zero, 1.0 + s * s / 3.0, np.arctanh(s) / s)
    slope = 1.0 / (1.0 - s * s)
    # c'(t) / t, and l'(t) / t
    bend = np.where(near_zero, 2.0 / (3.0 * math.pi**2), (slope - c) / (t * t))
    turn = np.where(near_zero, -1.0 / 6.0, 1.0 / (t * np.tan(0.5 * t)) - 2.0 / (t * t))
    along = np.einsum("kji,kji->kj", y, by_x)
    by_volume = -2.0 * bend / c - 2.0 * slope / math.pi**2 + turn
    out = c[..., None] * by_x + (bend * along + by_volume)[..., None] * y
    return out.astype(y.dtype, copy=False)


def _lengths(y: Float[np.ndarray, "K J 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return t = |y| and t / pi, both safe to divide by, and where t is near zero."""
    squared = np.einsum("kji,kji->kj", y, y)
    t = np.sqrt(np.maximum(squared, 1e-12))
    s = np.minimum(t / math.pi, _MOST).astype(y.dtype, copy=False)
    return t, s, squared < 1e-4
