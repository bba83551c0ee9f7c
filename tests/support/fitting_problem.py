"""Bodies before a camera, and normal distributions of their coordinates, for the tests of fits."""

import numpy as np

from engines.coordinates import DIM, TURNS
from engines.fitting.anchor import Anchor
from engines.fitting.bodies import Bodies, moved, pose
from engines.fitting.limits import HINGES
from engines.kernels import Skeleton
from engines.rotations import exp_so3
from tests.support.random_hypotheses import FACING


def random_bodies(skeleton: Skeleton, count: int, seed: int) -> Bodies:
    """Unlike bodies about three metres away, knees and elbows bent, in float64."""
    rng = np.random.default_rng(seed)
    R = exp_so3(rng.normal(0, 0.3, (count, 24, 3)))
    R[:, 0] = FACING @ R[:, 0]
    for hinge in HINGES:
        bent = np.zeros((count, 3))
        bent[:, hinge.axis] = 0.5 * (hinge.low + hinge.high) + rng.normal(0, 0.1, count)
        R[:, hinge.joint] = exp_so3(bent)
    pelvis = np.array([0.1, 0.2, 3.0]) + rng.normal(0, 0.1, (count, 3))
    return pose(skeleton, R, rng.normal(0, 0.7, (count, 10)), pelvis)


def random_anchor(seed: int, std: float = 0.1) -> Anchor:
    """Correlated coordinates of about this standard deviation."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((DIM, 2 * DIM)) / np.sqrt(2 * DIM)
    scale = np.r_[np.full(TURNS, std), np.full(10, 3 * std), np.full(3, std)]
    return Anchor(A @ A.T * np.outer(scale, scale))


def draws_around(
    skeleton: Skeleton, center: Bodies, anchor: Anchor, count: int, seed: int
) -> Bodies:
    """Samples of the anchor around body 0 of `center`, which is the first of them."""
    rng = np.random.default_rng(seed)
    steps = rng.multivariate_normal(np.zeros(DIM), anchor.cov, count)
    steps[0] = 0
    first = Bodies(*(np.repeat(part[:1], count, 0) for part in vars(center).values()))
    return moved(skeleton, first, steps)
