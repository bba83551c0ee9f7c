"""The mixture over how motion begins, and the prior's file."""

import numpy as np
import torch
from jaxtyping import Float

from engines.priors.motion.layout import BODY
from engines.priors.motion.start import POSE, START, start_coordinates
from engines.priors.motion.state import Pairs
from engines.types import NUM_JOINTS
from trainer.priors.humor_data import MotionData
from trainer.priors.humor_network import LEAST_METRES, LEAST_RADIANS, HumorNetwork
from trainer.priors.humor_state import Frames, state_of, step_between

_HEIGHT_M = 0.03
_UP = 0.03
_POSE_RAD = 0.05
"""Standard deviations that every component has at least."""


def fit_start(
    data: MotionData, components: int, count: int, seed: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """Fit a mixture by EM to pairs of frames and their mirror images.

    Args:
        data: of the training subjects.
        components: of the mixture.
        count: how many pairs are drawn.
        seed: of the draw and of EM.
    """
    from sklearn.mixture import GaussianMixture  # slow to import, and only fitting needs it

    rng = np.random.default_rng(seed)
    starts = rng.choice(data.windows(2), count)
    frames, _ = data.take(starts, 2, rng.random(count) < 0.5)
    y = start_coordinates(pairs_of(frames))
    least = np.full(START, LEAST_RADIANS)
    least[0], least[1:4], least[4:POSE] = _HEIGHT_M, _UP, _POSE_RAD
    least[POSE : POSE + 3] = LEAST_METRES
    scaled = GaussianMixture(components, reg_covar=1.0, random_state=seed, max_iter=100)
    scaled.fit(y / least)  # so that `reg_covar` is the least variance of every coordinate
    factors = np.linalg.cholesky(np.asarray(scaled.covariances_)) * least[:, None]
    return {
        "start.weights": np.asarray(scaled.weights_, np.float32),
        "start.means": (np.asarray(scaled.means_) * least).astype(np.float32),
        "start.factors": factors.astype(np.float32),
    }


def pairs_of(frames: Frames) -> Pairs:
    """Take the first two frames of windows for NumPy; hands are at rest."""
    R = np.tile(np.eye(3), (*frames.pelvis.shape[:2], NUM_JOINTS, 1, 1))
    R[:, :, :BODY] = frames.R.numpy()
    pelvis = frames.pelvis.numpy().astype(np.float64)
    return Pairs(R[:, 0], R[:, 1], pelvis[:, 0], pelvis[:, 1])


def best_sigma(network: HumorNetwork, data: MotionData, seed: int) -> Float[np.ndarray, "63"]:
    """Return the standard deviations of steps that maximise the bound on recorded windows."""
    torch.manual_seed(seed)
    frames, _ = data.take(data.windows(3), 3, None)
    with torch.no_grad():
        state = state_of(network.rest, frames.at(0), frames.at(1))
        step = step_between(frames.at(1), frames.at(2))
        x = network.standardised(state)
        predicted, _ = network.decode(state, x, network.encode(x, step).sample())
        return torch.maximum((step - predicted).square().mean(0).sqrt(), network.least).numpy()


def file_arrays(
    network: HumorNetwork, sigma: Float[np.ndarray, "63"], *parts: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The file's arrays, by name; networks in half precision."""
    arrays = dict(network.arrays()) | {"rest": network.rest.numpy(), "sigma": sigma}
    for part in parts:
        arrays |= part
    half = ("prior.", "decoder.", "contact.", "start.factors")
    return {
        name: array.astype(np.float16 if name.startswith(half) else np.float32)
        for name, array in arrays.items()
    }
