"""Projection by descent, for priors that have a gradient and an idea of a step."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from engines.rotations import exp_so3
from engines.types import NUM_JOINTS

_HALVINGS = 6

Gradient = Callable[
    [Float[np.ndarray, "K 24 3 3"]], tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]]
]
"""Poses to a value and its derivative by turns of the joints."""
Step = Callable[[Float[np.ndarray, "K"], Float[np.ndarray, "K 72"]], Float[np.ndarray, "K 72"]]
"""Values and gradients to turns of the joints."""


def descend(
    gradient_of: Gradient, step_of: Step, R: Float[np.ndarray, "K 24 3 3"], steps: int
) -> Float[np.ndarray, "K 24 3 3"]:
    """Take poses down a value.

    Args:
        gradient_of: what to lower.
        step_of: how to step.
        R: poses.
        steps: how many; each is halved, up to six times, until the value does not rise, and left
            out where it still does.
    """
    value, gradient = gradient_of(R)
    for _ in range(steps):
        turn = step_of(value, gradient).reshape(len(R), NUM_JOINTS, 3)
        todo = np.arange(len(R))
        R, value, gradient = R.copy(), value.copy(), gradient.copy()
        for halving in range(_HALVINGS + 1):
            trial = R[todo] @ exp_so3(0.5**halving * turn[todo])
            trial_value, trial_gradient = gradient_of(trial)
            better = trial_value <= value[todo]
            done = todo[better]
            R[done], value[done] = trial[better], trial_value[better]
            gradient[done] = trial_gradient[better]
            todo = todo[~better]
            if len(todo) == 0:
                break
    return R
