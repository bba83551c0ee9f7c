"""The fit written with the exchangeable parts: the specification of what `fit.py` does fast."""

import numpy as np
from jaxtyping import Float

from engines.coordinates import depth_jacobian
from engines.fitting.anchor import anchor_of, holding
from engines.fitting.bodies import Bodies, bodies_of, moved, take
from engines.fitting.charts import Turns
from engines.fitting.gate import belief, normalised_innovation
from engines.fitting.limits import HingeLimits
from engines.fitting.observation import JOINTS, Observation
from engines.fitting.residuals import LandmarkResiduals
from engines.fitting.settings import FitConfig
from engines.fitting.solver import solve
from engines.kernels import Skeleton
from engines.types import Hypotheses


def fit_reference(
    skeleton: Skeleton,
    drawn: Hypotheses,
    seen: Observation,
    displacements: Float[np.ndarray, "K 12 2"],
    config: FitConfig,
) -> Bodies | None:
    """Fit hypotheses to joints that were located, in the dtype of the hypotheses.

    Args:
        skeleton: of the bodies.
        drawn: the hypotheses.
        seen: the landmarks.
        displacements: of each hypothesis' landmarks, in sigmas.
        config: of the fit.

    Returns:
        None where nothing is visible, or what is visible is not believed.
    """
    if len(seen.index) == 0:
        return None
    start = bodies_of(skeleton, drawn)
    anchor = anchor_of(start, drawn.weights, config.shrinkage)
    target = seen.rays + seen.sigma[:, None] * displacements[:, seen.index]
    landmarks = LandmarkResiduals(skeleton, seen.joints, target, seen.sigma, config.cauchy)
    J, predicted = landmarks.projected(take(start, slice(1)))
    residual = (seen.rays - predicted[0]).reshape(-1)
    variance = np.repeat(seen.sigma**2, 2)
    J = J.reshape(len(residual), -1)
    innovation = normalised_innovation(residual, J, variance, anchor.cov)
    trust = belief(innovation, config.full_belief, config.no_belief)
    if trust == 0.0:
        return None
    J_depth = depth_jacobian(skeleton.J_shapedirs, start.R_cam[0], start.joints[0], JOINTS)
    anchor = holding(anchor, J_depth, config.depth_sigma)
    terms = (landmarks, HingeLimits(config.limit_sigma))
    shared = config.shared_jacobian
    step = solve(Turns(skeleton, start), anchor, terms, config.iterations, shared).step
    return moved(skeleton, start, step * step.dtype.type(trust))
