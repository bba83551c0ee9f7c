"""Small motion priors and motions, made of random numbers."""

import numpy as np

from engines.body import BodyModel
from engines.fitting.sequences.sequence import BodySequence
from engines.priors.motion.contact import NUM_FEATURES
from engines.priors.motion.layout import BODY, CONTACTS, NUM_STATE, STEP
from engines.priors.motion.prior import MotionPrior
from engines.priors.motion.start import START
from engines.rotations import exp_so3

LATENT = 4
_HIDDEN = 24


def motion_arrays(body: BodyModel, seed: int = 0, size: float = 0.3) -> dict[str, np.ndarray]:
    """The arrays of a prior with random weights of this size."""
    rng = np.random.default_rng(seed)

    def layers(name: str, inputs: int, hidden: int, outputs: int, skip: int) -> dict:
        shapes = ((hidden, inputs), (hidden, hidden + skip), (outputs, hidden + skip))
        out = {}
        for i, shape in enumerate(shapes):
            out[f"{name}.{i}.weight"] = size * rng.standard_normal(shape) / np.sqrt(shape[1])
            out[f"{name}.{i}.bias"] = size * rng.standard_normal(shape[0])
        return out

    factors = np.tril(0.01 * rng.standard_normal((2, START, START)), -1)
    factors += np.eye(START) * rng.uniform(0.3, 1.0, (2, START, 1))
    arrays = {
        "mean": 0.1 * rng.standard_normal(NUM_STATE),
        "std": rng.uniform(0.5, 1.5, NUM_STATE),
        "scale": np.full(STEP, 0.05),
        "damping": np.full(STEP, 0.9),
        "sigma": rng.uniform(0.01, 0.03, STEP),
        "rest": body.rest_joints(np.zeros(10))[:BODY],
        "start.weights": np.array([0.3, 0.7]),
        "start.means": 0.1 * rng.standard_normal((2, START)),
        "start.factors": factors,
        **layers("prior", NUM_STATE, _HIDDEN, 2 * LATENT, 0),
        **layers("decoder", NUM_STATE + LATENT, _HIDDEN, STEP, LATENT),
        **layers("contact", NUM_FEATURES, _HIDDEN, len(CONTACTS), 0),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def motion_prior(body: BodyModel, seed: int = 0, size: float = 0.3) -> MotionPrior:
    """A prior with random weights of this size."""
    return MotionPrior.of(motion_arrays(body, seed, size))


def wandering(frames: int, rng: np.random.Generator, shared: int = 0) -> BodySequence:
    """A body that wanders about at random, its pelvis about a metre above the floor."""
    start, steps = 0.4, 0.03
    R = [exp_so3(start * rng.standard_normal((24, 3)))]
    pelvis = [np.array([0.0, 0.0, 1.0])]
    for _ in range(frames - 1):
        R.append(R[-1] @ exp_so3(steps * rng.standard_normal((24, 3))))
        pelvis.append(pelvis[-1] + 0.01 * rng.standard_normal(3))
    return BodySequence(np.stack(R), np.stack(pelvis), np.zeros(shared))
