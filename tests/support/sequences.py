"""What every kind of residuals of a sequence is tested for."""

import numpy as np

from engines.fitting.sequences.sequence import FRAME_DIM, BodySequence, Linearised
from engines.fitting.sequences.solver import normal_equations

STEP = 1e-5


def check_gradient(
    around: Linearised, sequence: BodySequence, rng: np.random.Generator, count: int = 40
) -> None:
    """The rows' gradient is that of the cost, by finite differences in some coordinates.

    It is J^T r that the solver needs, and it involves every row and its sign.
    """
    equations = normal_equations([around], sequence)
    by_frame, by_shared = equations.gradient, equations.shared_gradient
    total = len(by_frame) + len(by_shared)
    scale = np.abs(np.concatenate([by_frame, by_shared])).max()
    some = np.concatenate(
        [rng.choice(len(by_frame), count, replace=False), np.arange(len(by_frame), total)]
    )
    for i in some:
        sides = []
        for sign in (1.0, -1.0):
            d = np.zeros(total)
            d[i] = sign * STEP
            step, shared = d[: len(by_frame)].reshape(-1, FRAME_DIM), d[len(by_frame) :]
            sides.append(around.cost(sequence.moved(step, shared)))
        slope = (sides[0] - sides[1]) / (2 * STEP)
        downhill = by_frame[i] if i < len(by_frame) else by_shared[i - len(by_frame)]
        np.testing.assert_allclose(-downhill, slope, rtol=2e-3, atol=2e-4 * scale)
