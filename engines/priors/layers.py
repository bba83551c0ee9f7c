"""Layers of the priors' networks, forward and backward, in NumPy.

Files keep weights in float16; they are evaluated in float32, or in float64 where arguments are, as
the tests of derivatives want it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Linear:
    """x -> x W^T + b."""

    weight: Float[np.ndarray, "O I"]
    bias: Float[np.ndarray, "O"]

    @property
    def outputs(self) -> int:
        """O."""
        return len(self.weight)

    def __call__(self, x: Float[np.ndarray, "*B I"]) -> Float[np.ndarray, "*B O"]:
        """Apply the layer."""
        return x @ self.weight_as(x.dtype).T + self.bias

    def backward(self, grad: Float[np.ndarray, "*B O"]) -> Float[np.ndarray, "*B I"]:
        """Take a gradient by the outputs to the inputs."""
        return grad @ self.weight_as(grad.dtype)

    def weight_as(self, dtype: np.dtype) -> Float[np.ndarray, "O I"]:
        """Return the weights in a type, which is converted to once."""
        if dtype not in self._converted:
            self._converted[dtype] = self.weight.astype(dtype)
        return self._converted[dtype]

    @cached_property
    def _converted(self) -> dict[np.dtype, np.ndarray]:
        return {}


def layer(
    arrays: dict[str, np.ndarray], name: str, inputs: int, outputs: int | None = None
) -> Linear:
    """Take the layer `name` from what a file holds.

    Raises:
        KeyError: an array is missing.
        ValueError: it has other sizes, or numbers that are not finite.
    """
    return _checked(name, arrays[f"{name}_weight"], arrays[f"{name}_bias"], inputs, outputs)


def stacked_layers(
    arrays: dict[str, np.ndarray], name: str, count: int, inputs: int, outputs: int | None = None
) -> tuple[Linear, ...]:
    """Take a number of equal layers, which a file keeps as one array; see `layer`."""
    weights, biases = arrays[f"{name}_weight"], arrays[f"{name}_bias"]
    if len(weights) != count or len(biases) != count:
        raise ValueError(f"it has other than {count} layers {name}")
    return tuple(
        _checked(name, weight, bias, inputs, outputs)
        for weight, bias in zip(weights, biases, strict=True)
    )


def silu(x: Float[np.ndarray, "*B"]) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "*B"]]:
    """Return x sigmoid(x), and its derivative."""
    gate = 0.5 + 0.5 * np.tanh(0.5 * x)
    value = x * gate
    return value, gate + value * (1.0 - gate)


def leaky_relu(
    x: Float[np.ndarray, "*B"],
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "*B"]]:
    """Return max(x, x / 100), and its derivative."""
    slope = (x > 0).astype(x.dtype)
    slope *= 0.99
    slope += 0.01
    return x * slope, slope


def softplus(
    x: Float[np.ndarray, "*B"], sharpness: float = 1.0
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "*B"]]:
    """Return log(1 + exp(b x)) / b with b = `sharpness`, and its derivative.

    Written with what NumPy evaluates many numbers at a time for; `log1p` is 30 times slower, and so
    are exponentials that underflow.
    """
    scaled = sharpness * x
    tail = np.exp(-np.minimum(np.abs(scaled), 80.0))
    value = np.maximum(x, 0.0) + np.log(1.0 + tail) / sharpness
    return value, 0.5 + 0.5 * np.tanh(0.5 * scaled)


def _checked(
    name: str, weight: np.ndarray, bias: np.ndarray, inputs: int, outputs: int | None
) -> Linear:
    outputs = len(weight) if outputs is None else outputs
    if weight.shape != (outputs, inputs) or bias.shape != (outputs,):
        raise ValueError(f"its layer {name} does not fit the others")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError(f"its layer {name} holds numbers that are not finite")
    return Linear(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
