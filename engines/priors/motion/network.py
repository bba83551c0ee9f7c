"""HuMoR's networks for NumPy: the conditional prior and the decoder, with their derivatives.

    prior    x -> mean, log std of z           x: the standardised state
    decoder  x, z -> step                      z goes into every layer

Hidden layers are SiLU. Derivatives are propagated backwards from the outputs that are asked for.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.priors.motion.layout import FPS, NUM_STATE, STARTS, STATE, STEP

LOG_STD_RANGE = (-6.0, 2.0)
"""Bounds of the logarithm of the latent's standard deviation."""
Layers = tuple[tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_"]], ...]
_LAST_STEP = np.concatenate(
    [np.arange(STARTS[n], STARTS[n] + STATE[n]) for n in ("root_velocity", "root_rate", "rates")]
)
"""Where a state has the step that led to it, per second."""


@dataclass(frozen=True)
class MotionNetwork:
    """The weights."""

    mean: Float[np.ndarray, "F"]
    """Of the states in training."""
    std: Float[np.ndarray, "F"]
    scale: Float[np.ndarray, "63"]
    """Of the decoder's outputs, metres and radians."""
    damping: Float[np.ndarray, "63"]
    """Share of the last step that the decoder's output is added to."""
    sigma: Float[np.ndarray, "63"]
    """Standard deviation of a step, given state and latent, metres and radians."""
    prior_layers: Layers
    decoder_layers: Layers

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "MotionNetwork":
        """Take what a file holds.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit together, or hold what is not finite.
        """
        mean, std = (_finite(arrays, name, (NUM_STATE,)) for name in ("mean", "std"))
        scale, damping, sigma = (
            _finite(arrays, name, (STEP,)) for name in ("scale", "damping", "sigma")
        )
        if min(std.min(), scale.min(), sigma.min()) <= 0:
            raise ValueError("scales must be positive")
        prior = read_layers(arrays, "prior", NUM_STATE, 0)
        latent = len(prior[-1][1]) // 2
        decoder = read_layers(arrays, "decoder", NUM_STATE + latent, latent)
        if len(decoder[-1][1]) != STEP or len(prior[-1][1]) % 2 or not latent:
            raise ValueError("its networks have other outputs")
        return MotionNetwork(mean, std, scale, damping, sigma, prior, decoder)

    @property
    def latent(self) -> int:
        """Numbers of z, L."""
        return len(self.prior_layers[-1][1]) // 2

    def prior(
        self, state: Float[np.ndarray, "K F"]
    ) -> tuple[Float[np.ndarray, "K L"], Float[np.ndarray, "K L"]]:
        """Return mean and standard deviation of z after states."""
        out, _ = _through(self.prior_layers, self._standardised(state), None)
        mean, log_std = np.split(out, 2, -1)
        return mean, np.exp(log_std.clip(*LOG_STD_RANGE))

    def decode(
        self, state: Float[np.ndarray, "K F"], z: Float[np.ndarray, "K L"]
    ) -> Float[np.ndarray, "K 63"]:
        """Return the mean of the step."""
        x = self._standardised(state)
        out, _ = _through(self.decoder_layers, x, z.astype(np.float32))
        return self._step(state, out)

    def mean_jacobian(self, state: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "K L F"]:
        """Differentiate the prior's mean by the state."""
        _, slopes = _through(self.prior_layers, self._standardised(state), None)
        by_x, _ = _backwards(self.prior_layers, slopes, self.latent, 0)
        return by_x / self.std

    def decode_jacobian(
        self, state: Float[np.ndarray, "K F"], z: Float[np.ndarray, "K L"]
    ) -> tuple[Float[np.ndarray, "K 63"], Float[np.ndarray, "K 63 F"], Float[np.ndarray, "K 63 L"]]:
        """Decode, and differentiate the step by state and latent."""
        out, slopes = _through(self.decoder_layers, self._standardised(state), z.astype(np.float32))
        by_x, by_z = _backwards(self.decoder_layers, slopes, STEP, self.latent)
        by_state = by_x * (self.scale[:, None] / self.std)
        by_state[:, np.arange(STEP), _LAST_STEP] += self.damping / FPS
        return self._step(state, out), by_state, by_z * self.scale[:, None]

    def latent_jacobian(
        self, state: Float[np.ndarray, "K F"], z: Float[np.ndarray, "K L"]
    ) -> tuple[Float[np.ndarray, "K 63"], Float[np.ndarray, "K 63 L"]]:
        """Decode the step, and differentiate it by the latent alone."""
        layers, skip = self.decoder_layers, self.latent
        out, slopes = _through(layers, self._standardised(state), z.astype(np.float32))
        forward = np.broadcast_to(layers[0][0][:, -skip:].T, (len(z), skip, len(layers[0][1])))
        for (weight, _), slope in zip(layers[1:], slopes, strict=True):
            forward = (forward * slope[:, None]) @ weight[:, :-skip].T + weight[:, -skip:].T
        by_z = forward.swapaxes(-1, -2) * self.scale[:, None]
        return self._step(state, out), by_z

    def _standardised(self, state: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "K F"]:
        return ((state - self.mean) / self.std).astype(np.float32)

    def _step(
        self, state: Float[np.ndarray, "K F"], out: Float[np.ndarray, "K 63"]
    ) -> Float[np.ndarray, "K 63"]:
        return self.damping / FPS * state[:, _LAST_STEP] + self.scale * out


def _through(
    layers: Layers, x: Float[np.ndarray, "K _"], skip: Float[np.ndarray, "K L"] | None
) -> tuple[Float[np.ndarray, "K O"], list[Float[np.ndarray, "K H"]]]:
    """Evaluate layers; return the slopes of the hidden units too."""
    slopes = []
    for i, (weight, bias) in enumerate(layers):
        x = (x if skip is None else np.concatenate([x, skip], -1)) @ weight.T + bias
        if i + 1 < len(layers):
            gate = sigmoid(x)
            slopes.append(gate * (1.0 + x * (1.0 - gate)))
            x = x * gate
    return x, slopes


def _backwards(
    layers: Layers, slopes: list[Float[np.ndarray, "K H"]], outputs: int, skip: int
) -> tuple[Float[np.ndarray, "K O X"], Float[np.ndarray, "K O L"]]:
    """Differentiate the first outputs by the input and by what skips to every layer."""
    count = len(slopes[0])
    back = np.broadcast_to(layers[-1][0][:outputs], (count, outputs, layers[-1][0].shape[1]))
    by_skip = back[..., back.shape[-1] - skip :]
    for (weight, _), slope in zip(layers[-2::-1], slopes[::-1], strict=True):
        back = (back[..., : slope.shape[-1]] * slope[:, None]) @ weight
        by_skip = by_skip + back[..., back.shape[-1] - skip :]
    return back[..., : back.shape[-1] - skip], by_skip


def evaluate(layers: Layers, x: Float[np.ndarray, "K _"]) -> Float[np.ndarray, "K O"]:
    """Evaluate layers with SiLU between them."""
    return _through(layers, x, None)[0]


def sigmoid(x: Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
    """1 / (1 + exp(-x)), without overflow."""
    return 1.0 / (1.0 + np.exp(-x.clip(-60.0, 60.0)))


def read_layers(arrays: dict[str, np.ndarray], name: str, inputs: int, skip: int) -> Layers:
    """Read the layers of one network, `skip` inputs of which go into every layer.

    Raises:
        KeyError: an array is missing.
        ValueError: the layers do not fit together, or hold what is not finite.
    """
    layers = []
    width = inputs
    for i in range(sum(key.startswith(f"{name}.") and key.endswith(".bias") for key in arrays)):
        bias = arrays[f"{name}.{i}.bias"]
        weight = _finite(arrays, f"{name}.{i}.weight", (bias.size, width))
        layers.append((weight, _finite(arrays, f"{name}.{i}.bias", (bias.size,))))
        width = bias.size + skip
    if len(layers) < 2:
        raise ValueError(f"its {name} has no hidden layer")
    return tuple(layers)


def _finite(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(arrays[name], np.float32)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array
