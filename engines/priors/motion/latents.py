"""The best latent of a step from one pair of bodies to the next, and the covariance of the step.

The notation is that of `prior.py`.
"""

import numpy as np
from jaxtyping import Float

from engines.priors.motion.network import MotionNetwork

_STEPS = 6
_NO_GAIN = 1e-3
"""Nats below which the latents are good enough."""


def best_latents(
    network: MotionNetwork,
    states: Float[np.ndarray, "K F"],
    steps: Float[np.ndarray, "K 63"],
    mean: Float[np.ndarray, "K L"],
    std: Float[np.ndarray, "K L"],
    z: Float[np.ndarray, "K L"],
) -> tuple[Float[np.ndarray, "K L"], Float[np.ndarray, "K"]]:
    """Find the best latents by Gauss-Newton steps from z, and the first line of E there.

    The derivative is that at z: the decoder is nearly linear between two latents of a frame.

    Args:
        network: that decodes the latents.
        states: x, of the pairs of bodies.
        steps: y, to the next bodies.
        mean: m(x) of the latents.
        std: s(x) of the latents.
        z: to begin at.
    """
    sigma = network.sigma
    predicted, G = network.latent_jacobian(states, z)
    G = G * (std[:, None] / sigma[:, None])
    Gt = G.swapaxes(-1, -2)
    solve = np.linalg.inv(np.eye(z.shape[1]) + Gt @ G)
    w, white = (z - mean) / std, (steps - predicted) / sigma
    misfit = _half_square(white, w)
    for _ in range(_STEPS):
        downhill = (Gt @ white[..., None])[..., 0] - w
        trial = w + (solve @ downhill[..., None])[..., 0]
        trial_white = (steps - network.decode(states, mean + std * trial)) / sigma
        trial_misfit = _half_square(trial_white, trial)
        gained = np.where(trial_misfit < misfit, misfit - trial_misfit, 0.0)
        better = (gained > 0)[:, None]
        w, white = np.where(better, trial, w), np.where(better, trial_white, white)
        misfit = misfit - gained
        if gained.max(initial=0.0) < _NO_GAIN:
            break
    return mean + std * w, misfit


def step_covariance(
    network: MotionNetwork, G: Float[np.ndarray, "K 63 L"], std: Float[np.ndarray, "K L"]
) -> Float[np.ndarray, "K 63 63"]:
    """Return C, in double precision.

    Args:
        network: that decodes the latents.
        G: derivative of the decoded steps by the latents.
        std: s(x) of the latents.
    """
    spread = (G * std[:, None]).astype(np.float64)
    noise = np.diag(network.sigma.astype(np.float64) ** 2)
    return spread @ spread.swapaxes(-1, -2) + noise


def _half_square(
    white: Float[np.ndarray, "K 63"], w: Float[np.ndarray, "K L"]
) -> Float[np.ndarray, "K"]:
    return 0.5 * (white**2).sum(-1) + 0.5 * (w**2).sum(-1)
