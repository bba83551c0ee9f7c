r"""Distance fields: how far a pose lies from the poses that people take (Pose-NDF, NRDF).

A network f(q) >= 0 of 21 unit quaternions is about the distance to the nearest recorded pose, in
half angles a_j = arccos |q_j . q'_j|:

    Pose-NDF (Tiwari et al., 2022)   f ~ sqrt(sum_j a_j^2 / 2)
    NRDF (He et al., 2024)           f ~ (1/21) sum_j a_j

As a prior it is one row with the residual -f: E = w f^2 / (2 sigma^2), with the root mean square
sigma of f for real poses of people whom it was not trained on. Were deviations from the poses that
people take normal in all 63 turns, w = 63 would make that a negative log density, for f^2 has the
mean of 63 squares; w is chosen on validation images, and for Pose-NDF that is what comes out. The
gradient of f is one backward pass, so Jacobian and Gauss-Newton matrix are exact.

Each joint has a small network that takes its quaternion and its parent's features; parents are
those of the tree without root and hands. Quaternions have w >= 0, so one rotation is one input. The
hands cost nothing. The recordings do not measure collars, so a turned collar counts as far as any
other joint.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from engines.coordinates import DIM
from engines.fitting.bodies import Bodies
from engines.fitting.residuals import Rows
from engines.priors.descent import descend
from engines.priors.layers import Linear, layer, softplus
from engines.priors.turns import ARTICULATED, cross
from engines.rotations import matrix_to_quat_wxyz
from engines.types import NUM_JOINTS, PARENTS

COUNT = len(ARTICULATED)
TREE: tuple[int, ...] = tuple(PARENTS[joint] - 1 for joint in ARTICULATED)
"""Parent of each of the 21 joints among them; -1 where it is the root."""
FEATURES = 6
SHARPNESS = 100.0
"""Of the softplus."""
_KNOWN = slice(ARTICULATED[0], ARTICULATED[-1] + 1)
_TURNS = slice(3 * ARTICULATED[0], 3 * ARTICULATED[-1] + 3)


Field = TypeVar("Field", bound="DistanceField")


def _levels() -> tuple[tuple[int, ...], ...]:
    depth: list[int] = []
    for parent in TREE:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return tuple(
        tuple(j for j in range(COUNT) if depth[j] == level) for level in range(max(depth) + 1)
    )


LEVELS = _levels()
"""Joints by their depth: those of a level do not depend on each other."""


class _Encoder(NamedTuple):
    """The joints' networks, transposed: inputs (quaternion, parent's features) to features."""

    first: Float[np.ndarray, "21 10 H"]
    first_bias: Float[np.ndarray, "21 1 H"]
    second: Float[np.ndarray, "21 H 6"]
    second_bias: Float[np.ndarray, "21 1 6"]


@dataclass(frozen=True)
class DistanceField:
    """The weights."""

    encoder: _Encoder
    layers: tuple[Linear, ...]
    """From all features to the distance."""
    sigma: float
    """Root mean square of f for real poses."""
    weight: float
    """w, the factor that makes nats of f^2 / (2 sigma^2)."""

    @classmethod
    def of(cls: type[Field], arrays: dict[str, np.ndarray]) -> Field:
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays are no distance field.
        """
        names = ("first_weight", "first_bias", "second_weight", "second_bias")
        first, first_bias, second, second_bias = (
            np.asarray(arrays[f"joint_{name}"], np.float32) for name in names
        )
        hidden = first.shape[-1]
        shapes = ((COUNT, 4 + FEATURES, hidden), (COUNT, hidden))
        shapes += ((COUNT, hidden, FEATURES), (COUNT, FEATURES))
        parts = (first, first_bias, second, second_bias)
        if tuple(part.shape for part in parts) != shapes:
            raise ValueError("its joints' networks have other sizes")
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("its joints' networks hold numbers that are not finite")
        layers: list[Linear] = []
        width = COUNT * FEATURES
        while f"layer{len(layers)}_weight" in arrays:
            layers.append(layer(arrays, f"layer{len(layers)}", width))
            width = layers[-1].outputs
        sigma, weight = float(arrays["sigma"]), float(arrays["weight"])
        if not layers or width != 1 or not (0 < sigma < np.inf and 0 < weight < np.inf):
            raise ValueError("it must end in one number, and sigma and weight be positive")
        encoder = _Encoder(first, first_bias[:, None], second, second_bias[:, None])
        return cls(encoder, tuple(layers), sigma, weight)

    def distance(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return f of poses, radians of half angles."""
        return self._forward(matrix_to_quat_wxyz(R[:, _KNOWN]))[0]

    def energy(self, R: Float[np.ndarray, "K 24 3 3"]) -> Float[np.ndarray, "K"]:
        """Return w f^2 / (2 sigma^2)."""
        return self._energy(self.distance(R))

    def distance_gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return f, and its derivative by turns of all joints."""
        q = matrix_to_quat_wxyz(R[:, _KNOWN])
        f, slopes = self._forward(q)
        by_q = self._backward(slopes, len(q))
        # q (1, e / 2) turns q by e.
        w, v, by_w, by_v = q[..., :1], q[..., 1:], by_q[..., :1], by_q[..., 1:]
        out = np.zeros((len(q), 3 * NUM_JOINTS), q.dtype)
        out[:, _TURNS] = (0.5 * (w * by_v - by_w * v + cross(by_v, v))).reshape(len(q), -1)
        return f, out

    def gradient(
        self, R: Float[np.ndarray, "K 24 3 3"]
    ) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]:
        """Return energies and their derivative by turns; see `Differentiable`."""
        f, by_turn = self.distance_gradient(R)
        return self._energy(f), (self.weight * f / self.sigma**2)[:, None] * by_turn

    def __call__(self, bodies: Bodies) -> Rows:
        """Return one row."""
        f, by_turn = self.distance_gradient(bodies.R)
        J = np.zeros((len(f), 1, DIM), f.dtype)
        J[:, 0, : by_turn.shape[1]] = by_turn
        variance = np.full((len(f), 1), self.sigma**2 / self.weight, f.dtype)
        return Rows(-f[:, None], J, variance, self._energy(f))

    def _energy(self, f: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
        return 0.5 * self.weight * (f / self.sigma) ** 2

    def _forward(
        self, q: Float[np.ndarray, "K 21 4"]
    ) -> tuple[Float[np.ndarray, "K"], list[np.ndarray]]:
        """Return f, and the slopes of all activations."""
        slopes: list[np.ndarray] = []
        features = np.zeros((COUNT + 1, len(q), FEATURES), q.dtype)  # the last is the root's
        for level in LEVELS:
            joints = list(level)
            parents = [TREE[joint] for joint in joints]
            x = np.concatenate([q[:, joints].swapaxes(0, 1), features[parents]], -1)
            weights = [part[joints].astype(q.dtype, copy=False) for part in self.encoder]
            hidden, slope = softplus(x @ weights[0] + weights[1], SHARPNESS)
            slopes.append(slope)
            features[joints], slope = softplus(hidden @ weights[2] + weights[3], SHARPNESS)
            slopes.append(slope)
        x = features[:COUNT].swapaxes(0, 1).reshape(len(q), -1)
        for one in self.layers:
            x, slope = softplus(one(x), SHARPNESS)
            slopes.append(slope)
        return x[:, 0], slopes

    def _backward(self, slopes: list[np.ndarray], count: int) -> Float[np.ndarray, "K 21 4"]:
        """Take the derivative of f by the quaternions."""
        grad = np.ones((count, 1), slopes[0].dtype)
        slopes = list(slopes)
        for one in reversed(self.layers):
            grad = one.backward(grad * slopes.pop())
        by_feature = np.zeros((COUNT + 1, count, FEATURES), grad.dtype)
        by_feature[:COUNT] = grad.reshape(count, COUNT, FEATURES).swapaxes(0, 1)
        by_q = np.empty((count, COUNT, 4), grad.dtype)
        for level in reversed(LEVELS):
            joints = list(level)
            second, first = (
                part[joints].astype(grad.dtype, copy=False).swapaxes(1, 2)
                for part in (self.encoder.second, self.encoder.first)
            )
            by_hidden = (by_feature[joints] * slopes.pop()) @ second
            by_input = (by_hidden * slopes.pop()) @ first
            by_q[:, joints] = by_input[..., :4].swapaxes(0, 1)
            for row, joint in enumerate(joints):
                by_feature[TREE[joint]] += by_input[row, :, 4:]
        return by_q


@dataclass(frozen=True)
class PoseNdf(DistanceField):
    """Pose-NDF."""

    name: ClassVar[str] = "ndf"

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Descend by the paper's step, q <- q - f df/dq, in the metric of its distance.

        Where f is the distance sqrt(sum a^2 / 2), a turn of all joints by -8 f df/de leads to the
        nearest pose.
        """

        return descend(
            self.distance_gradient, lambda f, by_turn: -8.0 * f[:, None] * by_turn, R, steps
        )


@dataclass(frozen=True)
class Nrdf(DistanceField):
    """NRDF."""

    name: ClassVar[str] = "nrdf"
    rate: float = 0.3
    """Of `project`; the paper takes 0.01 and 200 steps, which leave 13 % of the distance."""

    def project(
        self, R: Float[np.ndarray, "K 24 3 3"], steps: int
    ) -> Float[np.ndarray, "K 24 3 3"]:
        """Descend by RDFGrad: each joint turns against its gradient by 2 `rate` f radians.

        The gradient of each joint lies in the tangent of its rotation and is normalised; the
        exponential map takes the step.
        """

        def step(f: np.ndarray, by_turn: np.ndarray) -> np.ndarray:
            each = by_turn.reshape(len(f), NUM_JOINTS, 3)
            length = np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-12)
            turn = -2.0 * self.rate * f[:, None, None] * each / length
            return turn.reshape(by_turn.shape)

        return descend(self.distance_gradient, step, R, steps)
