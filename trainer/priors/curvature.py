r"""The average curvature of an energy, for the fit.

For poses $x \sim p$ with the energy $E = -\log p$, integration by parts gives Fisher's identity
$\mathbb{E}[\nabla^2 E] = \mathbb{E}[\nabla E \, \nabla E^\top]$: the mean of the outer products of
gradients is the mean curvature, and it cannot be negative.
"""

import numpy as np
from jaxtyping import Float

from engines.priors.prior import Differentiable
from engines.priors.turns import ARTICULATED
from engines.rotations import exp_so3

_BATCH = 1000


def average_curvature(
    prior: Differentiable, R: Float[np.ndarray, "N 21 3 3"]
) -> Float[np.ndarray, "63 63"]:
    """Average over poses.

    Args:
        prior: whose gradients are taken.
        R: poses that are distributed as the prior says.

    Returns:
        By turns of the joints 1 to 21.
    """
    whole = np.tile(exp_so3(np.zeros((24, 3), np.float32)), (len(R), 1, 1, 1))
    whole[:, list(ARTICULATED)] = R
    first, last = 3 * ARTICULATED[0], 3 * ARTICULATED[-1] + 3
    total = np.zeros((last - first, last - first))
    for i in range(0, len(R), _BATCH):
        gradient = prior.gradient(whole[i : i + _BATCH])[1][:, first:last].astype(np.float64)
        total += gradient.T @ gradient
    return (total / len(R)).astype(np.float32)
