"""SMPLify and SMPLify-X on the solver of the fit: bodies from landmarks alone, without a flow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engines.fitting.anchor import Anchor
from engines.fitting.bodies import TURNS, Bodies
from engines.fitting.charts import Chart, Decoder, Latent, Turns
from engines.fitting.observation import JOINTS
from engines.fitting.residuals import LandmarkResiduals, Residuals
from engines.fitting.solver import Solution, solve
from engines.kernels import Skeleton
from engines.types import NUM_BETAS


@dataclass(frozen=True)
class SmplifyConfig:
    stages: tuple[float, ...] = (16.0, 4.0, 1.0)
    iterations: tuple[int, ...] = (5, 5, 10)
    cauchy: float = 3.0
    turn_rad: float = 2.0
    root_rad: float = 2.0
    shift_m: float = 2.0


def minimise(
    skeleton: Skeleton,
    chart: Chart,
    anchor: Anchor,
    target: Float[np.ndarray, "K 12 2"],
    sigma: Float[np.ndarray, "K 12"],
    terms: Sequence[Residuals],
    config: SmplifyConfig,
) -> Solution:
    step = None
    for factor, iterations in zip(config.stages, config.iterations, strict=True):
        landmarks = LandmarkResiduals(skeleton, JOINTS, target, factor * sigma, config.cauchy)
        solution = solve(chart, anchor, [landmarks, *terms], iterations, step=step)
        step = solution.step
    return solution
